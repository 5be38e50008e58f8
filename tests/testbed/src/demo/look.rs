//! How the demo looks: one line a fact, in columns, wrapped to the terminal, coloured where that is wanted. Pure.
//!
//! Guarantees: no painted line is wider than the look's width, and without colour there is not one escape sequence in it. Must not:
//! print, or know what a fact means.

use owo_colors::{OwoColorize as _, Style};

/// The narrowest and the widest line.
const WIDTHS: (usize, usize) = (80, 120);
/// The columns before a line's details.
const INDENT: usize = 42;

/// What the terminal takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Cells of a line.
    pub width: usize,
    /// Whether escape sequences are welcome.
    pub colour: bool,
}

impl Look {
    /// A look of this width, kept between 80 and 120 cells.
    #[must_use]
    pub fn new(width: usize, colour: bool) -> Self {
        Self { width: width.clamp(WIDTHS.0, WIDTHS.1), colour }
    }

    /// The text in this tone.
    #[must_use]
    pub fn toned(self, tone: Tone, text: &str) -> String {
        if self.colour && !text.is_empty() { text.style(tone.style()).to_string() } else { text.to_owned() }
    }
}

/// What a line means to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// A step.
    Plain,
    /// It went well.
    Good,
    /// It did not.
    Bad,
    /// People are told, or act.
    People,
    /// Small print.
    Quiet,
    /// A heading.
    Title,
}

impl Tone {
    const fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Good => Style::new().green(),
            Self::Bad => Style::new().red(),
            Self::People => Style::new().magenta(),
            Self::Quiet => Style::new().dimmed(),
            Self::Title => Style::new().bold(),
        }
    }
}

/// One fact, ready to be painted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Milliseconds since the alert was raised; `None` leaves the column empty.
    pub at: Option<i64>,
    /// The nodes of the workflow, e.g. `n7 n8`.
    pub node: &'static str,
    /// The step, in a few words.
    pub step: String,
    /// The telling details, each on a line of its own.
    pub details: Vec<String>,
    /// What it means.
    pub tone: Tone,
}

impl Line {
    /// The line as the terminal shows it.
    #[must_use]
    pub fn paint(&self, look: Look) -> Vec<String> {
        let clock = self.at.map_or_else(String::new, clock);
        let room = look.width - INDENT;
        let mut details = self.details.iter().flat_map(|detail| wrap(detail, room));
        let first = details.next().unwrap_or_default();
        let (clock, node) = (format!("{clock:>10}"), format!("{:<7}", self.node));
        let step = format!("{:<21}", self.step);
        let head = format!(
            "{}  {} {} {first}",
            look.toned(Tone::Quiet, &clock),
            look.toned(Tone::Quiet, &node),
            look.toned(self.tone, &step)
        );
        let rest = details.map(|detail| format!("{}{detail}", " ".repeat(INDENT)));
        std::iter::once(head.trim_end().to_owned()).chain(rest).collect()
    }
}

/// Text under a bar, as a quotation: what a page or a chat message said.
#[must_use]
pub fn quoted(text: &str, indent: usize, tone: Tone, look: Look) -> Vec<String> {
    let bar = format!("{}{} ", " ".repeat(indent), look.toned(Tone::Quiet, "│"));
    let room = look.width - indent - 2;
    wrap(text, room).into_iter().map(|line| format!("{bar}{}", look.toned(tone, &line)).trim_end().to_owned()).collect()
}

/// A paragraph with a margin.
#[must_use]
pub fn paragraph(text: &str, indent: usize, tone: Tone, look: Look) -> Vec<String> {
    let margin = " ".repeat(indent);
    wrap(text, look.width - indent).into_iter().map(|line| format!("{margin}{}", look.toned(tone, &line))).collect()
}

/// `+01:02.34`.
#[must_use]
pub fn clock(milliseconds: i64) -> String {
    let (sign, hundredths) = (if milliseconds < 0 { '-' } else { '+' }, milliseconds.unsigned_abs() / 10);
    format!("{sign}{:02}:{:02}.{:02}", hundredths / 6000, hundredths / 100 % 60, hundredths % 100)
}

/// Cells that the terminal gives to a text.
#[must_use]
pub fn cells(text: &str) -> usize {
    text.chars().map(cell).sum()
}

