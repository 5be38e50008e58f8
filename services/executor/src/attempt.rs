//! The attempt rule: what may be done next, from what the log says and what the cluster says.
//!
//! Guarantees: a write is only ever the answer when an intent names this very uid, generation and template; a change that is not
//! ours, as the annotations tell, is never written over; replicas and status never supersede. Must not: do I/O, or read a clock.

use contracts::{FailureReason, HaltReason, IncidentId};
use jiff::Timestamp;
use lastgood_core::incident::{Incident, acting_until, not_after};
use lastgood_core::template;
use serde_json::Value;

use crate::strategies::ownership;
use crate::strategies::{ATTEMPT, INCIDENT, TEMPLATE_HASH};

/// The Deployment controller's revision number.
const REVISION: &str = "deployment.kubernetes.io/revision";

/// What one read of the workload showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// The hash of `spec.template`.
    pub template_hash: String,
    /// `spec.paused`.
    pub paused: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// The incident that its annotation names.
    pub incident: String,
    /// The attempt that its annotation names; 0 for none.
    pub attempt: u32,
    /// The template hash that its annotation names.
    pub stamped_template: String,
    /// The controller's revision; 0 when unknown.
    pub revision: i64,
    /// Whether a `managedFields` entry of ours is there, which still has to be dropped.
    pub entry_of_ours: bool,
}

impl Live {
    /// Reads it from the object.
    #[must_use]
    pub fn of(object: &Value) -> Self {
        let metadata = &object["metadata"];
        let annotation = |name: &str| metadata["annotations"][name].as_str().unwrap_or_default();
        Self {
            uid: metadata["uid"].as_str().unwrap_or_default().to_owned(),
            generation: metadata["generation"].as_i64().unwrap_or_default(),
            template_hash: template::hash(&object["spec"]["template"]),
            paused: object["spec"]["paused"].as_bool().unwrap_or_default(),
            deleting: metadata["deletionTimestamp"].is_string(),
            incident: annotation(INCIDENT).to_owned(),
            attempt: annotation(ATTEMPT).parse().unwrap_or_default(),
            stamped_template: annotation(TEMPLATE_HASH).to_owned(),
            revision: annotation(REVISION).parse().unwrap_or_default(),
            entry_of_ours: ownership::is_ours_present(&metadata["managedFields"]),
        }
    }

    /// Whether it is as this incident's write left it: annotations alone stay when somebody applies another template.
    #[must_use]
    pub fn is_as_written_by(&self, id: IncidentId) -> bool {
        !self.deleting
            && !self.paused
            && self.attempt > 0
            && self.incident == id.to_string()
            && self.template_hash == self.stamped_template
    }
}

/// What a read of the workload means for this incident.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The workload; `None` when it does not exist.
    pub live: Option<&'a Live>,
    /// Whether this process has itself seen its write accepted: then a workload without it was changed by somebody since.
    pub written: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Append the intent of this attempt, naming what was read.
    Intend(u32),
    /// Write, with the resourceVersion of this read, if the switch allows it.
    Write(u32),
    /// The write is in place: see to the `managedFields` where need be, and watch.
    Watch(u32),
    /// Somebody else changed it: stop.
    Supersede {
        /// "uid", "template", "paused" or "deleted".
        what: &'static str,
        /// For people.
        detail: String,
        /// The generation that was seen.
        generation: i64,
    },
    /// Nothing was written, and nothing will be.
    Halt {
        /// Why.
        reason: HaltReason,
        /// For people.
        detail: String,
    },
    /// It was begun, and nothing was written: none may come any more.
    GiveUp {
        /// Why.
        reason: FailureReason,
        /// For people.
        detail: String,
    },
}

