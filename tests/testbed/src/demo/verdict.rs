//! Whether a story ended as it should, how long its parts took, and the table of all of them. Pure.
//!
//! Guarantees: a difference is named with what was wanted and what was seen; an unknown time is shown as such. Must not: forgive.

use contracts::Fact;
use contracts::codes::outcome_name;
use contracts::v1::Outcome;
use jiff::Timestamp;
use lastgood_core::incident::Recorded;

use super::look::{Look, Tone, cells, paragraph};
use super::steps;

/// How a story has to end.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// The incident's.
    pub outcome: Outcome,
    /// What the Deployment's template runs in the end.
    pub tag: &'static str,
    /// The pages, as (audience, reason), sorted.
    pub pages: &'static [(&'static str, &'static str)],
    /// Change events.
    pub changes: usize,
    /// What the chat thread's first message says in the end.
    pub title: &'static str,
    /// The facts, in this order; others may lie between.
    pub facts: &'static [&'static str],
}

/// How it ended.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The incident's, once it is closed.
    pub outcome: Option<Outcome>,
    /// The image of the Deployment's template.
    pub image: String,
    /// The pages, as (audience, reason), sorted.
    pub pages: Vec<(String, String)>,
    /// Change events.
    pub changes: usize,
    /// What the thread's first message says; the error where there is not exactly one thread.
    pub title: Result<String, String>,
    /// The facts' types.
    pub facts: Vec<&'static str>,
    /// Incidents of this workload.
    pub incidents: usize,
}

/// What differs; empty when all is as it should be.
#[must_use]
pub fn differences(wanted: &Expected, seen: &Seen) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |same: bool, what: String| {
        if !same {
            found.push(what);
        }
    };
    let ended = seen.outcome.map_or("still open", outcome_name);
    check(seen.outcome == Some(wanted.outcome), format!("the incident is {ended}, not {}", outcome_name(wanted.outcome)));
    let image = crate::real_cluster::image(wanted.tag);
    check(seen.image == image, format!("the Deployment runs {}, not {image}", seen.image));
    let pages: Vec<_> = wanted.pages.iter().map(|(audience, reason)| ((*audience).to_owned(), (*reason).to_owned())).collect();
    check(seen.pages == pages, format!("the pages are {:?}, not {pages:?}", seen.pages));
    check(seen.changes == wanted.changes, format!("{} change events, not {}", seen.changes, wanted.changes));
    match &seen.title {
        Ok(title) => check(title.contains(wanted.title), format!("the thread says `{title}`, not `{}`", wanted.title)),
        Err(error) => check(false, error.clone()),
    }
    let mut rest = seen.facts.iter();
    let missing = wanted.facts.iter().find(|fact| !rest.any(|seen| seen == *fact));
    check(missing.is_none(), format!("`{}` is missing, or not in its place: {:?}", missing.unwrap_or(&""), seen.facts));
    let at = |event_type: &str| seen.facts.iter().position(|fact| *fact == event_type);
    let opened_first = at("rollback_started").is_none_or(|started| at("announced").is_some_and(|opened| opened < started));
    check(opened_first, format!("the chat thread was not open before the rollback began: {:?}", seen.facts));
    check(seen.incidents == 1, format!("{} incidents, not 1", seen.incidents));
    found
}

/// When what happened, in milliseconds since the alert was raised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// The incident was opened.
    pub opened: Option<i64>,
    /// The executor saw its patch on the cluster.
    pub patched: Option<i64>,
    /// Verified.
    pub mitigated: Option<i64>,
    /// Closed.
    pub closed: Option<i64>,
}

impl Timing {
    /// The times of an incident's facts.
    #[must_use]
    pub fn of(facts: &[Recorded]) -> Self {
        let Some(raised) = facts.first().map(steps::raised) else { return Self::default() };
        let first = |wanted: fn(&Fact) -> bool| {
            let at: Option<Timestamp> = facts.iter().find(|recorded| wanted(&recorded.fact)).map(|recorded| recorded.at);
            at.map(|at| at.as_millisecond() - raised.as_millisecond())
        };
        Self {
            opened: first(|fact| matches!(fact, Fact::AnomalyDetected(_))),
            patched: first(|fact| matches!(fact, Fact::PreviousVersionDeployed(_))),
            mitigated: first(|fact| matches!(fact, Fact::Mitigated(_))),
            closed: first(|fact| matches!(fact, Fact::IncidentClosed(_))),
        }
    }
}

/// A story's line in the table.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its number.
    pub number: usize,
    /// Its title.
    pub title: &'static str,
    /// How the incident ended.
    pub outcome: Option<Outcome>,
    /// The times.
    pub timing: Timing,
    /// Who was told.
    pub told: String,
    /// What differs from what should be.
    pub differences: Vec<String>,
}

