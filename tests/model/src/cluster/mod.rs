//! The way to the simulated API server: a kube client for each process, behind its gate and under the weather.
//!
//! Guarantees: a request takes effect within one instant, of which the history has the object right before and right after; a dead process's
//! requests never arrive. Must not: answer anything that the API server would not.

mod tamper;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use serde_json::json;
use tower::timeout::Timeout;

use crate::world::dice::Dice;
use crate::world::gate::Gate;
use crate::world::history::{What, Write};
use crate::world::sabotage::Sabotage;
use crate::world::weather::{Weather, is_away};
use crate::world::{Shared, lock};

/// How long a client waits for an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// When a sabotaged client sends a write again.
const BLIND_RETRY: Duration = Duration::from_secs(8);

type Failure = Box<dyn std::error::Error + Send + Sync>;
/// An answer's body.
pub type Body = UnsyncBoxBody<Bytes, Failure>;

/// Which object a path is about.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    resource: String,
    namespace: String,
    name: String,
}

/// A process's client.
#[must_use]
pub fn client(world: &Shared, gate: &Arc<Gate>, dice: Dice) -> kube::Client {
    let (world, gate) = (Arc::clone(world), Arc::clone(gate));
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let (world, gate, dice) = (Arc::clone(&world), Arc::clone(&gate), dice.clone());
        async move { carry(&world, &gate, &dice, request).await }
    });
    kube::Client::new(Timeout::new(service, REQUEST_TIMEOUT), "default")
}

async fn carry(
    world: &Shared,
    gate: &Arc<Gate>,
    dice: &Dice,
    request: Request<kube::client::Body>,
) -> Result<Response<Body>, Failure> {
    let (mut parts, body) = request.into_parts();
    let mut body = body.collect().await?.to_bytes();
    let target = target(parts.uri.path());
    tamper::request(&world.saboteur, gate.process(), &mut parts, &mut body, target.as_ref());
    let is_write = parts.method != Method::GET && !parts.uri.query().unwrap_or_default().contains("dryRun=All");
    let operation = operation(&parts, target.as_ref(), is_write);
    gate.before(&operation).await;
    tokio::time::sleep(dice.millis(1, 15)).await;
    let weather = world.sky();
    if is_away(weather.api_away) {
        world.count("api: away");
        return lost(dice, &weather).await;
    }
    if world.befalls("api: request lost", dice, weather.api_lost_request) {
        return lost(dice, &weather).await;
    }
    if let Some(refusal) = refusal(world, dice, &weather, &parts, target.as_ref()) {
        return Ok(refusal);
    }
    let answer = perform(world, gate, &parts, &body, target.as_ref(), is_write);
    gate.after(&operation).await;
    if is_write && world.saboteur.makes(Sabotage::BlindRetry) {
        retry_blindly(world, gate, &parts, &body);
    }
    note_look(world, gate, &parts, target.as_ref());
    let answer = tamper::answer(&world.saboteur, gate.process(), &parts, target.as_ref(), answer).await;
    let is_watch = parts.uri.query().is_some_and(|query| query.contains("watch=true"));
    tokio::time::sleep(dice.millis(1, 15)).await;
    if !is_watch && world.befalls("api: answer lost", dice, weather.api_lost_answer) {
        return lost(dice, &weather).await;
    }
    if world.befalls("api: old answer", dice, weather.api_slow) {
        tokio::time::sleep(dice.millis(300, 4_000)).await;
    }
    if gate.is_dead() {
        std::future::pending::<()>().await;
    }
    let (head, body) = answer.into_parts();
    let body =
        if is_watch { watches::under(world, dice, &weather, body) } else { body.map_err(|never| match never {}).boxed_unsync() };
    Ok(Response::from_parts(head, body))
}

/// What the gate calls it.
fn operation(parts: &Parts, target: Option<&Target>, is_write: bool) -> String {
    let plural = target.map_or("", |target| target.resource.split('.').next().unwrap_or_default());
    let verb = match (parts.method == Method::GET, is_write) {
        (true, _) => "read",
        (false, true) => "write",
        (false, false) => "dry-run",
    };
    format!("{verb} {plural}")
}

