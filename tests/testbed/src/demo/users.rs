//! The users of a story's application: load on its Service, counted second by second.
//!
//! Guarantees: it ends when it is dropped. What is said of it is computed from the counts alone. Must not: print.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinHandle;

use crate::load::{Counts, Load};
use crate::process::lock;

/// What the users saw within one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Second {
    /// Its end.
    pub at: Timestamp,
    /// Requests that were answered well.
    pub ok: u64,
    /// Requests that failed.
    pub failed: u64,
}

/// Users at work.
#[derive(Debug)]
pub struct Users {
    seconds: Arc<Mutex<Vec<Second>>>,
    task: JoinHandle<()>,
}

impl Users {
    /// Counts what this load comes to, and ends it when dropped.
    #[must_use]
    pub fn of(load: Load) -> Self {
        let seconds = Arc::<Mutex<Vec<Second>>>::default();
        let sink = Arc::clone(&seconds);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            ticks.tick().await;
            let mut before = load.counts();
            loop {
                ticks.tick().await;
                let counts = load.counts();
                lock(&sink).push(second(&before, &counts, super::now()));
                before = counts;
            }
        });
        Self { seconds, task }
    }

    /// The seconds so far.
    #[must_use]
    pub fn seconds(&self) -> Vec<Second> {
        lock(&self.seconds).clone()
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn second(before: &Counts, after: &Counts, at: Timestamp) -> Second {
    let failed = after.failed().saturating_sub(before.failed());
    Second { at, ok: after.sent().saturating_sub(before.sent()).saturating_sub(failed), failed }
}

/// What the users saw: before the rollout, in the worst second, and since traffic has shifted back (where it has).
#[must_use]
pub fn before_after(seconds: &[Second], rolled_out: Timestamp, shifted: Option<Timestamp>) -> String {
    let before = average(seconds.iter().filter(|second| second.at < rolled_out));
    let since: Vec<_> = seconds.iter().filter(|second| second.at >= rolled_out).collect();
    let worst = since.iter().max_by_key(|second| second.failed);
    let worst = worst.map_or_else(|| "unknown".to_owned(), |second| format!("{} ok/s, {} failing/s", second.ok, second.failed));
    let (total, bad) =
        (since.iter().map(|second| second.failed).sum::<u64>(), since.iter().filter(|second| second.failed > 0).count());
    let after = shifted.map(|at| {
        // The second in which it shifted saw both.
        let after = since.iter().copied().filter(|second| second.at.as_millisecond() > at.as_millisecond() + 1000);
        format!(" → restored: {}", average(after))
    });
    format!("before: {before} → worst second: {worst}{}; {total} requests failed, in {bad} s", after.unwrap_or_default())
}

fn average<'a>(seconds: impl Iterator<Item = &'a Second>) -> String {
    let (count, ok, failed) = seconds.fold((0, 0, 0), |(n, ok, failed), second| (n + 1, ok + second.ok, failed + second.failed));
    let mean = |sum: u64| (sum + count / 2).checked_div(count);
    match (mean(ok), mean(failed)) {
        (Some(ok), Some(mean)) => {
            format!("{ok} ok/s, {} failing/s", if mean == 0 && failed > 0 { "<1".to_owned() } else { mean.to_string() })
        }
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn seconds(seen: &[(i64, u64, u64)]) -> Vec<Second> {
        seen.iter().map(|&(second, ok, failed)| Second { at: at(second), ok, failed }).collect()
    }

    #[test]
    fn one_second_is_a_difference() {
        let mut counts = Counts::default();
        let before = counts.clone();
        counts.by_status.insert(200, 15);
        counts.by_status.insert(500, 4);
        counts.no_answer = 1;
        assert_eq!(second(&before, &counts, at(1)), Second { at: at(1), ok: 15, failed: 5 });
    }

    #[test]
    fn before_worst_and_after() {
        let seen = seconds(&[(1, 20, 0), (2, 20, 0), (3, 9, 11), (4, 0, 20), (5, 10, 10), (6, 20, 0), (7, 20, 0)]);
        let expected = "before: 20 ok/s, 0 failing/s → worst second: 0 ok/s, 20 failing/s → restored: 20 ok/s, 0 failing/s; \
                        41 requests failed, in 3 s";
        assert_eq!(before_after(&seen, at(3), Some(at(5))), expected);
        let unhealed = before_after(&seen[..4], at(3), None);
        assert!(!unhealed.contains("restored") && unhealed.ends_with("31 requests failed, in 2 s"), "{unhealed}");
        assert!(before_after(&[], at(3), None).contains("before: unknown"));
    }

    #[test]
    fn few_failures_are_not_none() {
        let seen = seconds(&[(1, 20, 0), (2, 20, 0), (3, 19, 1)]);
        assert!(before_after(&seen, at(9), None).contains("before: 20 ok/s, <1 failing/s"));
    }
}
