//! Texts for evidence: short, printable, on one line.
//!
//! Guarantees: an excerpt never splits a character, holds no control characters, and says when something was left out.
//! Must not: hide that it was cut.

/// At most `most` characters of this text on one line, with `…` where it was cut.
#[must_use]
pub fn excerpt(text: &str, most: usize) -> String {
    let mut characters = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = characters.by_ref().take(most).collect();
    if characters.next().is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_excerpt_is_short_and_printable(text: String, most in 0_usize..50) {
            let short = excerpt(&text, most);
            prop_assert!(short.chars().count() <= most + 1);
            prop_assert!(!short.chars().any(char::is_control));
        }
    }

    #[test]
    fn a_cut_is_shown() {
        assert_eq!(excerpt("  ok\n", 10), "ok");
        assert_eq!(excerpt("größer", 3), "grö…");
        assert_eq!(excerpt("a\nb", 3), "a b");
    }
}