/// The connection breaks, at once or by the client's patience.
async fn lost(dice: &Dice, weather: &Weather) -> Result<Response<Body>, Failure> {
    if dice.chance(weather.api_hangs) {
        std::future::pending::<()>().await;
    }
    Err(Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset)))
}

fn refusal(world: &Shared, dice: &Dice, weather: &Weather, parts: &Parts, target: Option<&Target>) -> Option<Response<Body>> {
    let of_workload = target.is_some_and(|target| target.resource == "deployments.apps");
    let changes = matches!(parts.method, Method::PUT | Method::PATCH);
    if changes && world.befalls("api: 409", dice, weather.api_conflict) {
        return Some(status(409, "Conflict", "the object has been modified; please apply your changes to the latest version"));
    }
    if parts.method == Method::PUT && of_workload && world.befalls("api: 422", dice, weather.api_refused) {
        return Some(status(422, "Invalid", "admission webhook denied the request"));
    }
    if !dice.chance(weather.api_error) {
        return None;
    }
    let (kind, code, reason, message) = match dice.between(0, 2) {
        0 => ("api: 429", 429, "TooManyRequests", "the server has received too many requests"),
        1 => ("api: 500", 500, "InternalError", "etcdserver: request timed out"),
        _ => ("api: 503", 503, "ServiceUnavailable", "the server is currently unable to handle the request"),
    };
    world.count(kind);
    Some(status(code, reason, message))
}

fn status(code: u16, reason: &str, message: &str) -> Response<Body> {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason,
        "code": code});
    let body = Full::new(Bytes::from(body.to_string())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// The one instant in which the request takes effect.
fn perform(
    world: &Shared,
    gate: &Gate,
    parts: &Parts,
    body: &Bytes,
    target: Option<&Target>,
    is_write: bool,
) -> Response<testbed::sim::memory::Body> {
    let read = |target: &Target| world.cluster.get(&target.resource, &target.namespace, &target.name);
    let before = target.filter(|_| is_write).and_then(read);
    let answer = world.cluster.answer(parts, body);
    lock(&world.history).trace(&format!("{} {} {} {}", gate.process(), parts.method, parts.uri, answer.status()));
    if let Some(target) = target.filter(|target| is_write && answer.status().is_success() && target.resource != "events") {
        world.record(What::Wrote(Write {
            process: Some(gate.process().to_owned()),
            resource: target.resource.clone(),
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            before,
            after: read(target),
        }));
    }
    answer
}

/// The same write again, seconds later, whatever has happened since.
fn retry_blindly(world: &Shared, gate: &Arc<Gate>, parts: &Parts, body: &Bytes) {
    let (world, gate, parts) = (Arc::clone(world), Arc::clone(gate), parts.clone());
    let Some(body) = tamper::edited(body, tamper::unguard) else { return };
    tokio::spawn(async move {
        tokio::time::sleep(BLIND_RETRY).await;
        let target = target(parts.uri.path());
        perform(&world, &gate, &parts, &body, target.as_ref(), true);
    });
}

fn note_look(world: &Shared, gate: &Gate, parts: &Parts, target: Option<&Target>) {
    let pods = target.filter(|target| target.resource == "pods" && parts.method == Method::GET);
    let old = world.saboteur.makes(Sabotage::OldLook);
    if let Some(target) = pods.filter(|_| gate.process().starts_with("verifier") && !old) {
        let (process, namespace) = (gate.process().to_owned(), target.namespace.clone());
        world.record(What::Looked { process, namespace });
    }
}

/// The object or collection of a path; a collection has no name.
fn target(path: &str) -> Option<Target> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return None,
    };
    let (namespace, plural, name) = match rest {
        ["namespaces", namespace, plural, name, ..] => (*namespace, *plural, *name),
        ["namespaces", namespace, plural] => (*namespace, *plural, ""),
        [plural] => ("", *plural, ""),
        _ => return None,
    };
    let resource = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
    Some(Target { resource, namespace: namespace.to_owned(), name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_objects() {
        let target = target("/apis/apps/v1/namespaces/shop/deployments/web").unwrap();
        assert_eq!(
            (target.resource.as_str(), target.namespace.as_str(), target.name.as_str()),
            ("deployments.apps", "shop", "web")
        );
        assert_eq!(super::target("/api/v1/namespaces/shop/pods").unwrap().name, "");
        assert_eq!(super::target("/version"), None);
    }
}