/// The next step of an incident that is planned or acted on; `None` when it has no usable plan.
#[must_use]
pub fn next_step(incident: &Incident, id: IncidentId, seen: Seen<'_>, now: Timestamp) -> Option<Step> {
    let (_, plan) = incident.plan.as_ref()?;
    let (from, to) = (plan.from.as_ref()?, plan.to.as_ref()?);
    let Some(live) = seen.live.filter(|live| !live.deleting) else {
        let generation = seen.live.map_or(0, |live| live.generation);
        return Some(Step::Supersede { what: "deleted", detail: "the workload was deleted".into(), generation });
    };
    let supersede = |what, detail: &str| Step::Supersede { what, detail: detail.to_owned(), generation: live.generation };
    if live.uid != plan.workload_uid {
        return Some(supersede("uid", "the workload was deleted and created anew"));
    }
    if live.paused {
        return Some(supersede("paused", "its rollout was paused by somebody (spec.paused)"));
    }
    // The write of an attempt whose image had moved is not what is to stay, it is what the next one replaces.
    let stamped = live.incident == id.to_string() && live.attempt > incident.moved_after();
    // What a write of ours yields is what it says of itself: an admission webhook may have added to the plan's template.
    let ours = stamped && live.template_hash == live.stamped_template;
    if ours || live.template_hash == to.template_hash {
        return Some(match (ours, incident.attempt()) {
            // The log lost the intent; the workload's own annotation is the second witness.
            (true, known) if known <= incident.moved_after() => Step::Intend(known + 1),
            (true, known) => Step::Watch(known),
            (false, _) => {
                supersede("template", "somebody put the same version back without us; theirs is the change that counts")
            }
        });
    }
    if Some(live.template_hash.as_str()) != incident.replaces() {
        return Some(supersede("template", "somebody changed the pod template"));
    }
    if incident.moved.is_some() && !live.is_as_written_by(id) {
        return Some(supersede("template", "somebody put the same version, by its tags, in the place of ours"));
    }
    // Each change of the template makes a new revision: ours is one, whoever brought the bad version back made another.
    let replaced = incident.moved.as_ref().map_or(from.revision, |moved| moved.workload_revision);
    let begun = incident.attempt() > incident.moved_after();
    let came_back = replaced > 0 && live.revision > replaced + 1 && begun;
    // What was reported was seen with our write in place, also where no revision and no annotation is left to tell.
    if stamped || seen.written || came_back || incident.progress.any() {
        return Some(supersede("template", "somebody brought the version back that we had replaced"));
    }
    Some(before_the_write(incident, live, not_after(incident), now))
}

fn before_the_write(incident: &Incident, live: &Live, not_after: Option<Timestamp>, now: Timestamp) -> Step {
    // By the clock that stamped the intent, which is the log's: ours may be behind.
    let begun_late = not_after.zip(incident.attempts.first()).filter(|(not_after, first)| first.at > *not_after);
    if let Some((not_after, first)) = begun_late {
        let detail =
            format!("nothing was written: the plan was to be begun by {not_after}, and its intent was stored at {}", first.at);
        return Step::GiveUp { reason: FailureReason::PlanExpired, detail };
    }
    match incident.attempts.last().map(|attempt| &attempt.intent) {
        // People have been told, or are about to be; what was planned then is stale knowledge by now.
        Some(_) if acting_until(incident).is_some_and(|until| now >= until) => {
            let what = if incident.moved.is_some() { "nothing more" } else { "nothing" };
            let detail = format!("{what} was written by the deadline");
            Step::GiveUp { reason: FailureReason::PodsNotReady, detail }
        }
        Some(intent) if intent.attempt <= incident.moved_after() => Step::Intend(intent.attempt + 1),
        Some(intent) if intent.workload_generation == live.generation => Step::Write(intent.attempt),
        // Only the generation moved: an autoscaler, or somebody's change of replicas.
        Some(intent) => Step::Intend(intent.attempt + 1),
        None => match not_after {
            Some(not_after) if now > not_after => Step::Halt {
                reason: HaltReason::PlanExpired,
                detail: format!("the plan was to be begun by {not_after}; it is {now}"),
            },
            _ => Step::Intend(1),
        },
    }
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
