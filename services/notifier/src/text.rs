//! Making hostile text harmless: labels, log lines and error messages come from whoever can create a pod.
//!
//! Guarantees: the result of `cut` never has more characters than asked for, never ends inside an escape (`&amp;`), and says by
//! an ellipsis that something is missing; `escape` leaves nothing that Slack reads as a mention or a link. Must not: know of channels.

/// What stands for the part that was cut away.
const ELLIPSIS: char = '…';

/// At most `limit` characters of it; whole escapes only.
#[must_use]
pub fn cut(text: &str, limit: usize) -> String {
    if head(text, limit).len() == text.len() {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(limit.saturating_sub(1)).collect();
    if let Some(start) = kept.rfind('&') {
        // A bare `&` doesn't occur in escaped text; in unescaped text losing a few characters at the cut hurts nobody.
        if kept.len() - start < "&quot;".len() && !kept[start..].contains(';') {
            kept.truncate(start);
        }
    }
    if limit > 0 {
        kept.push(ELLIPSIS);
    }
    kept
}

/// The first characters, not marked as cut: so that what is looked at stays bounded, whatever a label or a log holds.
#[must_use]
fn head(text: &str, limit: usize) -> &str {
    text.char_indices().nth(limit).map_or(text, |(end, _)| &text[..end])
}

/// How much of a text is looked at for so many characters of result: cleaning drops some.
const fn enough(limit: usize) -> usize {
    limit.saturating_mul(4).saturating_add(64)
}

/// [`one_line`], cut.
#[must_use]
pub fn line(text: &str, limit: usize) -> String {
    cut(&one_line(head(text, enough(limit))), limit)
}

/// [`lines`], cut.
#[must_use]
pub fn paragraph(text: &str, limit: usize) -> String {
    cut(&lines(head(text, enough(limit))), limit)
}

/// At most `limit` characters, the end of it: of log lines the last ones say most.
#[must_use]
pub fn cut_front(text: &str, limit: usize) -> String {
    if head(text, limit).len() == text.len() {
        return text.to_owned();
    }
    let Some(kept) = limit.checked_sub(1) else { return String::new() };
    let start = text.char_indices().rev().take(kept).last().map_or(text.len(), |(start, _)| start);
    format!("{ELLIPSIS}{}", &text[start..])
}

/// In one line, without control or direction-changing characters.
#[must_use]
pub fn one_line(text: &str) -> String {
    let visible: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).filter(|c| !is_format(*c)).collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Several lines, without other control or direction-changing characters.
#[must_use]
pub fn lines(text: &str) -> String {
    text.chars().filter(|c| (*c == '\n' || *c == '\t' || !c.is_control()) && !is_format(*c)).collect()
}

/// Characters that hide or reorder what people read.
const fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// As Slack wants it in text: `&`, `<` and `>` written as entities, so that no `<!channel>` or `<https://…|…>` is read.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// One escaped line whose formatting characters don't reach Slack's: quotes instead of backticks.
#[must_use]
pub fn inline(text: &str, limit: usize) -> String {
    cut(&escape(&one_line(head(text, enough(limit))).replace('`', "'")), limit)
}

/// A fenced block that what is inside can't close.
#[must_use]
pub fn fenced(text: &str, limit: usize) -> String {
    let inner = escape(lines(head(text, enough(limit))).trim_end().replace("```", "'''").as_str());
    format!("```\n{}\n```", cut(&inner, limit.saturating_sub(8)))
}

/// How long after, as people write it: `0.4 s`, `12 s`, `3 m 05 s`.
#[must_use]
pub fn after(millis: i64) -> String {
    let millis = millis.max(0);
    let seconds = millis / 1000;
    match seconds {
        0..=9 => format!("{}.{} s", seconds, millis % 1000 / 100),
        10..=59 => format!("{seconds} s"),
        60..=3599 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_hostile_is_left(text in ".{0,200}", limit in 0_usize..100) {
            let safe = inline(&text, limit);
            prop_assert!(safe.chars().count() <= limit);
            prop_assert!(!safe.contains(['<', '>', '`', '\n']));
            for part in safe.split('&').skip(1) {
                prop_assert!(["amp;", "lt;", "gt;"].iter().any(|entity| part.starts_with(entity)), "{safe}");
            }
        }

        #[test]
        fn a_fence_is_closed_once(text in "[`a<&\n]{0,80}", limit in 10_usize..100) {
            let block = fenced(&text, limit);
            prop_assert!(block.chars().count() <= limit);
            prop_assert_eq!(block.matches("```").count(), 2);
        }

        #[test]
        fn the_end_of_a_log_is_kept(text in ".{0,80}", limit in 0_usize..60) {
            prop_assert!(cut_front(&text, limit).chars().count() <= limit);
        }
    }

    #[test]
    fn times_read_well() {
        for (millis, text) in [(-5, "0.0 s"), (420, "0.4 s"), (12_700, "12 s"), (185_000, "3 m 05 s"), (7_500_000, "2 h 05 m")] {
            assert_eq!(after(millis), text);
        }
    }
}