/// The table of all stories, times counted from the alert.
#[must_use]
pub fn table(rows: &[Row], look: Look) -> Vec<String> {
    let seconds = |time: Option<i64>| {
        time.map_or_else(
            || "–".to_owned(),
            |ms| {
                if ms.unsigned_abs() < 1000 {
                    format!("{ms} ms")
                } else {
                    format!("{}.{} s", ms / 1000, (ms % 1000).unsigned_abs() / 100)
                }
            },
        )
    };
    let head = ["", "story", "ended", "patched", "mitigated", "closed"].map(str::to_owned);
    let cells_of = rows.iter().map(|row| {
        let ended = row.outcome.map_or("not at all", outcome_name).to_owned();
        let Timing { patched, mitigated, closed, .. } = row.timing;
        [row.number.to_string(), row.title.to_owned(), ended, seconds(patched), seconds(mitigated), seconds(closed)]
    });
    let cells_of: Vec<_> = std::iter::once(head).chain(cells_of).collect();
    let mut widths = [0; 6];
    for line in &cells_of {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cells(cell));
        }
    }
    let columns = |line: &[String; 6]| {
        let padded = line.iter().zip(widths).map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cells(cell))));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![look.toned(Tone::Quiet, &format!("  {}", columns(&cells_of[0])))];
    for (row, line) in rows.iter().zip(&cells_of[1..]) {
        let mark = if row.differences.is_empty() { look.toned(Tone::Good, "✓") } else { look.toned(Tone::Bad, "✗") };
        lines.push(format!("{mark} {}", columns(line)));
        lines.extend(paragraph(&format!("told: {}", row.told), 5, Tone::People, look));
    }
    lines
}

#[cfg(test)]
mod tests {
    use contracts::v1;

    use super::*;

    const WANTED: Expected = Expected {
        outcome: Outcome::Completed,
        tag: "v1",
        pages: &[],
        changes: 1,
        title: "rolled back",
        facts: &["rollback_planned", "mitigated"],
    };

    fn seen() -> Seen {
        Seen {
            outcome: Some(Outcome::Completed),
            image: "docker.io/lastgood/workload:v1".into(),
            pages: Vec::new(),
            changes: 1,
            title: Ok("shop/web: rolled back, verified".into()),
            facts: vec!["anomaly_detected", "rollback_planned", "announced", "mitigated"],
            incidents: 1,
        }
    }

    #[test]
    fn each_difference_is_named() {
        assert_eq!(differences(&WANTED, &seen()), Vec::<String>::new());
        for (seen, word) in [
            (Seen { outcome: None, ..seen() }, "still open"),
            (Seen { outcome: Some(Outcome::Halted), ..seen() }, "halted, not completed"),
            (Seen { image: "x:v2".into(), ..seen() }, "x:v2"),
            (Seen { pages: vec![("on_call".into(), "r".into())], ..seen() }, "on_call"),
            (Seen { changes: 0, ..seen() }, "0 change events"),
            (Seen { title: Err("2 threads".into()), ..seen() }, "2 threads"),
            (Seen { title: Ok("planned".into()), ..seen() }, "planned"),
            (Seen { facts: vec!["mitigated", "rollback_planned"], ..seen() }, "`mitigated` is missing"),
            (Seen { incidents: 2, ..seen() }, "2 incidents"),
        ] {
            let found = differences(&WANTED, &seen);
            assert!(found.len() == 1 && found[0].contains(word), "{found:?} has no {word}");
        }
    }

    #[test]
    fn times_count_from_the_alert() {
        let at = |fact: Fact, ms| Recorded { sequence: 1, at: Timestamp::from_millisecond(ms).unwrap(), fact };
        let starts_at = Some(contracts::time::to_proto(Timestamp::from_second(1).unwrap()));
        let trigger = Some(v1::Occurrence { starts_at, ..v1::Occurrence::default() });
        let facts = [
            at(v1::AnomalyDetected { trigger, ..Default::default() }.into(), 1_200),
            at(v1::PreviousVersionDeployed::default().into(), 1_500),
            at(v1::IncidentClosed::default().into(), 9_000),
        ];
        let expected = Timing { opened: Some(200), patched: Some(500), mitigated: None, closed: Some(8_000) };
        assert_eq!(Timing::of(&facts), expected);
        assert_eq!(Timing::of(&[]), Timing::default());
    }

    #[test]
    fn the_table_fits_and_marks_what_differs() {
        let row = |number, differences| Row {
            number,
            title: "smoke tests fail",
            outcome: Some(Outcome::VerificationFailed),
            timing: Timing { opened: Some(1), patched: Some(234), mitigated: Some(1_234), closed: Some(70_000) },
            told: "on-call and team lead paged, chat".into(),
            differences,
        };
        for width in [80, 100, 120] {
            let lines = table(&[row(1, Vec::new()), row(2, vec!["x".into()])], Look::new(width, false));
            assert!(lines.iter().all(|line| cells(line) <= width), "{lines:#?}");
            let text = lines.join("\n");
            assert!(
                text.contains("✓ 1")
                    && text.contains("✗ 2")
                    && text.contains("234 ms")
                    && text.contains("1.2 s")
                    && text.contains("70.0 s"),
                "{text}"
            );
        }
    }
}
