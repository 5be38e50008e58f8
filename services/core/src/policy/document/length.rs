//! A length of time as people write it: `30s`, `10m`, `1h30m`, `7d`.
//!
//! Guarantees: what the schema's pattern accepts is read, and nothing else is, up to a year. Must not: guess a unit.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The text of a length of time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Length(pub String);

impl Length {
    /// What the schema says.
    pub const PATTERN: &str = "^([0-9]{1,9}(ms|s|m|h|d|w))+$";
    /// For people.
    pub const EXAMPLE: &str = "a length of time like 30s, 10m or 1h30m";
    /// The longest.
    pub const LONGEST: Duration = Duration::from_hours(24 * 366);
    /// The longest text.
    const TEXT: usize = 64;

    /// The length; `None` where the text is none.
    #[must_use]
    pub fn parse(&self) -> Option<Duration> {
        let mut rest = self.0.as_str();
        let mut sum = Duration::ZERO;
        if rest.is_empty() || rest.len() > Self::TEXT {
            return None;
        }
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, after) = rest.split_at_checked(digits).filter(|(number, _)| (1..=9).contains(&number.len()))?;
            let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
            let (unit, after) = after.split_at_checked(letters)?;
            let unit = match unit {
                "ms" => Duration::from_millis(1),
                "s" => Duration::from_secs(1),
                "m" => Duration::from_mins(1),
                "h" => Duration::from_hours(1),
                "d" => Duration::from_hours(24),
                "w" => Duration::from_hours(24 * 7),
                _ => return None,
            };
            sum = sum.checked_add(unit.checked_mul(number.parse().ok()?)?)?;
            rest = after;
        }
        (sum <= Self::LONGEST).then_some(sum)
    }
}

impl JsonSchema for Length {
    fn schema_name() -> Cow<'static, str> {
        "Length".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": Self::PATTERN, "maxLength": Self::TEXT})
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<Duration> {
        Length(text.to_owned()).parse()
    }

    #[test]
    fn lengths_are_read_with_their_units() {
        let cases = [
            ("0s", Some(Duration::ZERO)),
            ("250ms", Some(Duration::from_millis(250))),
            ("1h30m", Some(Duration::from_mins(90))),
            ("7d", Some(Duration::from_hours(168))),
            ("1w", Some(Duration::from_hours(168))),
        ];
        for (text, wanted) in cases {
            assert_eq!(read(text), wanted, "{text}");
        }
        for text in ["", "10", "m", "-1s", "1 m", "1M", "1.5h", "10min", "999999999w", "1s\n", "١s"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn code_and_schema_agree(text in "[0-9]{0,3}(ms|s|m|h|d|w|x|)[0-9a-z]{0,6}") {
            let pattern = regex::Regex::new(Length::PATTERN).unwrap();
            let long = pattern.is_match(&text) && read(&text).is_none();
            prop_assert!(long || pattern.is_match(&text) == read(&text).is_some(), "{}", text);
        }
    }
}
