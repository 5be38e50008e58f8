//! The verbs of the API: get, list, watch, create, update, patch, delete, and the subresources.

use std::sync::Arc;

use hyper::{Method, Response};
use serde_json::{Value, json};

use super::answer::{self, Body, Form};
use super::pages::Page;
use super::request::{Address, Call};
use super::{discovery, pages, stream};
use crate::sim::Shared;
use crate::sim::error::ApiError;
use crate::sim::json::Json as _;
use crate::sim::kinds::Kind;
use crate::sim::patch;
use crate::sim::store::{Deletion, Part};

/// Performs a request.
pub(super) fn perform(shared: &Arc<Shared>, call: &Call, body: Value) -> Result<Response<Body>, ApiError> {
    if matches!(call.path.as_str(), "/livez" | "/readyz" | "/healthz") {
        return Ok(answer::bytes(200, "text/plain", "ok"));
    }
    let Some(address) = call.address() else {
        return discover(shared, call);
    };
    if address.group == "authorization.k8s.io" && call.method == Method::POST {
        return Ok(allow(body));
    }
    let Some(kind) = shared.store.kind(&address.group, &address.version, &address.plural) else {
        return Err(ApiError::no_such_path());
    };
    if kind.namespaced && address.namespace.is_empty() && !address.name.is_empty() {
        return Err(ApiError::no_such_path());
    }
    let request = Target { shared, call, kind, address };
    match (call.method.as_str(), request.address.name.is_empty()) {
        ("GET", true) if call.truth("watch") => stream::watch(&request, ""),
        ("GET", true) => request.list(),
        ("GET", false) if call.truth("watch") => stream::watch(&request, &request.address.name),
        ("GET", false) => request.get(),
        ("POST", true) => request.create(body),
        ("PUT", false) => request.write(&Change::Replace(body)),
        ("PATCH", false) => request.write(&Change::Patch(body)),
        ("DELETE", false) => request.delete(&body),
        ("DELETE", true) => request.delete_all(&body),
        _ => Err(ApiError::method_not_allowed()),
    }
}

fn discover(shared: &Shared, call: &Call) -> Result<Response<Body>, ApiError> {
    let found = discovery::answer(&call.path, &shared.store.kinds());
    let found = found.filter(|_| call.method == Method::GET);
    found.map(|value| answer::json(200, &value)).ok_or_else(ApiError::no_such_path)
}

/// Everybody may do everything.
fn allow(mut review: Value) -> Response<Body> {
    review.put("/status/allowed", true);
    answer::json(201, &review)
}

/// How an object is to be changed.
enum Change {
    Replace(Value),
    Patch(Value),
}

/// A request and the kind that it is about.
pub(super) struct Target<'r> {
    pub(super) shared: &'r Arc<Shared>,
    pub(super) call: &'r Call,
    pub(super) kind: Arc<Kind>,
    pub(super) address: Address,
}

