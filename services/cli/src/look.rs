//! How lines look on a terminal: tones, and columns that stand under each other.
//!
//! Guarantees: every text that passes here is on one line and without control characters; without colour there is not one escape sequence; columns
//! are aligned by the cells that a terminal gives to a text. Must not: print, or know what it shows.

use lastgood_core::text::visible;
use owo_colors::{OwoColorize as _, Style};
use unicode_width::UnicodeWidthStr as _;

/// Cells between columns.
const GAP: usize = 2;

/// What a text means to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    Plain,
    /// It is well.
    Good,
    /// It is not.
    Bad,
    /// Not known, or waited for.
    Open,
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
            Self::Open => Style::new().yellow(),
            Self::Quiet => Style::new().dimmed(),
            Self::Title => Style::new().bold(),
        }
    }
}

/// What the terminal takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    colour: bool,
}

/// One field of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    tone: Tone,
    text: String,
}

/// A field.
#[must_use]
pub fn cell(tone: Tone, text: &str) -> Cell {
    Cell { tone, text: visible(text) }
}

impl Look {
    /// With or without colour.
    #[must_use]
    pub const fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// The text in this tone, on one line.
    #[must_use]
    pub fn toned(self, tone: Tone, text: &str) -> String {
        self.painted(tone, &visible(text))
    }

    fn painted(self, tone: Tone, visible: &str) -> String {
        let plain = !self.colour || tone == Tone::Plain || visible.is_empty();
        if plain { visible.to_owned() } else { visible.style(tone.style()).to_string() }
    }

    /// A text of several lines, each in this tone and behind so many blanks.
    #[must_use]
    pub fn block(self, tone: Tone, indent: usize, text: &str) -> Vec<String> {
        text.lines().map(|line| format!("{}{}", " ".repeat(indent), self.toned(tone, line))).collect()
    }

    /// A line a row, in columns; rows may have fewer fields than others.
    #[must_use]
    pub fn table(self, rows: &[Vec<Cell>]) -> Vec<String> {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.width()).max().unwrap_or(0);
        let widths: Vec<_> = (0..columns).map(width).collect();
        rows.iter().map(|row| self.row(row, &widths)).collect()
    }

    fn row(self, row: &[Cell], widths: &[usize]) -> String {
        let mut line = String::new();
        for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
            line.push_str(&self.painted(cell.tone, &cell.text));
            // No blanks at the end of a line.
            if row[index + 1..].iter().any(|next| !next.text.is_empty()) {
                line.extend(std::iter::repeat_n(' ', width - cell.text.width() + GAP));
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_whatever_is_in_them() {
        let row = |fields: [&str; 3]| fields.iter().map(|field| cell(Tone::Good, field)).collect::<Vec<_>>();
        let rows = [row(["A", "B", "C"]), row(["größe", "漢字", "\u{1b}[2J"]), row(["x", "", ""])];
        assert_eq!(Look::new(false).table(&rows), ["A      B     C", "größe  漢字  \\u{1b}[2J", "x"]);
    }

    #[test]
    fn colour_only_where_it_is_welcome_and_only_ours() {
        let hostile = "\u{1b}[31mred\u{1b}[0m";
        assert_eq!(Look::new(false).toned(Tone::Bad, hostile), "\\u{1b}[31mred\\u{1b}[0m");
        let painted = Look::new(true).toned(Tone::Good, hostile);
        assert_eq!(painted.matches('\u{1b}').count(), 2, "{painted:?}");
        assert_eq!(Look::new(true).toned(Tone::Plain, "x"), "x");
    }

    #[test]
    fn a_block_keeps_its_lines() {
        assert_eq!(Look::new(false).block(Tone::Quiet, 2, "a\nb\rc"), ["  a", "  b\\rc"]);
    }
}
