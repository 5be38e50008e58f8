//! The Endpoints and EndpointSlice controllers: which pods a Service's traffic goes to.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::json::{Json as _, is_true};
use super::selector;
use super::store::Store;

/// Brings the Endpoints and the EndpointSlice of a Service up to date, or removes them with it.
pub(crate) fn reconcile(store: &Store, namespace: &str, name: &str) {
    let Some(service) = store.get("services", namespace, name) else {
        store.erase("endpoints", (namespace, name));
        return;
    };
    // Without a selector the endpoints are somebody else's business.
    if service.at("/spec/selector").as_object().is_none_or(serde_json::Map::is_empty) {
        return;
    }
    let (_, mut pods) = store.list("pods", Some(namespace));
    pods.retain(|pod| {
        selector::selects_map(service.at("/spec/selector"), pod.at("/metadata/labels"))
            && !pod.text("/status/podIP").is_empty()
            && !matches!(pod.text("/status/phase"), "Succeeded" | "Failed")
    });
    write_endpoints(store, &service, &pods);
    write_slice(store, &service, &pods);
}

/// The ports of a Service on one pod: name, protocol and number; named target ports are looked up in the pod.
fn ports(service: &Value, pod: &Value) -> Vec<Value> {
    let resolve = |port: &Value| -> Option<i64> {
        let target = port.at("/targetPort");
        if let Some(number) = target.as_i64() {
            return Some(number);
        }
        let containers = pod.items("/spec/containers").iter();
        let mut all = containers.flat_map(|container| container.items("/ports"));
        let named = all.find(|p| Some(p.text("/name")) == target.as_str());
        named.map(|p| p.int("/containerPort"))
    };
    let ports = service.items("/spec/ports").iter();
    ports
        .filter_map(|port| {
            let mut found = json!({"port": resolve(port)?, "protocol": port.text("/protocol")});
            if !port.text("/name").is_empty() {
                found["name"] = port.at("/name").clone();
            }
            Some(found)
        })
        .collect()
}

fn target(pod: &Value) -> Value {
    json!({"kind": "Pod", "namespace": pod.at("/metadata/namespace"), "name": pod.at("/metadata/name"),
        "uid": pod.at("/metadata/uid")})
}

fn terminating(pod: &Value) -> bool {
    !pod.at("/metadata/deletionTimestamp").is_null()
}

fn write_endpoints(store: &Store, service: &Value, pods: &[Arc<Value>]) {
    let (namespace, name) = (service.text("/metadata/namespace"), service.text("/metadata/name"));
    let mut subsets: BTreeMap<String, Value> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !terminating(pod)) {
        let ports = ports(service, pod);
        let subset = subsets.entry(Value::from(ports.clone()).to_string()).or_insert_with(|| json!({"ports": ports}));
        let list = if is_true(pod, "Ready") { "addresses" } else { "notReadyAddresses" };
        let address = json!({"ip": pod.at("/status/podIP"), "nodeName": pod.at("/spec/nodeName"),
            "targetRef": target(pod)});
        let mut addresses = subset.items(&format!("/{list}")).to_vec();
        addresses.push(address);
        subset.put(&format!("/{list}"), addresses);
    }
    let subsets: Vec<Value> = subsets.into_values().collect();
    let labels = service.at("/metadata/labels").clone();
    if store.get("endpoints", namespace, name).is_none() {
        let mut endpoints = json!({"metadata": {"name": name}, "subsets": subsets});
        if !labels.is_null() {
            endpoints.put("/metadata/labels", labels);
        }
        // It can only be there already or have no namespace left; both are looked at again.
        let _ = store.add("endpoints", namespace, endpoints);
        return;
    }
    store.edit("endpoints", (namespace, name), |endpoints| endpoints.put("/subsets", subsets));
}

fn write_slice(store: &Store, service: &Value, pods: &[Arc<Value>]) {
    let (namespace, name) = (service.text("/metadata/namespace"), service.text("/metadata/name"));
    let endpoints: Vec<Value> = pods
        .iter()
        .map(|pod| {
            let (ready, terminating) = (is_true(pod, "Ready"), terminating(pod));
            json!({
                "addresses": [pod.at("/status/podIP")],
                "conditions": {"ready": ready && !terminating, "serving": ready, "terminating": terminating},
                "nodeName": pod.at("/spec/nodeName"),
                "targetRef": target(pod),
            })
        })
        .collect();
    let ports: Vec<Value> = pods.first().map_or_else(Vec::new, |pod| ports(service, pod));
    let ports: Vec<Value> = ports
        .into_iter()
        .map(|mut port| {
            port.default("/name", "");
            port
        })
        .collect();
    let (_, slices) = store.list("endpointslices.discovery.k8s.io", Some(namespace));
    let uid = service.text("/metadata/uid");
    let mine = slices.iter().find(|slice| {
        let owners = slice.items("/metadata/ownerReferences");
        owners.iter().any(|owner| owner.text("/uid") == uid)
    });
    if let Some(slice) = mine {
        let place = (namespace, slice.text("/metadata/name"));
        store.edit("endpointslices.discovery.k8s.io", place, |slice| {
            slice.put("/endpoints", endpoints);
            slice.put("/ports", ports);
        });
        return;
    }
    let slice = json!({
        "metadata": {
            "generateName": format!("{name}-"),
            "labels": {"kubernetes.io/service-name": name,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": name, "uid": uid,
                "controller": true, "blockOwnerDeletion": true}],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    });
    // It can only have no namespace left.
    let _ = store.add("endpointslices.discovery.k8s.io", namespace, slice);
}
