//! S6: a version once rolled back from is not rolled back to, and an alert that goes on after its incident opens no second rollback.

use std::collections::{BTreeMap, BTreeSet};

use contracts::Fact;
use contracts::subjects::workload_path;
use lastgood_core::configuration::id_of;

use super::Invariant;
use super::fold::Incidents;
use crate::world::history::{Event, What};

/// The promise.
#[derive(Debug, Default)]
pub(super) struct NeverBack {
    incidents: Incidents,
    /// The versions that were rolled back from, by workload.
    left: BTreeMap<String, BTreeSet<String>>,
    /// The incident that the present occurrence of a fingerprint opened.
    opened_by: BTreeMap<String, String>,
}

impl Invariant for NeverBack {
    fn name(&self) -> &'static str {
        "S6 never back to what was rolled back from, no second rollback for one alert"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        if let What::Stored(message) = &event.what
            && message.subject.starts_with("lastgood.occurrence.")
            && message.event_type() == "occurrence_resolved"
        {
            self.opened_by.remove(message.subject.split('.').nth(2).unwrap_or_default());
        }
        let Some((subject, fact)) = self.incidents.see(event) else { return Ok(()) };
        let path = workload_path(&subject.workload);
        match fact {
            Fact::AnomalyDetected(opened) => {
                let fingerprint = opened.trigger.map(|trigger| trigger.fingerprint).unwrap_or_default();
                if let Some(before) = self.opened_by.insert(fingerprint.clone(), subject.incident.to_string()) {
                    return Err(format!("{fingerprint} goes on since {before}, and opened {subject}"));
                }
            }
            Fact::RollbackPlanned(planned) => {
                let to = planned.plan.and_then(|plan| plan.to).map(|to| id_of(&to).to_owned()).unwrap_or_default();
                if self.left.get(&path).is_some_and(|left| left.contains(&to)) {
                    return Err(format!("{subject} plans to go back to {to}, which was rolled back from"));
                }
            }
            Fact::RollbackStarted(started) => {
                // The version, and not the template that is replaced: that may be the good one, by a tag that had moved.
                let left = if started.version.is_empty() { started.template_hash } else { started.version };
                self.left.entry(path).or_default().insert(left);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::forge::{self, broken, holds};

    #[test]
    fn it_can_fail() {
        let first = || vec![forge::opened(1), forge::started(1, 1, 7, "b", "a"), forge::closed(1)];
        let resolved = forge::stored("LASTGOOD_INCIDENTS", "lastgood.occurrence.f1.occurrence_resolved", &[]);
        let again = [first(), vec![resolved.clone(), forge::opened(2), forge::planned(2, 9, "c", "a")]].concat();
        holds(NeverBack::default(), again);
        broken(NeverBack::default(), [first(), vec![forge::opened(2)]].concat(), "goes on since");
        let back = [first(), vec![resolved, forge::opened(2), forge::planned(2, 9, "c", "b")]].concat();
        broken(NeverBack::default(), back, "was rolled back from");
    }
}
