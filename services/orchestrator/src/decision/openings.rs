//! The openings that the mass failure brake counted last: while it holds, the next incidents of a storm are counted without reading the log.
//!
//! Guarantees: every opening that counts was on the log, and not before the brake's window. Must not: say that the brake does not hold; for that
//! the log has to be read.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use contracts::{IncidentSubject, subjects};
use jiff::Timestamp;

/// Openings by the workload's path; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Openings(Arc<Mutex<Vec<(String, Timestamp)>>>);

impl Openings {
    /// Knows these now, as the log has their subjects and times, and no others.
    pub fn know(&self, read: &[(String, Timestamp)]) {
        let path = |subject| IncidentSubject::parse(subject).ok().map(|(subject, _)| subjects::workload_path(&subject.workload));
        let known = read.iter().filter_map(|(subject, at)| Some((path(subject)?, *at))).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// How many workloads have had an opening since then, this incident's included: at least so many.
    #[must_use]
    pub fn failing(&self, opened: &IncidentSubject, since: Timestamp) -> usize {
        let own = subjects::workload_path(&opened.workload);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = known.iter().filter(|(_, at)| *at >= since).map(|(path, _)| path.as_str());
        recent.chain([own.as_str()]).collect::<HashSet<_>>().len()
    }
}

#[cfg(test)]
mod tests {
    use contracts::v1::WorkloadRef;

    use super::*;

    #[test]
    fn workloads_count_once_and_only_while_they_are_recent() {
        let opening = |name: &str, minute: i64| {
            let workload =
                WorkloadRef { cluster: "c".into(), namespace: "n".into(), kind: "Deployment".into(), name: name.into() };
            let incident = format!("inc_{minute:032x}").parse().unwrap();
            let subject = IncidentSubject { workload, incident };
            (subject.clone(), (subject.fact("anomaly_detected"), Timestamp::from_second(60 * minute).unwrap()))
        };
        let read: Vec<_> = [("a", 1), ("b", 2), ("b", 3), ("c", 4)].map(|(name, minute)| opening(name, minute).1).into();
        let openings = Openings::default();
        let since = |minute: i64| Timestamp::from_second(60 * minute).unwrap();
        let own = opening("own", 5).0;
        assert_eq!(openings.failing(&own, since(0)), 1);
        openings.know(&read);
        assert_eq!((openings.failing(&own, since(0)), openings.failing(&own, since(3))), (4, 3));
        assert_eq!(openings.failing(&opening("c", 9).0, since(0)), 3, "its own workload is one of them");
    }
}
