//! `POST /v1/alerts/alertmanager`: Alertmanager's `webhook_config`, payload version 4.
//!
//! Guarantees: 202 only after all alerts of the payload are durable, all in one atomic batch; 503 with nothing accepted when they can't be.
//! The same notification from two peers, or sent twice, is one. Must not: judge an alert; the orchestrator does.
//!
//! | answer | when |
//! |---|---|
//! | 202 `{"stored": n, "parts": p}` | all is stored |
//! | 400 | not JSON, not version 4, or a field is malformed: `field` names it |
//! | 401 | without the configured credentials |
//! | 408, 413, 415 | too slow, too large, not JSON |
//! | 503 | NATS is away, slow or full: the same is to be sent again |

mod explain;
mod payload;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use contracts::v1::{Alert, AlertNotification, AlertStatus};
use http::StatusCode;
use serde_json::json;

use super::{App, unavailable};
use crate::body::{self, BodyError};
use crate::parts::{self, SplitError};
use crate::problem::Problem;
use crate::store::{StoreError, store_within};
pub use payload::{Malformed, SOURCE, parse};

/// Bodies larger than this are parsed off the runtime's threads.
const PARSE_INLINE: usize = 64 * 1024;

/// Why a notification was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The body could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// It is not what Alertmanager sends.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It can't be cut into messages.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The process is ending.
    #[error("the reader was stopped")]
    Stopped,
}

impl From<AcceptError> for Problem {
    fn from(error: AcceptError) -> Self {
        let reason = error.to_string();
        match error {
            AcceptError::Body(error) => error.into(),
            AcceptError::Malformed(error) => {
                Self::new(StatusCode::BAD_REQUEST, "malformed", error.field, error.reason, error.remedy)
            }
            AcceptError::Split(error) => {
                let (field, remedy) = match error {
                    SplitError::AlertTooLarge { fingerprint, .. } => {
                        (format!("alerts[fingerprint={fingerprint}]"), "shorten this alert's labels and annotations")
                    }
                    SplitError::HeaderTooLarge { .. } => ("groupKey".to_owned(), "group by fewer or shorter labels"),
                    SplitError::TooManyParts { .. } => ("alerts".to_owned(), "send less at once (Alertmanager: max_alerts)"),
                };
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large_to_store", field, reason, remedy)
            }
            AcceptError::Store(error) => {
                let word = match error {
                    StoreError::Full => "stream_full",
                    StoreError::Unavailable(_) => "bus_unavailable",
                    StoreError::TooSlow(_) => "bus_too_slow",
                    StoreError::Refused(_) => "bus_refused",
                };
                unavailable(word, reason)
            }
            AcceptError::Stopped => unavailable("stopping", reason),
        }
    }
}

/// The handler.
pub(super) async fn post(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let read =
        body::read_json(&head.headers, body, app.max_body, app.timeouts.body, &app.room).await.map_err(AcceptError::from)?;
    // Only for what is there in whole: a peer that is slow, or never ends, keeps no other from being heard.
    let _slot = app.slot().await?;
    let (stored, parts) = accept(&app, read.bytes.clone()).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"stored": stored, "parts": parts}))).into_response())
}

/// Stores a payload; how many alerts and messages it was.
async fn accept(app: &App, body: Bytes) -> Result<(usize, usize), AcceptError> {
    let notification = if body.len() > PARSE_INLINE {
        tokio::task::spawn_blocking(move || parse(&body)).await.map_err(|_| AcceptError::Stopped)??
    } else {
        parse(&body)?
    };
    let (firing, resolved) = count(&notification);
    let truncated = notification.truncated_alerts;
    let parts = parts::split(notification, app.clock.now(), app.repeat_window)?;
    let messages = parts.len();
    store_within(&*app.store, parts, app.timeouts.store).await?;
    metrics::counter!("lastgood_alerts_received_total", "status" => "firing").increment(firing as u64);
    metrics::counter!("lastgood_alerts_received_total", "status" => "resolved").increment(resolved as u64);
    if truncated > 0 {
        metrics::counter!("lastgood_alerts_truncated_total").increment(truncated);
        tracing::warn!(truncated, "Alertmanager left alerts out of its notification (max_alerts)");
    }
    tracing::debug!(firing, resolved, messages, "notification stored");
    Ok((firing + resolved, messages))
}

fn count(notification: &AlertNotification) -> (usize, usize) {
    let firing = notification.alerts.iter().filter(|alert: &&Alert| alert.status() == AlertStatus::Firing).count();
    (firing, notification.alerts.len() - firing)
}

#[cfg(test)]
mod tests {
    use http::header;
    use serde_json::Value;

    use super::super::testing::{Sent, World, gzipped};
    use super::payload::tests::payload;
    use super::*;

    const PATH: &str = "/v1/alerts/alertmanager";

    fn body() -> Vec<u8> {
        payload().to_string().into_bytes()
    }

