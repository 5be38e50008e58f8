//! S2: at most one rollback acts on a workload at a time, and a planned rollback changes the workload's pod template at most once, and once
//! more only where the log says that its images had moved.

use std::collections::BTreeMap;

use contracts::Fact;
use contracts::subjects::workload_path;

use super::Invariant;
use super::fold::Incidents;
use super::intent::{DEPLOYMENTS, changes_template, stamp};
use crate::world::history::{Event, What};

/// The promise.
#[derive(Debug, Default)]
pub(super) struct OneRollback {
    incidents: Incidents,
    /// Template changes by incident.
    changes: BTreeMap<String, u32>,
}

impl Invariant for OneRollback {
    fn name(&self) -> &'static str {
        "S2 one rollback at a time, one change each"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        if let Some((subject, fact)) = self.incidents.see(event) {
            let path = workload_path(&subject.workload);
            let mut others = self
                .incidents
                .all
                .values()
                .filter(|known| known.subject.incident != subject.incident && known.incident.is_open());
            let other = others.find(|known| workload_path(&known.subject.workload) == path);
            if let (Fact::AnomalyDetected(_) | Fact::RollbackStarted(_), Some(other)) = (&fact, other) {
                return Err(format!("{} of {subject} while {} is open", fact.event_type(), other.subject));
            }
        }
        let What::Wrote(write) = &event.what else { return Ok(()) };
        if write.process.is_none() || write.resource != DEPLOYMENTS || !changes_template(write) {
            return Ok(());
        }
        let (incident, _) = stamp(write.after.as_deref());
        let times = self.changes.entry(incident.clone()).or_default();
        *times += 1;
        let moved = self.incidents.named(&incident).is_some_and(|known| known.incident.moved.is_some());
        if *times > 1 + u32::from(moved) {
            Err(format!("{incident} changed the template of {} {times} times", write.name))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::forge::{self, broken, holds};

    #[test]
    fn it_can_fail() {
        let (one, two) = (forge::opened(1), forge::opened(2));
        holds(OneRollback::default(), vec![one.clone(), forge::closed(1), two.clone()]);
        broken(OneRollback::default(), vec![one, two], "while");
        let write = |from, to| forge::wrote(forge::object(from, 1, "inc_", 0), forge::object(to, 2, &forge::id(1), 1));
        holds(OneRollback::default(), vec![write("b", "a")]);
        broken(OneRollback::default(), vec![write("b", "a"), write("b", "a")], "2 times");
        let mut moved = vec![forge::opened(1), write("b", "a"), forge::moved(1), write("a", "c")];
        holds(OneRollback::default(), moved.clone());
        moved.push(write("c", "a"));
        broken(OneRollback::default(), moved, "3 times");
    }
}
