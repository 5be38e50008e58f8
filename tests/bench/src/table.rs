//! Tables that read well in a terminal and can be pasted into a README.
//!
//! Guarantee: every row has as many cells as the head. Must not: format numbers; the callers know their units.

use std::fmt::Write as _;

/// A Markdown table: the first column left, the others right.
pub(crate) fn render<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).fold(head[column].len().max(3), usize::max)
    });
    let mut text = String::new();
    let mut line = |cells: [&str; N]| {
        for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
            // Writing to a string can't fail.
            let _ = if column == 0 { write!(text, "| {cell:<width$} ") } else { write!(text, "| {cell:>width$} ") };
        }
        text.push_str("|\n");
    };
    line(head);
    let rules: [String; N] = std::array::from_fn(|column| match column {
        0 => "-".repeat(widths[column]),
        _ => format!("{}:", "-".repeat(widths[column] - 1)),
    });
    line(rules.each_ref().map(String::as_str));
    for row in rows {
        line(row.each_ref().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table() {
        let text = render(["what", "ms"], &[["one".to_owned(), "1.5".to_owned()], ["another".to_owned(), "10000".to_owned()]]);
        assert_eq!(text, "| what    |    ms |\n| ------- | ----: |\n| one     |   1.5 |\n| another | 10000 |\n");
    }
}