    #[tokio::test]
    async fn what_is_stored_is_accepted() {
        let world = World::default();
        let answer = world.post(PATH, body()).await;
        assert_eq!((answer.status, &answer.json), (StatusCode::ACCEPTED, &json!({"stored": 2, "parts": 1})));
        let stored = world.store.parts();
        assert_eq!(stored[0].notification.truncated_alerts, 7);
        assert_eq!(stored[0].notification.alerts.len(), 2);
    }

    #[tokio::test]
    async fn the_same_from_two_peers_has_one_name() {
        let world = World::default();
        let mut other = payload();
        other["externalURL"] = "http://peer-2:9093".into();
        other["alerts"].as_array_mut().unwrap().reverse();
        world.post(PATH, body()).await;
        world.post(PATH, other.to_string().into_bytes()).await;
        let stored = world.store.parts();
        assert_eq!(stored[0].msg_id, stored[1].msg_id);
    }

    #[tokio::test]
    async fn what_can_not_be_stored_is_to_come_again() {
        let failures = [
            StoreError::Full,
            StoreError::Unavailable("away".into()),
            StoreError::Refused("no".into()),
            StoreError::TooSlow(World::DEADLINE),
        ];
        for (failure, word) in failures.into_iter().zip(["stream_full", "bus_unavailable", "bus_refused", "bus_too_slow"]) {
            let world = World::default();
            world.store.fail(Some(failure));
            let answer = world.post(PATH, body()).await;
            assert_eq!((answer.status, answer.error()), (StatusCode::SERVICE_UNAVAILABLE, word));
            assert!(answer.headers.contains_key(header::RETRY_AFTER));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_meets_the_deadline() {
        let world = World::default();
        world.store.hang();
        let answer = world.post(PATH, body()).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::SERVICE_UNAVAILABLE, "bus_too_slow"));
    }

    #[tokio::test]
    async fn what_is_malformed_is_named() {
        let world = World::default();
        let mut broken = payload();
        broken["alerts"][1]["startsAt"] = "noon".into();
        let answer = world.post(PATH, broken.to_string().into_bytes()).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::BAD_REQUEST, "malformed"));
        assert_eq!(answer.json["field"], "alerts[1].startsAt");
        assert!(answer.json["reason"].as_str().unwrap().contains("noon"));
        assert!(!answer.json["remedy"].as_str().unwrap().is_empty());
        assert!(world.store.parts().is_empty());
    }

    #[tokio::test]
    async fn limits_by_table() {
        let world = World::default();
        let large = vec![b' '; World::MAX_BODY + 1];
        let mut huge_alert = payload();
        huge_alert["alerts"][0]["annotations"]["description"] = Value::from("x".repeat(1 << 20));
        let plain = Sent { content_type: Some("text/plain"), ..Sent::json(body()) };
        let untyped = Sent { content_type: None, ..Sent::json(body()) };
        let brotli = Sent { encoding: Some("br"), ..Sent::json(body()) };
        let bomb = Sent { encoding: Some("gzip"), ..Sent::json(gzipped(&large)) };
        let chunked = Sent { chunked: true, ..Sent::json(large.clone()) };
        let damaged = Sent { encoding: Some("gzip"), ..Sent::json(body()) };
        let table = [
            (Sent::json(large), 413, "body_too_large"),
            (chunked, 413, "body_too_large"),
            (bomb, 413, "body_too_large"),
            (Sent::json(huge_alert.to_string().into_bytes()), 413, "too_large_to_store"),
            (plain, 415, "not_json"),
            (untyped, 415, "not_json"),
            (brotli, 415, "unknown_encoding"),
            (damaged, 400, "body_broken"),
            (Sent::json(vec![]), 400, "malformed"),
            (Sent { method: "GET", ..Sent::json(vec![]) }, 405, "wrong_method"),
        ];
        for (sent, status, word) in table {
            let answer = world.send(PATH, sent).await;
            assert_eq!((answer.status.as_u16(), answer.error()), (status, word));
        }
        assert!(world.store.parts().is_empty());
        let answer = world.send(PATH, Sent { encoding: Some("gzip"), ..Sent::json(gzipped(&body())) }).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }

    #[tokio::test]
    async fn without_credentials_nothing_is_read() {
        let world = World::with_token("t0ken");
        let answer = world.post(PATH, b"not even JSON".to_vec()).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::UNAUTHORIZED, "unauthorized"));
        assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer realm=\"lastgood\"");
        let wrong = world.send(PATH, Sent { authorization: Some("Bearer wrong"), ..Sent::json(body()) }).await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        let right = world.send(PATH, Sent { authorization: Some("Bearer t0ken"), ..Sent::json(body()) }).await;
        assert_eq!(right.status, StatusCode::ACCEPTED);
    }

    #[tokio::test]
    async fn other_paths_are_not_found_and_the_index_is() {
        let world = World::with_token("t0ken");
        let answer = world.post("/v1/alerts/nagios", body()).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::NOT_FOUND, "no_such_path"));
        for path in ["/", "/v1"] {
            let answer = world.send(path, Sent { method: "GET", ..Sent::json(vec![]) }).await;
            assert_eq!(answer.status, StatusCode::OK);
        }
    }
}
