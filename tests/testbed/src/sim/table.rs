//! The columns that `kubectl get` prints, as `Table` objects. Pure but for the present, which ages are measured by.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::ident;
use super::json::Json as _;
use super::kinds::Kind;

/// A column: its name, and whether only the wide output shows it.
type Column = (&'static str, bool);

/// The objects as a table.
pub(crate) fn render(kind: &Kind, objects: &[Arc<Value>], version: &str, whole: bool) -> Value {
    let columns = columns(&kind.id);
    let definitions: Vec<_> = columns
        .iter()
        .map(|(name, wide)| {
            let (of, format) = if *name == "Name" { ("string", "name") } else { ("string", "") };
            json!({"name": name, "type": of, "format": format, "description": name, "priority": i32::from(*wide)})
        })
        .collect();
    let rows: Vec<_> = objects
        .iter()
        .map(|object| {
            let beside = if whole {
                (**object).clone()
            } else {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object.at("/metadata")})
            };
            json!({"cells": cells(&kind.id, object), "object": beside})
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version},
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn columns(id: &str) -> &'static [Column] {
    match id {
        "pods" => &[
            ("Name", false),
            ("Ready", false),
            ("Status", false),
            ("Restarts", false),
            ("Age", false),
            ("IP", true),
            ("Node", true),
        ],
        "deployments.apps" => &[
            ("Name", false),
            ("Ready", false),
            ("Up-to-date", false),
            ("Available", false),
            ("Age", false),
            ("Containers", true),
            ("Images", true),
            ("Selector", true),
        ],
        "replicasets.apps" => &[
            ("Name", false),
            ("Desired", false),
            ("Current", false),
            ("Ready", false),
            ("Age", false),
            ("Containers", true),
            ("Images", true),
            ("Selector", true),
        ],
        "services" => &[
            ("Name", false),
            ("Type", false),
            ("Cluster-IP", false),
            ("External-IP", false),
            ("Port(s)", false),
            ("Age", false),
            ("Selector", true),
        ],
        "endpoints" => &[("Name", false), ("Endpoints", false), ("Age", false)],
        "endpointslices.discovery.k8s.io" => {
            &[("Name", false), ("AddressType", false), ("Ports", false), ("Endpoints", false), ("Age", false)]
        }
        "events" => {
            &[("Last Seen", false), ("Type", false), ("Reason", false), ("Object", false), ("Message", false), ("Name", true)]
        }
        "namespaces" => &[("Name", false), ("Status", false), ("Age", false)],
        "nodes" => &[("Name", false), ("Status", false), ("Roles", false), ("Age", false), ("Version", false)],
        "configmaps" => &[("Name", false), ("Data", false), ("Age", false)],
        "secrets" => &[("Name", false), ("Type", false), ("Data", false), ("Age", false)],
        _ => &[("Name", false), ("Age", false)],
    }
}

