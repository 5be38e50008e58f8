//! `POST /v1/acknowledgements/pagerduty`: PagerDuty's webhook v3; `incident.acknowledged` acknowledges our incident.
//!
//! Guarantees: nothing of a body is used before one of the signatures in `X-PagerDuty-Signature` (`v1=<hex HMAC-SHA256>`, several while a
//! secret is rotated) has verified, in constant time; without a configured secret nothing is accepted. Events that are not ours, and
//! acknowledgements that come too late (of an incident that is closed, or archived), are answered 202, so that PagerDuty does not switch the
//! subscription off. Must not: trust a key that doesn't have our form.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use contracts::IncidentId;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{App, acknowledge};
use crate::problem::{Problem, shortened};

/// The header with the signatures.
const SIGNATURE: &str = "x-pagerduty-signature";

/// Why a webhook was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// No secret is configured.
    #[error("no secret is configured, so that no signature can be checked")]
    NotConfigured,
    /// No signature of version 1.
    #[error("there is no v1 signature")]
    Unsigned,
    /// No signature is that of this body by our secret.
    #[error("no signature fits the body")]
    WrongSignature,
    /// The body is not a webhook v3.
    #[error("{0}")]
    Malformed(String),
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        let reason = error.to_string();
        let unauthorized =
            |field: &str, remedy: &str| Self::new(StatusCode::UNAUTHORIZED, "unauthorized", field, &reason, remedy);
        match error {
            WebhookError::NotConfigured => unauthorized("server", "set ingest.pagerduty_secret to the subscription's secret"),
            WebhookError::Unsigned | WebhookError::WrongSignature => {
                unauthorized("header X-PagerDuty-Signature", "set ingest.pagerduty_secret to this very subscription's secret")
            }
            WebhookError::Malformed(_) => {
                Self::new(StatusCode::BAD_REQUEST, "malformed", "body", &reason, "send PagerDuty's webhook v3")
            }
        }
    }
}

/// What an event means to us.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Meaning {
    Acknowledge { incident: IncidentId, who: String, key: String },
    Nothing(String),
}

/// The handler.
pub(super) async fn post(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let Some(secret) = &app.pagerduty_secret else { return Err(WebhookError::NotConfigured.into()) };
    let (head, body) = request.into_parts();
    let body: Bytes = app.small_body(&head.headers, body).await?;
    verify(secret.expose().as_bytes(), &head.headers, &body)?;
    match meaning(&body)? {
        Meaning::Nothing(why) => Ok(ignored(&why)),
        Meaning::Acknowledge { incident, who, key } => {
            let note = format!("PagerDuty, {key}");
            match acknowledge::record(&app, incident, &who, "pagerduty", &note).await {
                Ok(recorded) => Ok(recorded.into_response()),
                Err(late) if matches!(late.status, StatusCode::CONFLICT | StatusCode::NOT_FOUND) => Ok(ignored(&late.reason)),
                Err(problem) => Err(problem),
            }
        }
    }
}

fn ignored(why: &str) -> Response {
    (StatusCode::ACCEPTED, Json(json!({"acknowledged": false, "ignored": why}))).into_response()
}

fn verify(secret: &[u8], headers: &HeaderMap, body: &[u8]) -> Result<(), WebhookError> {
    let values = headers.get_all(SIGNATURE).iter().filter_map(|value| value.to_str().ok());
    let mut signatures = values.flat_map(|value| value.split(',')).filter_map(|one| one.trim().strip_prefix("v1=")).peekable();
    if signatures.peek().is_none() {
        return Err(WebhookError::Unsigned);
    }
    let fits = |signature: &str| {
        let Ok(given) = hex::decode(signature) else { return false };
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
        mac.update(body);
        mac.verify_slice(&given).is_ok()
    };
    // A header of thousands of signatures is no reason to compute as many.
    if signatures.take(8).any(fits) { Ok(()) } else { Err(WebhookError::WrongSignature) }
}

fn meaning(body: &[u8]) -> Result<Meaning, WebhookError> {
    let value: Value = serde_json::from_slice(body).map_err(|error| WebhookError::Malformed(error.to_string()))?;
    let event = value.get("event").ok_or_else(|| WebhookError::Malformed("`event` is missing".to_owned()))?;
    let event_type = event.get("event_type").and_then(Value::as_str);
    let event_type = event_type.ok_or_else(|| WebhookError::Malformed("`event.event_type` is missing".to_owned()))?;
    if event_type != "incident.acknowledged" {
        return Ok(Meaning::Nothing(format!("events of type {} mean nothing here", shortened(event_type, 100))));
    }
    let key = ["/data/incident_key", "/event/data/incident_key"].iter().find_map(|at| value.pointer(at).and_then(Value::as_str));
    let Some(key) = key else { return Ok(Meaning::Nothing("the incident has no key".to_owned())) };
    let Some(incident) = incident_of(key) else {
        return Ok(Meaning::Nothing("the incident's key is none of lastgood's".to_owned()));
    };
    let who = ["/event/agent/summary", "/event/agent/id"].iter().find_map(|at| value.pointer(at).and_then(Value::as_str));
    Ok(Meaning::Acknowledge { incident, who: who.unwrap_or("somebody in PagerDuty").to_owned(), key: shortened(key, 300) })
}

