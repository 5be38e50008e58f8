//! Text for people: what comes from outside made harmless, errors with their causes, and times and lengths as people write them.
//!
//! Guarantees: what [`visible`] and [`visible_json`] give holds nothing that a terminal obeys and nothing that hides or reorders what is read, and loses nothing of
//! the text. Must not: read a clock; now is passed in.

use jiff::{SignedDuration, Timestamp};

/// On one line: control characters, and those that hide or reorder text, are written out (`\u{1b}`, `\n`).
#[must_use]
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_hiding(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// JSON text with the same characters as JSON's own escapes: the value stays what it is, and a terminal obeys none of it.
#[must_use]
pub fn visible_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if (c.is_control() && c != '\n') || is_hiding(c) {
            out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

/// Zero-width characters, line separators, and those that change the direction of text or are read as nothing ("tags").
const fn is_hiding(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}'
        | '\u{180e}' | '\u{ad}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A length as people write it, in its two largest units: `42s`, `5m 03s`, `3h 05m`, `2d 04h`.
#[must_use]
pub fn length(length: SignedDuration) -> String {
    let seconds = length.as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// An instant in UTC, to the second: `2026-11-25 13:00:01Z`.
#[must_use]
pub fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// An instant in UTC and how far away it is: `2026-11-25 13:00:01Z (5m 03s ago)`, `… (in 2m 00s)`.
#[must_use]
pub fn when(at: Timestamp, now: Timestamp) -> String {
    let away = if at > now {
        format!("in {}", length(at.duration_since(now)))
    } else {
        format!("{} ago", length(now.duration_since(at)))
    };
    format!("{} ({away})", utc(at))
}

/// An error with all its causes on one line; a cause that repeats what was said is left out.
#[must_use]
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        next = cause.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_is_left_that_a_terminal_obeys(text: String) {
            let shown = visible(&text);
            prop_assert!(!shown.chars().any(|c| c.is_control() || is_hiding(c)), "{shown:?}");
            prop_assert!(shown.len() >= text.len().min(1), "nothing vanishes");
        }

        #[test]
        fn json_stays_what_it_says(text: String) {
            let value = serde_json::json!({"text": text, "more": [format!("{text}\u{202e}\u{9b}\u{e0041}")]});
            let shown = visible_json(&format!("{value:#}"));
            prop_assert!(!shown.chars().any(|c| (c.is_control() && c != '\n') || is_hiding(c)), "{shown:?}");
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }

    #[test]
    fn what_is_hostile_is_written_out_and_the_rest_stays() {
        assert_eq!(visible("größe → \u{1b}[2J\n\u{202e}evil\u{9b}31m"), "größe → \\u{1b}[2J\\n\\u{202e}evil\\u{9b}31m");
    }

    #[test]
    fn times_and_lengths_read_well() {
        for (seconds, text) in [(-3, "0s"), (42, "42s"), (303, "5m 03s"), (11_100, "3h 05m"), (187_200, "2d 04h")] {
            assert_eq!(length(SignedDuration::from_secs(seconds)), text);
        }
        let now: Timestamp = "2026-11-25T13:05:04.9Z".parse().unwrap();
        let at = |text: &str| when(text.parse().unwrap(), now);
        assert_eq!(at("2026-11-25T13:00:01Z"), "2026-11-25 13:00:01Z (5m 03s ago)");
        assert_eq!(at("2026-11-25T13:07:05Z"), "2026-11-25 13:07:05Z (in 2m 00s)");
    }
}
