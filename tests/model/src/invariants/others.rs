//! S4: a change by someone else is never overwritten, also one that happens to look like ours.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Invariant;
use super::fold::Incidents;
use super::intent::{DEPLOYMENTS, changes_template, stamp};
use crate::world::history::{Event, What, Write};

/// The promise.
#[derive(Debug, Default)]
pub(super) struct OthersWin {
    incidents: Incidents,
    /// The last change of a template by a person: uid and the generation that it made, by workload.
    changed: BTreeMap<String, (String, i64)>,
    /// The number of the event at which a person last changed a Service's selector, by Service.
    pointed: BTreeMap<String, usize>,
}

fn selector(object: Option<&Value>) -> Value {
    object.map(|object| object["spec"]["selector"].clone()).unwrap_or_default()
}

fn identity(object: Option<&Value>) -> (String, i64) {
    let metadata = object.map(|object| &object["metadata"]);
    let uid = metadata.and_then(|metadata| metadata["uid"].as_str()).unwrap_or_default();
    (uid.to_owned(), metadata.and_then(|metadata| metadata["generation"].as_i64()).unwrap_or_default())
}

impl Invariant for OthersWin {
    fn name(&self) -> &'static str {
        "S4 a change by someone else is never overwritten"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        self.incidents.see(event);
        let What::Wrote(write) = &event.what else { return Ok(()) };
        if write.resource == "services" && selector(write.before.as_deref()) != selector(write.after.as_deref()) {
            return self.judge_selector(write, event.number);
        }
        if write.resource != DEPLOYMENTS || !changes_template(write) {
            return Ok(());
        }
        if write.process.is_none() {
            self.changed.insert(write.name.clone(), identity(write.after.as_deref()));
            return Ok(());
        }
        self.judge(write)
    }
}

impl OthersWin {
    /// In this world a Service has its workload's name.
    fn judge_selector(&mut self, write: &Write, number: usize) -> Result<(), String> {
        if write.process.is_none() {
            self.pointed.insert(write.name.clone(), number);
            return Ok(());
        }
        let ours = self.incidents.all.values().filter(|known| known.subject.workload.name == write.name);
        let planned = ours.filter_map(|known| known.planned).max();
        match self.pointed.get(&write.name) {
            Some(pointed) if planned.is_none_or(|planned| *pointed > planned) => {
                Err(format!("the selector of {} was changed by a person after the plan, and written over", write.name))
            }
            _ => Ok(()),
        }
    }

    fn judge(&self, write: &Write) -> Result<(), String> {
        let before = write.before.as_deref();
        if before.is_some_and(|object| object["spec"]["paused"] == true) {
            return Err(format!("{} was written while its owner had paused it", write.name));
        }
        let (incident, _) = stamp(write.after.as_deref());
        let plan = self.incidents.named(&incident).and_then(|known| known.incident.plan.as_ref());
        let Some((_, plan)) = plan else { return Err(format!("{incident} wrote {} without a plan", write.name)) };
        let Some((uid, generation)) = self.changed.get(&write.name) else { return Ok(()) };
        let (now, _) = identity(before);
        if now != plan.workload_uid {
            return Err(format!("{} was written, which is another one than planned", write.name));
        }
        if *uid == plan.workload_uid && *generation > plan.workload_generation {
            return Err(format!(
                "{} was changed by a person (generation {generation}) after it was planned at generation {}, and written over",
                write.name, plan.workload_generation
            ));
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
        let ours = || forge::wrote(forge::object("b", 9, "", 0), forge::object("a", 10, &forge::id(1), 1));
        let person = |from: &str, to: &str, generation| {
            forge::person(forge::object(from, generation - 1, "", 0), forge::object(to, generation, "", 0))
        };
        let planned = |generation| forge::planned(1, generation, "b", "a");
        holds(OthersWin::default(), vec![person("a", "b", 9), forge::opened(1), planned(9), ours()]);
        let changed = vec![forge::opened(1), planned(7), person("b", "a", 8), person("a", "b", 9), ours()];
        broken(OthersWin::default(), changed, "written over");
        let switch = |process| forge::selector_changed(process, "b", "a");
        holds(OthersWin::default(), vec![switch(None), forge::opened(1), planned(9), switch(Some("executor-0"))]);
        let switched = vec![forge::opened(1), planned(9), switch(None), switch(Some("executor-0"))];
        broken(OthersWin::default(), switched, "by a person after the plan");
        let paused = forge::wrote(forge::paused("b", 9), forge::object("a", 10, &forge::id(1), 1));
        broken(OthersWin::default(), vec![forge::opened(1), planned(9), paused], "paused");
    }
}
