//! Subjects and filters, as NATS matches them.
//!
//! Guarantee: `*` matches one token, `>` one or more at the end. Must not: know what the subjects mean.

/// Whether a filter matches a subject.
pub(super) fn matches(filter: &str, subject: &str) -> bool {
    let (mut filter, mut subject) = (filter.split('.'), subject.split('.'));
    loop {
        match (filter.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(wanted), Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
}

/// Whether some subject matches both filters.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (Some(">"), Some(_)) | (Some(_), Some(">")) | (None, None) => return true,
            (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// What all matching subjects begin with; all of it when there is no wildcard.
pub(super) fn literal(filter: &str) -> &str {
    let is_wild = |token: &str| matches!(token, "*" | ">");
    let mut end = 0;
    for token in filter.split_inclusive('.') {
        if is_wild(token.trim_end_matches('.')) {
            return &filter[..end];
        }
        end += token.len();
    }
    filter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (filter, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*.c", "a.b.c", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
        ] {
            assert_eq!(matches(filter, subject), expected, "{filter} {subject}");
            assert!(!expected || subject.starts_with(literal(filter)), "{filter} {subject}");
        }
        assert_eq!((literal("a.b.*.c"), literal("a.b"), literal(">")), ("a.b.", "a.b", ""));
    }
}
