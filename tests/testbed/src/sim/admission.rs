//! What happens to an object between a request and the store: metadata, defaults, validation, generations. Pure but for
//! fresh uids, times and cluster addresses.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use serde_json::{Value, json};

use super::error::ApiError;
use super::ident;
use super::json::Json as _;
use super::kinds::Kind;
use super::store::Part;
use super::{defaults, validate};

/// The name of the only node.
pub(crate) const NODE: &str = "node1";

/// Makes a sent object one that can be stored.
pub(crate) fn create(kind: &Kind, namespace: &str, mut object: Value) -> Result<Value, ApiError> {
    typed(kind, &mut object)?;
    if !object.text("/metadata/resourceVersion").is_empty() {
        return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
    }
    if kind.namespaced {
        let here = object.text("/metadata/namespace");
        if !here.is_empty() && here != namespace {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        object.put("/metadata/namespace", namespace);
    } else {
        object.cut("/metadata/namespace");
    }
    let prefix = object.text("/metadata/generateName").to_owned();
    if object.text("/metadata/name").is_empty() && !prefix.is_empty() {
        object.put("/metadata/name", format!("{prefix}{}", ident::suffix()));
    }
    for field in ["managedFields", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"] {
        object.cut(&format!("/metadata/{field}"));
    }
    object.put("/metadata/uid", ident::uid());
    object.put("/metadata/creationTimestamp", ident::now_text());
    object.cut("/metadata/generation");
    if kind.generation {
        object.put("/metadata/generation", 1);
    }
    if kind.status {
        object.cut("/status");
    }
    defaults::apply(&kind.id, &mut object);
    initial_status(kind, &mut object);
    validate::check(kind, None, &object)?;
    Ok(object)
}

fn typed(kind: &Kind, object: &mut Value) -> Result<(), ApiError> {
    if !object.is_object() {
        return Err(ApiError::bad_request("the body is not an object"));
    }
    for (field, expected) in [("/apiVersion", kind.api_version()), ("/kind", kind.name.clone())] {
        let given = object.text(field);
        if !given.is_empty() && given != expected {
            return Err(ApiError::bad_request(format!(
                "the object provided is unrecognized: {} {given:?} does not match {expected:?}",
                &field[1..]
            )));
        }
        object.put(field, expected);
    }
    Ok(())
}

fn initial_status(kind: &Kind, object: &mut Value) {
    match kind.id.as_str() {
        "deployments.apps" => object.put("/status", json!({})),
        "replicasets.apps" => object.put("/status", json!({"replicas": 0})),
        "namespaces" => {
            let name = object.text("/metadata/name").to_owned();
            object.put("/metadata/labels/kubernetes.io~1metadata.name", name);
            object.put("/status/phase", "Active");
        }
        "pods" => object.put("/status", json!({"phase": "Pending", "qosClass": "BestEffort"})),
        "services" => object.put("/status", json!({"loadBalancer": {}})),
        "nodes" => {
            let status = node(&ident::now_text())["status"].clone();
            object.put("/status", status);
        }
        "customresourcedefinitions.apiextensions.k8s.io" => {
            let now = ident::now_text();
            let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now});
            let status = json!({
                "acceptedNames": object.at("/spec/names"),
                "storedVersions": object.items("/spec/versions").iter().filter(|v| v.flag("/storage"))
                    .map(|v| v.at("/name").clone()).collect::<Vec<_>>(),
                "conditions": [
                    condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                    condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
                ],
            });
            object.put("/status", status);
        }
        _ => {}
    }
}

/// Makes a sent replacement one that can be stored.
pub(crate) fn update(kind: &Kind, old: &Value, mut new: Value, part: Part) -> Result<Value, ApiError> {
    typed(kind, &mut new)?;
    let name = old.text("/metadata/name");
    if new.text("/metadata/name") != name {
        return Err(ApiError::bad_request("the name of the object does not match the name on the URL"));
    }
    preconditions(kind, old, new.text("/metadata/uid"), new.text("/metadata/resourceVersion"))?;
    new.cut("/metadata/managedFields");
    match part {
        Part::Whole => {}
        Part::Main => {
            if kind.status {
                restore(&mut new, old, "/status");
            }
        }
        Part::Status => {
            let mut merged = old.clone();
            merged.put("/status", new.at("/status").clone());
            restore(&mut merged, &new, "/metadata/annotations");
            new = merged;
        }
    }
    for field in [
        "namespace",
        "uid",
        "creationTimestamp",
        "generation",
        "resourceVersion",
        "generateName",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        restore(&mut new, old, &format!("/metadata/{field}"));
    }
    if kind.id == "services" {
        for field in ["/spec/clusterIP", "/spec/clusterIPs"] {
            let kept = old.at(field).clone();
            if !kept.is_null() {
                new.default(field, kept);
            }
        }
    }
    defaults::apply(&kind.id, &mut new);
    if part != Part::Status {
        validate::check(kind, Some(old), &new)?;
    }
    if kind.generation && new.at("/spec") != old.at("/spec") {
        new.put("/metadata/generation", old.int("/metadata/generation") + 1);
    }
    Ok(new)
}

