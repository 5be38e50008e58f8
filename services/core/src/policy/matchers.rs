//! Which alerts count: label matchers as in Alertmanager's configuration.
//!
//! Guarantees: a label that an alert doesn't have is empty; a regular expression has to match the whole value; any set that accepts an
//! alert makes it count. Must not: let an expression cost without bound.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};

use super::document::{self, MatchOperator};
use super::problem::{At, quoted};

/// Bytes that a compiled expression may have.
const COMPILED: usize = 256 * 1024;

/// One label matcher.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: String,
    op: MatchOperator,
    value: String,
    pattern: Option<Regex>,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl std::fmt::Display for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let op = match self.op {
            MatchOperator::Equal => "=",
            MatchOperator::NotEqual => "!=",
            MatchOperator::Matches => "=~",
            MatchOperator::MatchesNot => "!~",
        };
        write!(f, "{}{op}{}", self.name, quoted(&self.value))
    }
}

impl Matcher {
    fn new(name: &str, op: MatchOperator, value: &str) -> Result<Self, String> {
        if name.is_empty() {
            return Err("has no label's name; write name, operator and value, like severity=\"page\"".to_owned());
        }
        let pattern = match op {
            MatchOperator::Equal | MatchOperator::NotEqual => None,
            MatchOperator::Matches | MatchOperator::MatchesNot => {
                // Alertmanager's: anchored at both ends, and `.` matches a line break in neither.
                let built = RegexBuilder::new(&format!("^(?:{value})$")).size_limit(COMPILED).build();
                Some(built.map_err(|_| {
                    format!("{} is no regular expression that can be used; write one like page|critical", quoted(value))
                })?)
            }
        };
        Ok(Self { name: name.to_owned(), op, value: value.to_owned(), pattern })
    }

    /// Whether these labels are accepted.
    #[must_use]
    pub fn accepts(&self, labels: &BTreeMap<String, String>) -> bool {
        let found = labels.get(&self.name).map_or("", String::as_str);
        let matched = self.pattern.as_ref().map_or_else(|| found == self.value, |pattern| pattern.is_match(found));
        matched == matches!(self.op, MatchOperator::Equal | MatchOperator::Matches)
    }

    /// Reads the text form: `severity=~"page|critical"`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let example = "write name, operator (=, !=, =~, !~) and value, like severity=~\"page|critical\"";
        let bad = |why: &str| format!("{} {why}; {example}", quoted(text));
        let rest = text.trim();
        let (name, rest) = if rest.starts_with('"') {
            let (name, rest) = unquote(rest).ok_or_else(|| bad("has a name that does not end"))?;
            (name, rest)
        } else {
            let end = rest.find(['=', '!', '~', '"']).ok_or_else(|| bad("has no operator"))?;
            (rest[..end].trim().to_owned(), &rest[end..])
        };
        let rest = rest.trim_start();
        let operators = [
            ("=~", MatchOperator::Matches),
            ("!~", MatchOperator::MatchesNot),
            ("!=", MatchOperator::NotEqual),
            ("=", MatchOperator::Equal),
        ];
        let found = operators.into_iter().find_map(|(sign, op)| Some((op, rest.strip_prefix(sign)?)));
        let (op, value) = found.ok_or_else(|| bad("has no operator"))?;
        let value = value.trim();
        let value = if value.starts_with('"') {
            match unquote(value) {
                Some((value, "")) => value,
                _ => return Err(bad("has a value whose quotes don't end where it does")),
            }
        } else if value.contains(['"', '{', '}', ',']) {
            return Err(bad("has a value that needs quotes"));
        } else {
            value.to_owned()
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(bad("has no label's name"));
        }
        Self::new(&name, op, &value)
    }
}

/// What is between the quotes at the beginning of a text, and what comes behind them.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.strip_prefix('"')?.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &text[at + 2..])),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                plain @ ('"' | '\\') => out.push(plain),
                // As Alertmanager: a backslash before anything else is one, as regular expressions need them.
                other => out.extend(['\\', other]),
            },
            plain => out.push(plain),
        }
    }
    None
}

/// Matchers that all have to accept an alert.
pub type AlertSet = Vec<Matcher>;

/// Whether any of the sets accepts these labels.
#[must_use]
pub fn count(sets: &[AlertSet], labels: &BTreeMap<String, String>) -> bool {
    sets.iter().any(|set| set.iter().all(|matcher| matcher.accepts(labels)))
}

