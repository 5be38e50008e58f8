//! A Deployment's status: counts, availability, progress, and the progress deadline.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Rollout;
use crate::sim::ident;
use crate::sim::json::{Json as _, is_true};
use crate::sim::status_condition as condition;

const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const AVAILABLE: &str = "NewReplicaSetAvailable";
const PAUSED: &str = "DeploymentPaused";

/// Whether the rollout is over and everything runs the present template.
pub(super) fn complete(deployment: &Value) -> bool {
    let replicas = deployment.int("/spec/replicas");
    let of = |field: &str| deployment.int(&format!("/status/{field}"));
    of("updatedReplicas") == replicas
        && of("replicas") == replicas
        && of("availableReplicas") == replicas
        && of("observedGeneration") >= deployment.int("/metadata/generation")
}

/// Notes that a rollout was paused or resumed, so that the time in between doesn't count towards its deadline.
pub(super) fn note_pausing(rollout: &Rollout<'_>) {
    let deployment = &rollout.deployment;
    let paused = deployment.flag("/spec/paused");
    let now = condition::of(deployment, "Progressing");
    if now.text("/reason") == TIMED_OUT {
        return;
    }
    let noted = now.text("/reason") == PAUSED;
    if paused == noted {
        return;
    }
    let (namespace, name) = rollout.place();
    rollout.store.edit("deployments.apps", (&namespace, &name), |d| {
        if paused {
            condition::set(d, "Progressing", "Unknown", PAUSED, "Deployment is paused");
        } else {
            condition::set(d, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed");
        }
    });
}

fn counts(rollout: &Rollout<'_>) -> Value {
    let sum = |field: &str| -> i64 { rollout.all().map(|set| set.int(&format!("/status/{field}"))).sum() };
    let available = sum("availableReplicas");
    let updated = rollout.new.as_ref().map_or(0, |set| set.int("/status/replicas"));
    let mut counts = json!({"observedGeneration": rollout.deployment.int("/metadata/generation")});
    // Zeros are left out, as on a real cluster.
    for (field, number) in [
        ("replicas", sum("replicas")),
        ("updatedReplicas", updated),
        ("readyReplicas", sum("readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (rollout.wanted() - available).max(0)),
    ] {
        if number > 0 {
            counts[field] = number.into();
        }
    }
    counts
}

/// Writes the status; `rolling` when the rollout is being carried on, so that its progress is judged. Says when the
/// progress deadline comes.
pub(super) fn write(rollout: &Rollout<'_>, rolling: bool) -> Option<Duration> {
    let counts = counts(rollout);
    let minimum = rollout.limits().minimum();
    let set_name = rollout.new.as_ref().map(|set| set.text("/metadata/name").to_owned());
    let (namespace, name) = rollout.place();
    rollout.store.edit("deployments.apps", (&namespace, &name), |deployment| {
        let before = deployment.at("/status").clone();
        let mut status = counts;
        status.put("/conditions", before.at("/conditions").clone());
        if before.at("/conditions").is_null() {
            status.put("/conditions", json!([]));
        }
        deployment.put("/status", status);
        judge_availability(deployment, minimum);
        if rolling {
            judge_progress(deployment, &before, set_name.as_deref().unwrap_or_default());
        }
    });
    let deployment = rollout.store.get("deployments.apps", &namespace, &name)?;
    if deployment.flag("/spec/paused") || complete(&deployment) || !is_true(&deployment, "Progressing") {
        return None;
    }
    Some(deadline(&deployment)?.max(Duration::from_millis(50)))
}

fn judge_availability(deployment: &mut Value, minimum: i64) {
    let available = deployment.int("/status/availableReplicas") >= minimum;
    if is_true(deployment, "Available") == available && !condition::of(deployment, "Available").is_null() {
        return;
    }
    let (status, reason, verb) = if available {
        ("True", "MinimumReplicasAvailable", "has")
    } else {
        ("False", "MinimumReplicasUnavailable", "does not have")
    };
    let message = format!("Deployment {verb} minimum availability.");
    condition::set(deployment, "Available", status, reason, &message);
}

/// What is left until the progress deadline; never negative. `None` without one.
fn deadline(deployment: &Value) -> Option<Duration> {
    let allowed = deployment.at("/spec/progressDeadlineSeconds").as_i64().filter(|s| *s < i64::from(i32::MAX))?;
    let updated = condition::of(deployment, "Progressing").text("/lastUpdateTime").parse::<Timestamp>().ok()?;
    let left = SignedDuration::from_secs(allowed) - ident::now().duration_since(updated);
    Some(Duration::try_from(left).unwrap_or_default())
}

fn judge_progress(deployment: &mut Value, before: &Value, set_name: &str) {
    if deployment.int("/spec/progressDeadlineSeconds") >= i64::from(i32::MAX) {
        return;
    }
    let current = condition::of(deployment, "Progressing").clone();
    let reason = current.text("/reason");
    let after = deployment.at("/status");
    if after.int("/replicas") == after.int("/updatedReplicas") && reason == AVAILABLE {
        return;
    }
    let old_pods = |status: &Value| status.int("/replicas") - status.int("/updatedReplicas");
    let more = |field: &str| after.int(field) > before.int(field);
    let progressed =
        more("/updatedReplicas") || old_pods(after) < old_pods(before) || more("/readyReplicas") || more("/availableReplicas");
    if complete(deployment) {
        let message = format!("ReplicaSet {set_name:?} has successfully progressed.");
        condition::set(deployment, "Progressing", "True", AVAILABLE, &message);
    } else if progressed {
        let message = format!("ReplicaSet {set_name:?} is progressing.");
        condition::set(deployment, "Progressing", "True", "ReplicaSetUpdated", &message);
    } else if reason != AVAILABLE && reason != TIMED_OUT && deadline(deployment).is_some_and(|left| left.is_zero()) {
        let message = format!("ReplicaSet {set_name:?} has timed out progressing.");
        condition::set(deployment, "Progressing", "False", TIMED_OUT, &message);
    }
}