/// Makes the field in `new` what it is in `old`, present or absent.
fn restore(new: &mut Value, old: &Value, pointer: &str) {
    match old.pointer(pointer) {
        Some(value) => new.put(pointer, value.clone()),
        None => new.cut(pointer),
    }
}

/// Refuses when a uid or a resource version is named and is not the object's.
pub(crate) fn preconditions(kind: &Kind, object: &Value, uid: &str, version: &str) -> Result<(), ApiError> {
    let name = object.text("/metadata/name");
    let present = object.text("/metadata/uid");
    if !uid.is_empty() && uid != present {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {present}");
        return Err(ApiError::conflict(kind, name, &why));
    }
    if !version.is_empty() && version != object.text("/metadata/resourceVersion") {
        return Err(ApiError::stale(kind, name));
    }
    Ok(())
}

/// The object marked as being deleted, when a node or a finalizer has to finish first; `None` when it can go at once.
pub(crate) fn mark_deleted(kind: &Kind, object: &Value, grace: Option<i64>) -> Option<Value> {
    let on_node = kind.id == "pods" && !object.text("/spec/nodeName").is_empty() && grace != Some(0);
    let held = !object.items("/metadata/finalizers").is_empty() || kind.id == "namespaces";
    if !on_node && !held {
        return None;
    }
    let mut marked = object.clone();
    if marked.at("/metadata/deletionTimestamp").is_null() {
        let grace = grace.unwrap_or_else(|| object.int("/spec/terminationGracePeriodSeconds"));
        let at = ident::now() + jiff::SignedDuration::from_secs(grace);
        marked.put("/metadata/deletionTimestamp", ident::text(at));
        marked.put("/metadata/deletionGracePeriodSeconds", grace);
    }
    if kind.id == "namespaces" {
        marked.put("/status/phase", "Terminating");
    }
    Some(marked)
}

/// Gives a Service an address of its own in 127.96.0.0/16, on which its ports are free if it is to be listened for.
pub(crate) fn assign_cluster_ip(service: &mut Value, others: &[Arc<Value>], listens: bool) -> Result<(), ApiError> {
    if service.text("/spec/type") == "ExternalName" {
        return Ok(());
    }
    if service.text("/spec/clusterIP").is_empty() {
        let ports: Vec<u16> = service.items("/spec/ports").iter().filter_map(|p| u16::try_from(p.int("/port")).ok()).collect();
        let free = (0..64).find_map(|_| {
            let [a, b, ..] = ident::random();
            let ip = Ipv4Addr::new(127, 96, a, b.clamp(1, 254));
            let text = ip.to_string();
            let taken = others.iter().any(|other| other.text("/spec/clusterIP") == text);
            // Other simulated clusters on this machine draw from the same range.
            let free = !taken && (!listens || ports.iter().all(|&port| TcpListener::bind((ip, port)).is_ok()));
            free.then_some(text)
        });
        let ip = free.ok_or_else(|| {
            ApiError::unprocessable(format!("no loopback address where the ports {ports:?} can be listened on"))
        })?;
        service.put("/spec/clusterIP", ip);
    }
    let ip = service.at("/spec/clusterIP").clone();
    service.default("/spec/clusterIPs", vec![ip]);
    Ok(())
}

/// The only node.
pub(crate) fn node(now: &str) -> Value {
    json!({
        "metadata": {"name": NODE, "labels": {
            "kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux",
            "node-role.kubernetes.io/control-plane": "",
        }},
        "spec": {},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": "127.0.0.1"},
                {"type": "Hostname", "address": NODE},
            ],
            "allocatable": {"cpu": "8", "memory": "16Gi", "pods": "1000"},
            "capacity": {"cpu": "8", "memory": "16Gi", "pods": "1000"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
                "message": "kubelet is posting ready status", "lastHeartbeatTime": now, "lastTransitionTime": now}],
            "nodeInfo": {"kubeletVersion": super::VERSION, "osImage": "lastgood testbed", "kernelVersion": "simulated",
                "containerRuntimeVersion": "simulated://1", "operatingSystem": "linux", "architecture": "amd64",
                "machineID": "", "systemUUID": "", "bootID": "", "kubeProxyVersion": super::VERSION},
        },
    })
}