impl Target<'_> {
    fn place(&self) -> (&str, &str) {
        (&self.address.namespace, &self.address.name)
    }

    /// The namespace asked for; none is all of them.
    pub(super) fn namespace(&self) -> Option<&str> {
        Some(self.address.namespace.as_str()).filter(|ns| !ns.is_empty())
    }

    fn list(&self) -> Result<Response<Body>, ApiError> {
        let selection = self.call.selection()?;
        let (version, mut objects) = self.shared.store.list(&self.kind.id, self.namespace());
        objects.retain(|object| selection.matches(object));
        let page = pages::page(objects, version, self.call.parameter("limit"), self.call.parameter("continue"))?;
        let body = Form::of(self.call).list(&self.kind, &page);
        Ok(answer::bytes(200, "application/json", body))
    }

    fn get(&self) -> Result<Response<Body>, ApiError> {
        let (namespace, name) = self.place();
        let object =
            self.shared.store.get(&self.kind.id, namespace, name).ok_or_else(|| ApiError::not_found(&self.kind, name))?;
        match self.address.subresource.as_str() {
            "" => Ok(answer::object(self.call, &self.kind, &object, 200)),
            "status" if self.kind.status => Ok(answer::json(200, &object)),
            "scale" if self.kind.scale => Ok(answer::json(200, &scale_of(&object))),
            "log" if self.kind.id == "pods" => self.log(&object),
            _ => Err(ApiError::no_such_path()),
        }
    }

    fn log(&self, pod: &Value) -> Result<Response<Body>, ApiError> {
        let names = pod.items("/spec/containers").iter().map(|c| c.text("/name"));
        let wanted = self.call.parameter("container");
        let name = names.clone().find(|name| wanted.is_empty() || *name == wanted);
        let name = name.ok_or_else(|| {
            let pod = pod.text("/metadata/name");
            ApiError::bad_request(format!("container {wanted} is not valid for pod {pod}"))
        })?;
        let logs = self.shared.logs.read(pod.text("/metadata/uid"), name, self.call.truth("previous"));
        let Some(lines) = logs else {
            let pod = pod.text("/metadata/name");
            return Err(ApiError::bad_request(format!(
                "container {name:?} in pod {pod:?} is waiting to start or has no previous run"
            )));
        };
        let tail = self.call.parameter("tailLines").parse().unwrap_or(usize::MAX);
        let mut text = lines[lines.len().saturating_sub(tail)..].join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        Ok(answer::bytes(200, "text/plain", text))
    }

    fn create(&self, body: Value) -> Result<Response<Body>, ApiError> {
        if self.kind.namespaced && self.address.namespace.is_empty() {
            return Err(ApiError::method_not_allowed());
        }
        let namespace = self.address.namespace.as_str();
        let object = self.shared.store.create(&self.kind, namespace, body, self.call.dry_run())?;
        Ok(answer::object(self.call, &self.kind, &object, 201))
    }

    fn write(&self, change: &Change) -> Result<Response<Body>, ApiError> {
        let subresource = self.address.subresource.as_str();
        let part = match subresource {
            "" => Part::Main,
            "finalize" if self.kind.id == "namespaces" => Part::Main,
            "status" if self.kind.status => Part::Status,
            "scale" if self.kind.scale => Part::Main,
            _ => return Err(ApiError::no_such_path()),
        };
        if !self.call.dry_run() && self.shared.take_conflict() {
            return Err(ApiError::stale(&self.kind, &self.address.name));
        }
        let stored = self.shared.store.update(&self.kind, self.place(), part, self.call.dry_run(), |old| {
            if subresource == "scale" {
                return scaled(old, &self.changed(&scale_of(old), change)?);
            }
            self.changed(old, change)
        })?;
        if subresource == "scale" {
            return Ok(answer::json(200, &scale_of(&stored)));
        }
        Ok(answer::object(self.call, &self.kind, &stored, 200))
    }

    fn changed(&self, old: &Value, change: &Change) -> Result<Value, ApiError> {
        match change {
            Change::Replace(new) => Ok(new.clone()),
            Change::Patch(patch) => {
                if self.call.content_type.contains("strategic")
                    && self.kind.group.contains('.')
                    && !self.kind.group.ends_with(".k8s.io")
                {
                    return Err(ApiError::unsupported_media_type(
                        "strategic merge patch is not supported for custom resources".to_owned(),
                    ));
                }
                patch::apply(&self.call.content_type, old, patch)
            }
        }
    }

    fn delete(&self, body: &Value) -> Result<Response<Body>, ApiError> {
        if !self.address.subresource.is_empty() {
            return Err(ApiError::method_not_allowed());
        }
        let object = self.shared.store.delete(&self.kind, self.place(), &self.deletion(body))?;
        if object.at("/metadata/deletionTimestamp").is_null() {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": {"name": self.address.name, "group": self.kind.group, "kind": self.kind.plural,
                    "uid": object.at("/metadata/uid")},
            });
            return Ok(answer::json(200, &status));
        }
        Ok(answer::object(self.call, &self.kind, &object, 200))
    }

    fn delete_all(&self, body: &Value) -> Result<Response<Body>, ApiError> {
        let selection = self.call.selection()?;
        let (version, mut objects) = self.shared.store.list(&self.kind.id, self.namespace());
        objects.retain(|object| selection.matches(object));
        for object in &objects {
            let place = (object.text("/metadata/namespace"), object.text("/metadata/name"));
            // One that went away meanwhile is as good as deleted.
            let _ = self.shared.store.delete(&self.kind, place, &self.deletion(body));
        }
        let body = Form::of(self.call).list(&self.kind, &Page { objects, version, rest: None });
        Ok(answer::bytes(200, "application/json", body))
    }

    fn deletion(&self, body: &Value) -> Deletion {
        let policy = match self.call.parameter("propagationPolicy") {
            "" => body.text("/propagationPolicy"),
            parameter => parameter,
        };
        let grace = self.call.parameter("gracePeriodSeconds").parse().ok();
        Deletion {
            grace: grace.or_else(|| body.at("/gracePeriodSeconds").as_i64()),
            orphan: policy == "Orphan" || body.flag("/orphanDependents"),
            dry_run: self.call.dry_run() || body.items("/dryRun").iter().any(|v| v == "All"),
            uid: body.text("/preconditions/uid").to_owned(),
            version: body.text("/preconditions/resourceVersion").to_owned(),
        }
    }
}

/// The `Scale` of a workload.
fn scale_of(object: &Value) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        metadata[field] = object.at("/metadata")[field].clone();
    }
    let selector: Vec<_> = object
        .at("/spec/selector/matchLabels")
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": object.int("/spec/replicas")},
        "status": {"replicas": object.int("/status/replicas"), "selector": selector.join(",")},
    })
}

/// The workload with the replicas of a `Scale`.
fn scaled(object: &Value, scale: &Value) -> Result<Value, ApiError> {
    let replicas = scale.at("/spec/replicas").as_i64();
    let replicas = replicas.ok_or_else(|| ApiError::bad_request("spec.replicas is not a number"))?;
    let mut new = object.clone();
    new.put("/spec/replicas", replicas);
    for field in ["/metadata/resourceVersion", "/metadata/uid"] {
        let given = scale.at(field).clone();
        if !given.is_null() {
            new.put(field, given);
        }
    }
    Ok(new)
}
