//! ReplicaSets as a Deployment's history: finding, making, renumbering and forgetting revisions.

use serde_json::{Map, Value, json};

use super::{DESIRED, MAXIMUM, REVISION, Rollout};
use crate::sim::ident;
use crate::sim::json::{Json as _, annotate, annotation, canonical};
use crate::sim::{error::ApiError, status_condition};

const HASH: &str = "/metadata/labels/pod-template-hash";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";

/// Whether a ReplicaSet runs this template, but for the hash label.
pub(super) fn same_template(set: &Value, template: &Value) -> bool {
    same_without(set.at("/spec/template"), template, &["metadata", "labels", "pod-template-hash"])
}

/// Whether two values are the same but for what is at `path`, which may be in either.
fn same_without(a: &Value, b: &Value, path: &[&str]) -> bool {
    let ([key, rest @ ..], Value::Object(a), Value::Object(b)) = (path, a, b) else { return a == b };
    let others = |map: &Map<String, Value>| map.len() - usize::from(map.contains_key(*key));
    let same = others(a) == others(b) && a.iter().filter(|(name, _)| name != key).all(|(name, value)| b.get(name) == Some(value));
    same && (rest.is_empty() || same_without(a.get(*key).unwrap_or(&Value::Null), b.get(*key).unwrap_or(&Value::Null), rest))
}

fn number(set: &Value) -> i64 {
    annotation(set, REVISION).parse().unwrap_or_default()
}

/// Makes the ReplicaSet of the present template with `replicas`, or gives an existing one the newest number.
pub(super) fn ensure_new(rollout: &Rollout<'_>, replicas: i64) {
    let newest = rollout.old.iter().map(|set| number(set)).max().unwrap_or_default() + 1;
    match &rollout.new {
        Some(set) => renumber(rollout, set, newest),
        None => create(rollout, replicas, newest),
    }
    let (namespace, name) = rollout.place();
    let sets = rollout.store.list("replicasets.apps", Some(&namespace)).1;
    let template = rollout.deployment.at("/spec/template");
    let uid = rollout.deployment.text("/metadata/uid");
    let mut mine = sets.iter().filter(|set| crate::sim::json::controller_uid(set) == uid);
    let revision = mine.find(|set| same_template(set, template)).map(|set| annotation(set, REVISION));
    if let Some(revision) = revision {
        rollout.store.edit("deployments.apps", (&namespace, &name), |d| annotate(d, REVISION, revision));
    }
}

/// The annotations that a ReplicaSet gets from its Deployment.
fn inherited(deployment: &Value) -> Vec<(String, Value)> {
    let own = [
        REVISION,
        HISTORY,
        DESIRED,
        MAXIMUM,
        "kubectl.kubernetes.io/last-applied-configuration",
        "deprecated.deployment.rollback.to",
    ];
    let annotations = deployment.at("/metadata/annotations").as_object().into_iter().flatten();
    annotations.filter(|(key, _)| !own.contains(&key.as_str())).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn renumber(rollout: &Rollout<'_>, set: &Value, newest: i64) {
    let deployment = &rollout.deployment;
    let place = (set.text("/metadata/namespace"), set.text("/metadata/name"));
    rollout.store.edit("replicasets.apps", place, |set| {
        for (key, value) in inherited(deployment) {
            annotate(set, &key, value.as_str().unwrap_or_default());
        }
        let before = annotation(set, REVISION).to_owned();
        if number(set) < newest {
            annotate(set, REVISION, &newest.to_string());
            if !before.is_empty() {
                let history = annotation(set, HISTORY);
                let history = if history.is_empty() { before } else { format!("{history},{before}") };
                annotate(set, HISTORY, &history);
            }
        }
        if !deployment.at("/spec/minReadySeconds").is_null() {
            set.put("/spec/minReadySeconds", deployment.at("/spec/minReadySeconds").clone());
        }
    });
    if status_condition::of(deployment, "Progressing").is_null() {
        let message = format!("Found new replica set {:?}", set.text("/metadata/name"));
        progressing(rollout, "FoundNewReplicaSet", &message);
    }
}

fn create(rollout: &Rollout<'_>, replicas: i64, newest: i64) {
    let deployment = &rollout.deployment;
    let (namespace, name) = rollout.place();
    let hash = ident::template_hash(&canonical(deployment.at("/spec/template")));
    let set_name = format!("{name}-{hash}");
    let mut template = deployment.at("/spec/template").clone();
    template.put(HASH, hash.clone());
    let mut selector = deployment.at("/spec/selector").clone();
    selector.put("/matchLabels/pod-template-hash", hash);
    let limits = rollout.limits();
    let mut set = json!({
        "metadata": {
            "name": set_name,
            "labels": template.at("/metadata/labels"),
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name,
                "uid": deployment.at("/metadata/uid"), "controller": true, "blockOwnerDeletion": true}],
        },
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    });
    if !deployment.at("/spec/minReadySeconds").is_null() {
        set.put("/spec/minReadySeconds", deployment.at("/spec/minReadySeconds").clone());
    }
    for (key, value) in inherited(deployment) {
        annotate(&mut set, &key, value.as_str().unwrap_or_default());
    }
    annotate(&mut set, REVISION, &newest.to_string());
    annotate(&mut set, DESIRED, &limits.replicas.to_string());
    annotate(&mut set, MAXIMUM, &(limits.replicas + limits.surge).to_string());
    match rollout.store.add("replicasets.apps", &namespace, set) {
        Ok(set) => {
            if replicas > 0 {
                let message = format!("Scaled up replica set {set_name} from 0 to {replicas}");
                let about = &rollout.deployment;
                crate::sim::events::emit(rollout.store, about, super::COMPONENT, "ScalingReplicaSet", &message);
            }
            let message = format!("Created new replica set {:?}", set.text("/metadata/name"));
            progressing(rollout, "NewReplicaSetCreated", &message);
        }
        Err(error) => refused(rollout, &error),
    }
}

fn refused(rollout: &Rollout<'_>, error: &ApiError) {
    tracing::warn!(%error, "a Deployment's ReplicaSet can't be created");
    let (namespace, name) = rollout.place();
    rollout.store.edit("deployments.apps", (&namespace, &name), |d| {
        status_condition::set(d, "Progressing", "False", "ReplicaSetCreateError", &error.to_string());
    });
}

fn progressing(rollout: &Rollout<'_>, reason: &str, message: &str) {
    let (namespace, name) = rollout.place();
    rollout.store.edit("deployments.apps", (&namespace, &name), |d| {
        status_condition::set(d, "Progressing", "True", reason, message);
    });
}

/// Deletes the oldest revisions beyond the limit.
pub(super) fn clean_up(rollout: &Rollout<'_>) {
    let limit = usize::try_from(rollout.deployment.int("/spec/revisionHistoryLimit")).unwrap_or_default();
    let mut idle: Vec<_> =
        rollout.old.iter().filter(|set| set.int("/spec/replicas") == 0 && set.int("/status/replicas") == 0).collect();
    idle.sort_by_key(|set| number(set));
    let surplus = idle.len().saturating_sub(limit);
    for set in &idle[..surplus] {
        let place = (set.text("/metadata/namespace"), set.text("/metadata/name"));
        rollout.store.discard("replicasets.apps", place, None);
    }
}