fn cell(sign: char) -> usize {
    match u32::from(sign) {
        0..0x20 | 0x200B..=0x200F | 0xFE00..=0xFE0F => 0,
        0x1100..=0x115F | 0x23E9..=0x23EC | 0x2705 | 0x274C | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xFF00..=0xFF60 | 0x1F000.. => {
            2
        }
        _ => 1,
    }
}

/// Lines of at most `room` cells, broken between words, with the margin of the first kept on the others.
#[must_use]
pub fn wrap(text: &str, room: usize) -> Vec<String> {
    text.lines().flat_map(|line| wrap_line(line, room)).collect()
}

fn wrap_line(line: &str, room: usize) -> Vec<String> {
    let clean: String = line.replace('\t', "  ").chars().filter(|sign| !sign.is_control()).collect();
    // A list's arrow hangs: what follows on other lines stands under its text.
    let margin = clean.chars().take_while(|sign| [' ', '↳'].contains(sign)).count().min(room / 2);
    let (start, margin) = (clean.chars().take(margin).collect::<String>(), " ".repeat(margin));
    let text: String = clean.chars().skip(margin.len()).collect();
    let mut lines = Vec::new();
    let mut current = start.clone();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut word = word;
        let begun = |current: &str| *current != *margin && *current != *start;
        let glue = usize::from(begun(&current));
        if cells(&current) + glue + cells(word) > room && glue == 1 {
            lines.push(std::mem::replace(&mut current, margin.clone()));
        }
        while cells(&current) + cells(word) > room {
            let (fits, rest) = split_at(word, room - cells(&current));
            lines.push(format!("{current}{fits}"));
            current.clone_from(&margin);
            word = rest;
        }
        if begun(&current) {
            current.push(' ');
        }
        current.push_str(word);
    }
    if current != margin || lines.is_empty() {
        lines.push(current);
    }
    lines
}

/// The part of a word that fits (one sign at least) and the rest.
fn split_at(word: &str, room: usize) -> (&str, &str) {
    let mut used = 0;
    let end = word.char_indices().find(|(at, sign)| {
        used += cell(*sign);
        *at > 0 && used > room
    });
    word.split_at(end.map_or(word.len(), |(at, _)| at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_read_like_a_clock() {
        for (milliseconds, expected) in [(0, "+00:00.00"), (1_239, "+00:01.23"), (61_000, "+01:01.00"), (-20, "-00:00.02")] {
            assert_eq!(clock(milliseconds), expected);
        }
    }

    #[test]
    fn nothing_is_wider_than_the_terminal() {
        let line = Line {
            at: Some(1_234),
            node: "n7 n8",
            step: "last good version".to_owned(),
            details: vec!["a detail of many words, ".repeat(12), "x".repeat(300), "✅".repeat(100)],
            tone: Tone::Good,
        };
        for width in [1, 80, 100, 120, 500] {
            let look = Look::new(width, false);
            let quotes = quoted(&line.details.join("\n"), 4, Tone::Bad, look);
            for painted in line.paint(look).iter().chain(&quotes) {
                assert!(cells(painted) <= look.width, "{} cells: {painted}", cells(painted));
                assert!(!painted.contains('\u{1b}'), "{painted}");
            }
        }
    }

    #[test]
    fn colour_only_where_it_is_welcome() {
        let line = Line { at: None, node: "n5", step: "closed".to_owned(), details: Vec::new(), tone: Tone::Good };
        assert!(line.paint(Look::new(80, true)).concat().contains('\u{1b}'));
        assert_eq!(line.paint(Look::new(80, false)), ["            n5      closed"]);
    }

    #[test]
    fn words_stay_whole_and_margins_stay() {
        assert_eq!(wrap("  one two three", 9), ["  one two", "  three"]);
        assert_eq!(wrap("a\nb", 9), ["a", "b"]);
        assert_eq!(wrap(" ↳ one two", 8), [" ↳ one", "   two"]);
        assert_eq!(wrap("", 9), Vec::<String>::new());
        assert_eq!(wrap("   ", 9), ["   "]);
        assert_eq!(wrap("abcdefghijk lm", 5), ["abcde", "fghij", "k lm"]);
        assert_eq!(wrap("\u{1b}[31mred", 20), ["[31mred"]);
    }
}
