//! The ReplicaSet controller: keeps the wanted number of pods, and counts them.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::events;
use super::ident;
use super::json::{Json as _, condition, controller_uid, is_true};
use super::store::Store;

/// Makes a ReplicaSet's pods be what it wants; says when to look again.
pub(crate) fn reconcile(store: &Store, namespace: &str, name: &str) -> Option<Duration> {
    let set = store.get("replicasets.apps", namespace, name)?;
    if !set.at("/metadata/deletionTimestamp").is_null() {
        return None;
    }
    let mut pods = active(store, &set);
    let wanted = usize::try_from(set.int("/spec/replicas")).unwrap_or_default();
    for _ in pods.len()..wanted {
        create(store, &set);
    }
    if pods.len() > wanted {
        pods.sort_by_key(|pod| doom(pod));
        for pod in &pods[..pods.len() - wanted] {
            let pod_name = pod.text("/metadata/name");
            store.discard("pods", (namespace, pod_name), None);
            let message = format!("Deleted pod: {pod_name}");
            events::emit(store, &set, "replicaset-controller", "SuccessfulDelete", &message);
        }
    }
    count(store, namespace, name)
}

/// The pods that a ReplicaSet owns and that aren't going away.
fn active(store: &Store, set: &Value) -> Vec<Arc<Value>> {
    let (_, mut pods) = store.list("pods", Some(set.text("/metadata/namespace")));
    let uid = set.text("/metadata/uid");
    pods.retain(|pod| {
        controller_uid(pod) == uid
            && pod.at("/metadata/deletionTimestamp").is_null()
            && !matches!(pod.text("/status/phase"), "Succeeded" | "Failed")
    });
    pods
}

/// Sorts first the pods to delete first: unscheduled, not ready, newest.
fn doom(pod: &Value) -> (bool, bool, std::cmp::Reverse<String>) {
    (
        !pod.text("/spec/nodeName").is_empty(),
        is_true(pod, "Ready"),
        // UUIDs of version 7 sort by time, finer than creation timestamps do.
        std::cmp::Reverse(pod.text("/metadata/uid").to_owned()),
    )
}

fn create(store: &Store, set: &Value) {
    let mut pod = set.at("/spec/template").clone();
    let name = set.text("/metadata/name");
    pod.cut("/metadata/creationTimestamp");
    pod.put("/metadata/generateName", format!("{name}-"));
    pod.put(
        "/metadata/ownerReferences",
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": set.at("/metadata/uid"),
            "controller": true, "blockOwnerDeletion": true}]),
    );
    let component = "replicaset-controller";
    match store.add("pods", set.text("/metadata/namespace"), pod) {
        Ok(pod) => {
            let message = format!("Created pod: {}", pod.text("/metadata/name"));
            events::emit(store, set, component, "SuccessfulCreate", &message);
        }
        Err(error) => {
            let message = format!("Error creating: {error}");
            events::emit(store, set, component, "FailedCreate", &message);
        }
    }
}

/// Writes the status; says when a ready pod becomes an available one.
fn count(store: &Store, namespace: &str, name: &str) -> Option<Duration> {
    let set = store.get("replicasets.apps", namespace, name)?;
    let pods = active(store, &set);
    let soak = SignedDuration::from_secs(set.int("/spec/minReadySeconds"));
    let now = ident::now();
    let mut available = 0_usize;
    let mut soonest: Option<SignedDuration> = None;
    let ready: Vec<_> = pods.iter().filter(|pod| is_true(pod, "Ready")).collect();
    for pod in &ready {
        let since = condition(pod, "Ready").text("/lastTransitionTime").parse().unwrap_or(Timestamp::MIN);
        let left = soak - now.duration_since(since);
        if soak.is_zero() || !left.is_positive() {
            available += 1;
        } else {
            soonest = Some(soonest.map_or(left, |s| s.min(left)));
        }
    }
    let labels = set.at("/spec/template/metadata/labels");
    let labelled = pods.iter().filter(|pod| {
        let have = pod.at("/metadata/labels");
        labels.as_object().is_none_or(|map| map.iter().all(|(k, v)| have.get(k) == Some(v)))
    });
    let mut status = json!({"replicas": pods.len(), "observedGeneration": set.int("/metadata/generation")});
    // Zeros are left out, as on a real cluster.
    for (field, number) in
        [("fullyLabeledReplicas", labelled.count()), ("readyReplicas", ready.len()), ("availableReplicas", available)]
    {
        if number > 0 {
            status[field] = number.into();
        }
    }
    store.edit("replicasets.apps", (namespace, name), |set| set.put("/status", status));
    soonest.map(|left| Duration::try_from(left).unwrap_or_default() + Duration::from_millis(5))
}