/// The sets for people: `severity=~"page|critical", or team="shop" and env="live"`.
#[must_use]
pub fn describe(sets: &[AlertSet]) -> String {
    let one = |set: &AlertSet| set.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    sets.iter().map(one).collect::<Vec<_>>().join(", or ")
}

pub(super) fn read(sets: &[document::AlertSet], mut at: At<'_>) -> Vec<AlertSet> {
    let each = sets.iter().enumerate();
    each.map(|(index, set)| {
        let mut at = at.index(index);
        let (texts, labels) = (set.matchers.iter().flatten(), set.labels.iter().flatten());
        if texts.clone().next().is_none() && labels.clone().next().is_none() {
            at.refuse("has neither matchers nor labels; leave alerts out to count all");
        }
        let mut read = Vec::new();
        for (index, text) in texts.enumerate() {
            match Matcher::parse(text) {
                Ok(matcher) => read.push(matcher),
                Err(why) => at.field("matchers").index(index).refuse(why),
            }
        }
        for (index, label) in labels.enumerate() {
            let value = label.value.as_deref().unwrap_or_default();
            match Matcher::new(label.name.as_deref().unwrap_or_default(), label.op.unwrap_or(MatchOperator::Equal), value) {
                Ok(matcher) => read.push(matcher),
                Err(why) => at.field("labels").index(index).refuse(why),
            }
        }
        read
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_table_of_alertmanager() {
        let alert = labels(&[("severity", "page"), ("team", "shop"), ("path", "a\\b"), ("text", "one\ntwo")]);
        for (matcher, accepted) in [
            ("severity=page", true),
            ("severity = \"page\"", true),
            ("severity=\"pag\"", false),
            ("severity!=\"page\"", false),
            ("severity!=warning", true),
            ("severity=~\"page|critical\"", true),
            ("severity=~\"pag\"", false),
            ("severity=~\"pag.*\"", true),
            ("severity!~\"critical|warning\"", true),
            ("severity!~\".+\"", false),
            // A label that isn't there is empty.
            ("owner=\"\"", true),
            ("owner!=\"x\"", true),
            ("owner=~\".*\"", true),
            ("owner=~\".+\"", false),
            ("owner!~\".+\"", true),
            ("owner=", true),
            (r#"path="a\\b""#, true),
            (r#"path=~"a\\.""#, false),
            (r#"path=~"a\\\\b""#, true),
            (r#"severity=~"\w+""#, true),
            ("text=~\"one.two\"", false),
            ("text=\"one\\ntwo\"", true),
            ("\"severity\"=page", true),
        ] {
            assert_eq!(Matcher::parse(matcher).unwrap().accepts(&alert), accepted, "{matcher}");
        }
    }

    #[test]
    fn what_is_no_matcher_is_refused_with_an_example() {
        for text in [
            "",
            "severity",
            "=page",
            "a b=c",
            "severity~page",
            "severity=\"page",
            "severity=\"a\"b",
            "a={b}",
            "a=~\"(\"",
            "a=~b(",
        ] {
            let why = Matcher::parse(text).expect_err(text);
            assert!(why.contains("write "), "{text}: {why}");
        }
        let vast = format!("a=~\"{}\"", "(a{900}){900}");
        assert!(Matcher::parse(&vast).is_err());
    }

    #[test]
    fn any_set_counts_and_all_of_its_matchers_have_to_accept() {
        let set = |texts: &[&str]| texts.iter().map(|text| Matcher::parse(text).unwrap()).collect::<Vec<_>>();
        let sets = [set(&["severity=page", "team=shop"]), set(&["severity=critical"])];
        assert!(count(&sets, &labels(&[("severity", "page"), ("team", "shop")])));
        assert!(count(&sets, &labels(&[("severity", "critical")])));
        assert!(!count(&sets, &labels(&[("severity", "page")])) && !count(&sets, &labels(&[])));
        assert_eq!(describe(&sets), "severity=\"page\" and team=\"shop\", or severity=\"critical\"");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = Matcher::parse(&text);
        }

        #[test]
        fn a_matcher_and_its_opposite_never_agree(value in "[a-z|.*]{0,6}", found in "[a-z]{0,3}") {
            let alert = labels(&[("l", &found)]);
            for (op, opposite) in [("=", "!="), ("=~", "!~")] {
                let one = Matcher::parse(&format!("l{op}\"{value}\""));
                let other = Matcher::parse(&format!("l{opposite}\"{value}\""));
                prop_assert_eq!(one.is_ok(), other.is_ok());
                if let (Ok(one), Ok(other)) = (one, other) {
                    prop_assert_ne!(one.accepts(&alert), other.accepts(&alert));
                }
            }
        }
    }
}
