//! Kubernetes Events of the controllers, so that `kubectl describe` tells what happened.

use serde_json::{Value, json};

use super::ident;
use super::json::Json as _;
use super::store::Store;

/// How many events are kept; the oldest go first.
const KEPT: usize = 2_000;

/// Records an event about an object; the same one again only counts up.
pub(crate) fn emit(store: &Store, about: &Value, component: &str, reason: &str, message: &str) {
    if !store.is_eventful() {
        return;
    }
    let namespace = about.text("/metadata/namespace");
    let uid = about.text("/metadata/uid");
    let now = ident::now_text();
    let (_, events) = store.list("events", Some(namespace));
    let same = events.iter().find(|event| {
        event.text("/involvedObject/uid") == uid && event.text("/reason") == reason && event.text("/message") == message
    });
    if let Some(event) = same {
        store.edit("events", (namespace, event.text("/metadata/name")), |event| {
            event.put("/count", event.int("/count") + 1);
            event.put("/lastTimestamp", now);
        });
        return;
    }
    if events.len() >= KEPT
        && let Some(oldest) = events.iter().min_by_key(|event| event.text("/lastTimestamp"))
    {
        store.erase("events", (namespace, oldest.text("/metadata/name")));
    }
    let warning = matches!(reason, "BackOff" | "Failed" | "Unhealthy");
    let name = about.text("/metadata/name");
    let event = json!({
        "metadata": {"name": format!("{name}.{}", hex::encode(ident::random()))},
        "involvedObject": {
            "kind": about.at("/kind"), "apiVersion": about.at("/apiVersion"), "namespace": namespace,
            "name": name, "uid": uid, "resourceVersion": about.at("/metadata/resourceVersion"),
        },
        "reason": reason,
        "message": message,
        "type": if warning { "Warning" } else { "Normal" },
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": "",
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
    });
    // A namespace that is going away takes no events; nobody will look for them.
    let _ = store.add("events", namespace, event);
}
