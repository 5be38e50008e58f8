//! What was explored, as a table for people.
//!
//! Guarantees: a row for each report, in the order given. Must not: leave out one that failed.

use std::fmt::Write as _;

use super::report::Report;

/// The table.
#[must_use]
pub fn table(reports: &[Report]) -> String {
    let named: Vec<(String, &Report)> = reports.iter().map(|report| (name(report), report)).collect();
    let wide = named.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut text = format!("{:<wide$} {:>9} {:>8} {:>5} {:>7}", "scenario", "states", "unique", "depth", "seconds");
    for (name, Report { explored, unique, depth, seconds, .. }) in named {
        let _ = write!(text, "\n{name:<wide$} {explored:>9} {unique:>8} {depth:>5} {seconds:>7.1}");
    }
    text
}

fn name(report: &Report) -> String {
    let scenario = report.scenario;
    let Some(mutation) = report.mutation else {
        return format!("{scenario}{}", if report.broken.is_empty() { "" } else { " (BROKEN)" });
    };
    format!("  {mutation:?}: {}", if report.broken.is_empty() { "NOT FOUND" } else { "found" })
}
