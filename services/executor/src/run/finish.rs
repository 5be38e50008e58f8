//! The end: the workload's status, an Event, and the bad version's leftovers.
//!
//! Guarantees: each step finds out whether it was done already; nothing of the history that an undo needs is deleted. Must not: touch a
//! workload that somebody else has changed since.

use chassis::bus::HandleError;
use contracts::v1::{OldResourcesCleaned, StatusUpdated};
use jiff::{SignedDuration, Timestamp};
use lastgood_core::incident::{Command, Phase};
use serde_json::{Value, json};

use super::observe::{recorded, selector, versions};
use super::write::plan_of;
use super::{Case, Executor, hand_back};
use crate::attempt::{Live, Seen, Step, next_step};
use crate::cluster::{ApiError, Kind};
use crate::strategies::{ROLLED_BACK_BY, ROLLED_BACK_FROM, STATUS};
use crate::view::{Objects, Pod, View, Which};

impl Executor {
    pub(super) async fn finish(&self, case: &mut Case) -> Result<(), HandleError> {
        let live = self.read(case.kind, &case.subject).await.map_err(|error| hand_back(&error))?;
        let seen = live.as_ref().map(Live::of);
        let step =
            next_step(&case.incident, case.subject.incident, Seen { live: seen.as_ref(), written: true }, self.clock.now());
        if let Some(Step::Supersede { what, detail, generation }) = step {
            return self.supersede(case, what, detail, generation).await;
        }
        let Some(live) = live else { return Ok(()) };
        if !case.incident.status_updated {
            let updated = self.update_status(case, live.clone()).await.map_err(|error| hand_back(&error))?;
            self.tell(case, Command::UpdateStatus(updated)).await?;
        }
        if case.incident.phase() == Phase::Mitigated && !case.incident.cleaned {
            let cleaned = self.clean_up(case, live).await.map_err(|error| hand_back(&error))?;
            self.tell(case, Command::CleanUp(OldResourcesCleaned { cleaned })).await?;
        }
        Ok(())
    }

    /// Annotations and an Event. An Event that the server refuses (roles that lack it, a quota) is a note, and no reason to take a verified
    /// rollback for one that did not end.
    async fn update_status(&self, case: &Case, mut live: Value) -> Result<StatusUpdated, ApiError> {
        let plan = plan_of(case);
        let images = |version: &Option<contracts::v1::Version>| {
            let images = version.iter().flat_map(|version| version.images.iter().map(|image| image.image.clone()));
            images.collect::<Vec<_>>().join(", ")
        };
        let status = format!("rolled back to {} by {}", images(&plan.to), case.subject.incident);
        let annotations = json!({STATUS: status, ROLLED_BACK_FROM: images(&plan.from)});
        loop {
            let there = &live["metadata"]["annotations"];
            if there[STATUS] == annotations[STATUS] && there[ROLLED_BACK_FROM] == annotations[ROLLED_BACK_FROM] {
                break;
            }
            match self.cluster.annotate(case.kind, &live, &annotations).await {
                Ok(annotated) => live = annotated,
                Err(ApiError::Conflict(_)) => match self.read(case.kind, &case.subject).await? {
                    Some(fresh) if Live::of(&fresh).is_as_written_by(case.subject.incident) => live = fresh,
                    _ => return Err(ApiError::Conflict("somebody changed the workload".into())),
                },
                Err(error) => return Err(error),
            }
        }
        self.let_go(case, live.clone(), None, recorded(&plan).as_ref()).await?;
        let event = event(case, &live, &format!("{status}; it ran {} before", images(&plan.from)), self.clock.now());
        let name = event["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let created = match self.cluster.create(Kind::Event, &case.subject.workload.namespace, &event).await {
            // There already: written before a restart.
            Err(ApiError::Conflict(_)) => Ok(Value::Null),
            other => other,
        };
        Ok(match ApiError::optional(created)? {
            Ok(_) => StatusUpdated { event_name: name, note: String::new() },
            Err(why) => {
                tracing::warn!(incident = %case.subject, why, "the Event was not written");
                StatusUpdated { event_name: String::new(), note: format!("no Event was written: {why}") }
            }
        })
    }

