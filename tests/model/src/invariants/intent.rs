//! S3: nothing changes a workload without a fact, written before, that names exactly that change.

use lastgood_core::template;
use serde_json::Value;

use super::Invariant;
use super::fold::Incidents;
use crate::world::history::{Event, What, Write};

/// The resource that is rolled back.
pub(super) const DEPLOYMENTS: &str = "deployments.apps";

/// The hash of an object's pod template.
pub(super) fn template_of(object: Option<&Value>) -> Option<String> {
    object.map(|object| template::hash(&object["spec"]["template"]))
}

/// Whether a write changes the pod template.
pub(super) fn changes_template(write: &Write) -> bool {
    template_of(write.before.as_deref()) != template_of(write.after.as_deref())
}

/// The incident and the attempt that an object's annotations name.
pub(super) fn stamp(object: Option<&Value>) -> (String, u32) {
    let text = |name: &str| object.and_then(|object| object["metadata"]["annotations"][name].as_str()).unwrap_or_default();
    (text("lastgood.dev/incident").to_owned(), text("lastgood.dev/attempt").parse().unwrap_or_default())
}

/// The promise.
#[derive(Debug, Default)]
pub(super) struct IntentFirst {
    incidents: Incidents,
}

impl Invariant for IntentFirst {
    fn name(&self) -> &'static str {
        "S3 the intent is on the log before the write"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        self.incidents.see(event);
        let What::Wrote(write) = &event.what else { return Ok(()) };
        let Some(process) = &write.process else { return Ok(()) };
        if !process.starts_with("executor") {
            return Err(format!("{process} wrote {} {}", write.resource, write.name));
        }
        if write.resource != DEPLOYMENTS {
            return Ok(());
        }
        let (incident, attempt) = stamp(write.after.as_deref());
        let Some(known) = self.incidents.named(&incident) else {
            return Err(format!("{} was written in the name of `{incident}`, which is no incident", write.name));
        };
        if known.subject.workload.name != write.name {
            return Err(format!("{incident} is about {}, and {} was written", known.subject.workload.name, write.name));
        }
        let Some(last) = known.incident.attempts.last() else {
            return Err(format!("{incident} has no RollbackStarted, and {} was written", write.name));
        };
        if !changes_template(write) {
            return spec_is_same(write);
        }
        let (intent, before) = (&last.intent, write.before.as_deref());
        let read = (
            before.and_then(|object| object["metadata"]["uid"].as_str()).unwrap_or_default(),
            before.and_then(|object| object["metadata"]["generation"].as_i64()).unwrap_or_default(),
            template_of(before).unwrap_or_default(),
            attempt,
        );
        let named = (intent.workload_uid.as_str(), intent.workload_generation, intent.template_hash.clone(), intent.attempt);
        if read != named {
            return Err(format!("the write was of {read:?}, its intent names {named:?}"));
        }
        exactly(write, &intent.target_template_hash)
    }
}

/// The write puts the template there that its intent names, and touches nothing else of the spec.
fn exactly(write: &Write, target: &str) -> Result<(), String> {
    let now = template_of(write.after.as_deref()).unwrap_or_default();
    if now != target {
        return Err(format!("{} got the template {now}, its intent names {target}", write.name));
    }
    let rest = |object: &Option<std::sync::Arc<Value>>| {
        let mut spec = object.as_ref().map(|object| object["spec"].clone()).unwrap_or_default();
        spec["template"] = Value::Null;
        spec
    };
    if rest(&write.before) == rest(&write.after) {
        Ok(())
    } else {
        Err(format!("more of {} was changed than its template", write.name))
    }
}

/// Annotations are lastgood's own business; the rest of the workload is not.
fn spec_is_same(write: &Write) -> Result<(), String> {
    let spec = |object: &Option<std::sync::Arc<Value>>| object.as_ref().map(|object| object["spec"].clone());
    if write.after.is_none() || spec(&write.before) != spec(&write.after) {
        return Err(format!("the spec of {} was changed, not by its template", write.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::forge::{self, broken, holds};

    #[test]
    fn it_can_fail() {
        let write = |generation| {
            forge::wrote(forge::object("b", generation, "", 0), forge::object("a", generation + 1, &forge::id(1), 1))
        };
        let opened = || forge::opened(1);
        holds(IntentFirst::default(), vec![opened(), forge::started(1, 1, 7, "b", "a"), write(7)]);
        broken(IntentFirst::default(), vec![opened(), write(7)], "no RollbackStarted");
        broken(IntentFirst::default(), vec![write(7)], "no incident");
        broken(IntentFirst::default(), vec![opened(), forge::started(1, 1, 6, "b", "a"), write(7)], "its intent names");
        let begun = || vec![opened(), forge::started(1, 1, 7, "b", "a")];
        let other = forge::wrote(forge::object("b", 7, "", 0), forge::object("c", 8, &forge::id(1), 1));
        broken(IntentFirst::default(), [begun(), vec![other]].concat(), "got the template");
        let more = forge::wrote(forge::object("b", 7, "", 0), forge::scaled("a", 8, &forge::id(1), 1));
        broken(IntentFirst::default(), [begun(), vec![more]].concat(), "more of web was changed");
        let scaled = forge::wrote(forge::object("b", 7, &forge::id(1), 1), forge::scaled("b", 8, &forge::id(1), 1));
        broken(IntentFirst::default(), vec![opened(), forge::started(1, 1, 7, "b", "a"), scaled], "not by its template");
    }
}