fn cells(id: &str, o: &Value) -> Vec<Value> {
    let name = o.at("/metadata/name").clone();
    let age: Value = age(o.text("/metadata/creationTimestamp")).into();
    let number = |pointer: &str| Value::from(o.int(pointer));
    let text = |pointer: &str| Value::from(or_none(o.text(pointer)));
    match id {
        "pods" => {
            let (ready, total, restarts) = containers(o);
            vec![
                name,
                format!("{ready}/{total}").into(),
                pod_status(o).into(),
                restarts.into(),
                age,
                text("/status/podIP"),
                text("/spec/nodeName"),
            ]
        }
        "deployments.apps" => {
            let ready = format!("{}/{}", o.int("/status/readyReplicas"), o.int("/spec/replicas"));
            let mut cells = vec![name, ready.into(), number("/status/updatedReplicas"), number("/status/availableReplicas"), age];
            cells.extend(wide(o));
            cells
        }
        "replicasets.apps" => {
            let mut cells =
                vec![name, number("/spec/replicas"), number("/status/replicas"), number("/status/readyReplicas"), age];
            cells.extend(wide(o));
            cells
        }
        "services" => {
            let ports: Vec<_> =
                o.items("/spec/ports").iter().map(|p| format!("{}/{}", p.int("/port"), p.text("/protocol"))).collect();
            vec![
                name,
                text("/spec/type"),
                text("/spec/clusterIP"),
                "<none>".into(),
                or_none(&ports.join(",")).into(),
                age,
                or_none(&pairs(o.at("/spec/selector"))).into(),
            ]
        }
        "endpoints" => vec![name, or_none(&endpoints(o)).into(), age],
        "endpointslices.discovery.k8s.io" => {
            let ports: Vec<_> = o.items("/ports").iter().map(|p| p.int("/port").to_string()).collect();
            let addresses: Vec<_> = o.items("/endpoints").iter().map(|e| e.text("/addresses/0")).collect();
            vec![name, text("/addressType"), or_none(&ports.join(",")).into(), or_none(&addresses.join(",")).into(), age]
        }
        "events" => {
            let of = &o["involvedObject"];
            let of = format!("{}/{}", of.text("/kind").to_lowercase(), of.text("/name"));
            vec![self::age(o.text("/lastTimestamp")).into(), text("/type"), text("/reason"), of.into(), text("/message"), name]
        }
        "namespaces" => vec![name, text("/status/phase"), age],
        "nodes" => vec![name, "Ready".into(), "control-plane".into(), age, text("/status/nodeInfo/kubeletVersion")],
        "configmaps" => vec![name, count(o.at("/data")).into(), age],
        "secrets" => vec![name, text("/type"), count(o.at("/data")).into(), age],
        _ => vec![name, age],
    }
}

fn wide(workload: &Value) -> Vec<Value> {
    let containers = workload.items("/spec/template/spec/containers");
    let join = |field: &str| {
        let all: Vec<_> = containers.iter().map(|c| c.text(field)).collect();
        Value::from(all.join(","))
    };
    vec![join("/name"), join("/image"), pairs(workload.at("/spec/selector/matchLabels")).into()]
}

/// Ready containers, all of them, and their restarts.
fn containers(pod: &Value) -> (usize, usize, i64) {
    let statuses = pod.items("/status/containerStatuses");
    let ready = statuses.iter().filter(|s| s.flag("/ready")).count();
    let restarts = statuses.iter().map(|s| s.int("/restartCount")).sum();
    (ready, pod.items("/spec/containers").len(), restarts)
}

/// The word in kubectl's STATUS column.
fn pod_status(pod: &Value) -> String {
    if !pod.at("/metadata/deletionTimestamp").is_null() {
        return "Terminating".to_owned();
    }
    for status in pod.items("/status/containerStatuses") {
        for pointer in ["/state/waiting/reason", "/state/terminated/reason"] {
            let reason = status.text(pointer);
            if !reason.is_empty() {
                return reason.to_owned();
            }
        }
    }
    pod.text("/status/phase").to_owned()
}

fn endpoints(object: &Value) -> String {
    let mut all = Vec::new();
    for subset in object.items("/subsets") {
        for address in subset.items("/addresses") {
            for port in subset.items("/ports") {
                all.push(format!("{}:{}", address.text("/ip"), port.int("/port")));
            }
        }
    }
    all.join(",")
}

fn pairs(map: &Value) -> String {
    let pairs = map.as_object().into_iter().flatten();
    let pairs: Vec<_> = pairs.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    pairs.join(",")
}

fn count(map: &Value) -> String {
    map.as_object().map_or(0, serde_json::Map::len).to_string()
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "<none>" } else { text }.to_owned()
}

fn age(since: &str) -> String {
    let Ok(since) = since.parse::<Timestamp>() else {
        return "<unknown>".to_owned();
    };
    human(ident::now().duration_since(since).as_secs())
}

/// A duration as kubectl writes ages.
fn human(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..120 => format!("{s}s"),
        s @ 120..600 if s % 60 > 0 => format!("{}m{}s", s / 60, s % 60),
        s @ 120..10_800 => format!("{}m", s / 60),
        s @ 10_800..172_800 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_in_kubectl() {
        for (seconds, text) in [(-1, "0s"), (119, "119s"), (125, "2m5s"), (600, "10m"), (10_800, "3h"), (172_800, "2d")] {
            assert_eq!(human(seconds), text);
        }
    }
}