/// `lastgood/<inc_…>/<audience>/<reason>`.
fn incident_of(key: &str) -> Option<IncidentId> {
    let mut parts = key.split('/');
    let (ours, incident, audience, reason) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if ours != "lastgood" || audience.is_empty() || reason.is_empty() {
        return None;
    }
    incident.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::acknowledge::AcknowledgeError;
    use super::super::testing::{ID, Sent, World};
    use super::*;

    const PATH: &str = "/v1/acknowledgements/pagerduty";

    fn event(event_type: &str, key: &str) -> Vec<u8> {
        let agent = json!({"id": "PABC", "summary": "Ada", "type": "user_reference"});
        json!({"event": {"event_type": event_type, "agent": agent, "data": {"incident_key": key}}}).to_string().into_bytes()
    }

    fn signed(secret: &[u8], body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
        mac.update(body);
        format!("v1={}", hex::encode(mac.finalize().into_bytes()))
    }

    #[test]
    fn signatures_by_table() {
        let good = signed(b"secret", b"body");
        let rotated = format!("{}, {good}", signed(b"old", b"body"));
        let table = [
            (Some(good.as_str()), Ok(())),
            (Some(rotated.as_str()), Ok(())),
            (Some("v1=zz"), Err(WebhookError::WrongSignature)),
            (Some("v1="), Err(WebhookError::WrongSignature)),
            (Some("v2=00"), Err(WebhookError::Unsigned)),
            (None, Err(WebhookError::Unsigned)),
        ];
        for (header, expected) in table {
            let headers = header.map(|value| (http::HeaderName::from_static(SIGNATURE), value.parse().unwrap()));
            assert_eq!(verify(b"secret", &HeaderMap::from_iter(headers), b"body"), expected, "{header:?}");
        }
    }

    #[test]
    fn meanings_by_table() {
        let ours = format!("lastgood/{ID}/on_call/halted.paused");
        let acknowledge = Meaning::Acknowledge { incident: ID.parse().unwrap(), who: "Ada".into(), key: ours.clone() };
        assert_eq!(meaning(&event("incident.acknowledged", &ours)), Ok(acknowledge));
        for (event_type, key) in [
            ("pagey.ping", ours.as_str()),
            ("incident.acknowledged", "somebody-elses"),
            ("incident.acknowledged", "lastgood/inc_7/on_call/x"),
            ("incident.acknowledged", &ours[..ours.len() - "/halted.paused".len()]),
        ] {
            assert!(matches!(meaning(&event(event_type, key)), Ok(Meaning::Nothing(_))), "{event_type} {key}");
        }
        assert!(meaning(b"{}").is_err() && meaning(b"[").is_err());
    }

    #[tokio::test]
    async fn a_signed_event_acknowledges_and_an_unsigned_one_does_not() {
        let world = World::with_token("t0ken");
        let body = event("incident.acknowledged", &format!("lastgood/{ID}/on_call/halted.paused"));
        let good = signed(World::PAGERDUTY.as_bytes(), &body);
        let answer = world.send(PATH, Sent { signature: Some(&good), ..Sent::json(body.clone()) }).await;
        assert_eq!((answer.status, &answer.json["acknowledged"]), (StatusCode::OK, &json!(true)));
        let (incident, act) = world.incidents.acts().remove(0);
        assert_eq!((incident.to_string().as_str(), act.who.as_str(), act.via.as_str()), (ID, "Ada", "pagerduty"));
        let forged = signed(b"another", &body);
        for signature in [None, Some(forged.as_str())] {
            let answer = world.send(PATH, Sent { signature, ..Sent::json(body.clone()) }).await;
            assert_eq!((answer.status, answer.error()), (StatusCode::UNAUTHORIZED, "unauthorized"));
        }
        assert_eq!(world.incidents.acts().len(), 1);
    }

    #[tokio::test]
    async fn an_acknowledgement_that_comes_too_late_keeps_the_subscription_on() {
        let world = World::default();
        let body = event("incident.acknowledged", &format!("lastgood/{ID}/on_call/halted.paused"));
        let good = signed(World::PAGERDUTY.as_bytes(), &body);
        let late = AcknowledgeError::Refused("it is closed".into());
        let away = AcknowledgeError::Unavailable("away".into());
        for (error, status) in [
            (late, StatusCode::ACCEPTED),
            (AcknowledgeError::Unknown(ID.parse().unwrap()), StatusCode::ACCEPTED),
            (away, StatusCode::SERVICE_UNAVAILABLE),
        ] {
            world.incidents.answer(Err(error));
            let answer = world.send(PATH, Sent { signature: Some(&good), ..Sent::json(body.clone()) }).await;
            assert_eq!(answer.status, status);
        }
    }

    #[tokio::test]
    async fn what_is_not_ours_is_taken_and_ignored() {
        let world = World::default();
        let body = event("pagey.ping", "");
        let good = signed(World::PAGERDUTY.as_bytes(), &body);
        let answer = world.send(PATH, Sent { signature: Some(&good), ..Sent::json(body) }).await;
        assert_eq!((answer.status, &answer.json["acknowledged"]), (StatusCode::ACCEPTED, &json!(false)));
        assert!(world.incidents.acts().is_empty());
    }
}