    /// Removes what the bad version left behind; a line for each thing done.
    async fn clean_up(&self, case: &Case, live: Value) -> Result<Vec<String>, ApiError> {
        let plan = plan_of(case);
        let namespace = &case.subject.workload.namespace;
        let mut cleaned = Vec::new();
        for switch in plan.service_switches.iter().filter(|switch| !switch.to_selector.is_empty()) {
            match self.switch_one(case, switch, true, true).await? {
                Some(why) => cleaned.push(format!("{why}; left as it is")),
                None => cleaned.push(format!("Service {} selects the restored version", switch.name)),
            }
            // From the first selector it takes two steps.
            self.switch_one(case, switch, true, true).await?;
        }
        let view = self.list(case, namespace, live).await?;
        for set in view.carriers.iter().filter(|set| set.which == Which::Bad) {
            if case.incident.moved.as_ref().is_some_and(|moved| moved.template_hash == set.template_hash) {
                cleaned.push(format!(
                    "{} {} is kept for the history: the good version, by its tags",
                    case.kind.carrier().name(),
                    set.name
                ));
                continue;
            }
            if case.kind.carrier() != Kind::ReplicaSet {
                cleaned.push(format!("ControllerRevision {} is kept for the history", set.name));
                continue;
            }
            let marked = match set.rolled_back_by.as_str() {
                "" => ApiError::optional(self.mark(namespace, &set.name, &case.subject.incident.to_string()).await)?,
                _ => Ok(()),
            };
            let how =
                marked.map_or_else(|why| format!("not marked as rolled back: {why}"), |()| "marked as rolled back".to_owned());
            cleaned.push(format!("ReplicaSet {} is kept for the history, {how}", set.name));
        }
        // Only a Deployment's pods have no identity that another may be waiting for, on a node that nobody can ask.
        let leftovers = view.pods.iter().filter(|pod| pod.which == Which::Bad && case.kind == Kind::Deployment);
        for pod in leftovers {
            if let Some((why, force)) = leftover(pod, self.clock.now(), self.config.stuck_after) {
                let deleted = ApiError::optional(self.cluster.delete_pod(namespace, &pod.name, &pod.uid, force).await)?;
                let how = deleted.map_or_else(|refused| format!("left ({why}): {refused}"), |()| format!("deleted ({why})"));
                cleaned.push(format!("pod {} {how}", pod.name));
            }
        }
        Ok(cleaned)
    }

    async fn mark(&self, namespace: &str, name: &str, incident: &str) -> Result<(), ApiError> {
        loop {
            let Some(set) = self.cluster.get(Kind::ReplicaSet, namespace, name).await? else { return Ok(()) };
            match self.cluster.annotate(Kind::ReplicaSet, &set, &json!({ROLLED_BACK_BY: incident})).await {
                Err(ApiError::Conflict(_)) => {}
                Ok(_) | Err(ApiError::NotFound(_)) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    async fn list(&self, case: &Case, namespace: &str, live: Value) -> Result<View, ApiError> {
        let kind = case.kind;
        let selector = selector(&live).map_err(|message| ApiError::Refused { code: 0, message })?;
        let (carriers, pods) = tokio::try_join!(
            self.cluster.list(kind.carrier(), namespace, &selector),
            self.cluster.list(Kind::Pod, namespace, &selector)
        )?;
        let versions = versions(&case.incident, &Live::of(&live));
        Ok(View::of(&Objects { kind, workload: Some(live), carriers, pods, ..Objects::default() }, &versions))
    }
}

/// Why a pod of the bad version is to be deleted, and whether by force.
fn leftover(pod: &Pod, now: Timestamp, stuck_after: std::time::Duration) -> Option<(&'static str, bool)> {
    let patience = SignedDuration::try_from(stuck_after).unwrap_or_default();
    match (pod.leaving_by, pod.phase.as_str()) {
        (Some(by), _) => (now.duration_since(by) > patience).then_some(("it did not end by itself", true)),
        (None, "Failed") => Some(("it had failed", false)),
        (None, "Unknown") => Some(("its node does not answer", false)),
        _ => None,
    }
}

fn event(case: &Case, live: &Value, message: &str, now: Timestamp) -> Value {
    let workload = &case.subject.workload;
    let at = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": format!("{}.{}", workload.name, case.subject.incident.uuid().simple()),
            "namespace": workload.namespace,
        },
        "involvedObject": {
            "apiVersion": "apps/v1",
            "kind": workload.kind,
            "namespace": workload.namespace,
            "name": workload.name,
            "uid": live["metadata"]["uid"],
            "resourceVersion": live["metadata"]["resourceVersion"],
        },
        "type": "Normal",
        "reason": "RolledBack",
        "message": message,
        "source": {"component": "lastgood"},
        "reportingComponent": "lastgood",
        "reportingInstance": "lastgood-executor",
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    })
}

#[cfg(test)]
#[path = "finish_tests.rs"]
mod tests;
