//! A sabotaged kube client: what it sends and what it makes of the answers.
//!
//! Guarantees: what is not the sabotage's business passes as it is. Must not: be more than a mistake of the client's side.

use std::convert::Infallible;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;

use super::Target;
use crate::world::sabotage::{Sabotage, Saboteur};

type Answer = Response<testbed::sim::memory::Body>;

const DEPLOYMENTS: &str = "deployments.apps";
const STAMP: &str = "lastgood.dev/incident";

/// What the client sends instead.
pub(super) fn request(saboteur: &Saboteur, process: &str, parts: &mut Parts, body: &mut Bytes, target: Option<&Target>) {
    let of_workload = target.is_some_and(|target| target.resource == DEPLOYMENTS) && process.starts_with("executor");
    let Some(sabotage) = saboteur.sabotage().filter(|_| of_workload) else { return };
    let changed = match (&parts.method, sabotage) {
        (&Method::PUT | &Method::PATCH, Sabotage::BlindWrite) => edited(body, unguard),
        (&Method::PUT, Sabotage::Unstamped) => edited(body, |object| {
            remove(&mut object["metadata"]["annotations"], STAMP);
        }),
        (&Method::PUT, Sabotage::WrongTemplate) => edited(body, |object| {
            object["spec"]["template"]["spec"]["containers"][0]["image"] = "docker.io/local/web:v0".into();
        }),
        (&Method::PUT, Sabotage::ScaledAsWell) => edited(body, |object| {
            object["spec"]["replicas"] = (object["spec"]["replicas"].as_i64().unwrap_or_default() + 1).into();
        }),
        (&Method::PUT, Sabotage::DryRunIsReal) => {
            let real = parts.uri.to_string().replace("dryRun=All", "dryRun=");
            if let Ok(uri) = real.parse() {
                parts.uri = uri;
            }
            None
        }
        _ => None,
    };
    if let Some(changed) = changed {
        *body = changed;
    }
}

/// What the client takes the answer for.
pub(super) async fn answer(saboteur: &Saboteur, process: &str, parts: &Parts, target: Option<&Target>, answer: Answer) -> Answer {
    let watches = parts.uri.query().is_some_and(|query| query.contains("watch=true"));
    let reads = parts.method == Method::GET && !watches;
    let is = |resource: &str| reads && target.is_some_and(|target| target.resource == resource);
    if saboteur.makes(Sabotage::PauseUnseen) && is(DEPLOYMENTS) && process.starts_with("executor") {
        let hide = |object: &mut Value| {
            if object["spec"]["paused"] == true {
                remove(&mut object["spec"], "paused");
            }
        };
        return with_body(answer, |body| edited(&body, hide).unwrap_or(body)).await;
    }
    if saboteur.makes(Sabotage::OldLook) && is("pods") && process.starts_with("verifier") {
        return with_body(answer, |body| saboteur.first(parts.uri.to_string(), body)).await;
    }
    answer
}

async fn with_body(answer: Answer, make: impl FnOnce(Bytes) -> Bytes) -> Answer {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_or_else(|never: Infallible| match never {}, http_body_util::Collected::to_bytes);
    Response::from_parts(head, Full::new(make(body)).boxed())
}

/// Takes the guard out of a replacement, a merge patch or a JSON patch.
pub(super) fn unguard(body: &mut Value) {
    match body {
        Value::Array(operations) => operations.retain(|operation| operation["path"] != "/metadata/resourceVersion"),
        object => remove(&mut object["metadata"], "resourceVersion"),
    }
}

fn remove(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(field);
    }
}

/// The JSON with a change; `None` where it is none.
pub(super) fn edited(body: &Bytes, how: impl FnOnce(&mut Value)) -> Option<Bytes> {
    let mut value = serde_json::from_slice(body).ok()?;
    how(&mut value);
    Some(value.to_string().into())
}
