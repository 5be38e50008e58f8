//! Bad input at the webhook: through the real router, and on the socket of the real process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use alert_ingest::config::Ingest;
use alert_ingest::parts::Part;
use alert_ingest::sources::acknowledge::{AcknowledgeError, Acknowledged, Incidents};
use alert_ingest::sources::{App, router};
use alert_ingest::store::{Store, StoreError};
use async_trait::async_trait;
use axum::body::Body;
use chassis::clock::ManualClock;
use contracts::IncidentId;
use contracts::v1::PersonActed;
use fuzz::{Plan, Random, corpus, mutate, run};
use http::{Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt;

#[derive(Default)]
struct Kept(Mutex<Vec<Part>>);

#[async_trait]
impl Store for Kept {
    async fn store(&self, parts: Vec<Part>) -> Result<(), StoreError> {
        self.0.lock().unwrap().extend(parts);
        Ok(())
    }
}

struct Nobody;

#[async_trait]
impl Incidents for Nobody {
    async fn act(&self, incident: IncidentId, _: PersonActed) -> Result<Acknowledged, AcknowledgeError> {
        Err(AcknowledgeError::Unknown(incident))
    }
}

type Texts = BTreeMap<String, String>;

/// What an alert says, as far as it must not change: fingerprint, begin, labels, annotations, whether it fires.
type Said = (String, i64, i32, Texts, Texts, bool);

/// What the sender meant, read by another reader than the product's.
/// `None` where that one reads more strictly: the product passes over what it does not know, half a surrogate pair in it included.
fn meant(body: &[u8]) -> Option<Vec<Said>> {
    let payload: Value = serde_json::from_slice(body).ok()?;
    let texts = |value: &Value| -> Texts {
        let entries = value.as_object().into_iter().flatten();
        entries.map(|(key, value)| (key.clone(), value.as_str().expect("a text").to_owned())).collect()
    };
    let alerts = payload["alerts"].as_array().expect("alerts").iter();
    let mut said: Vec<Said> = alerts
        .map(|alert| {
            let at: jiff::Timestamp = alert["startsAt"].as_str().and_then(|text| text.parse().ok()).expect("a time");
            let at = contracts::time::to_proto(at);
            let fingerprint = alert["fingerprint"].as_str().expect("a fingerprint").to_owned();
            let firing = alert["status"] == "firing";
            (fingerprint, at.seconds, at.nanos, texts(&alert["labels"]), texts(&alert["annotations"]), firing)
        })
        .collect();
    said.sort();
    Some(said)
}

fn stored(parts: &[Part]) -> Vec<Said> {
    let mut said: Vec<Said> = parts
        .iter()
        .flat_map(|part| &part.notification.alerts)
        .map(|alert| {
            let at = alert.starts_at.expect("a time");
            let (labels, annotations) =
                (alert.labels.clone().into_iter().collect(), alert.annotations.clone().into_iter().collect());
            (alert.fingerprint.clone(), at.seconds, at.nanos, labels, annotations, alert.status == 1)
        })
        .collect();
    said.sort();
    said
}

fn request(random: &mut Random, body: Vec<u8>) -> Request<Body> {
    let request = Request::builder().method("POST").uri("/v1/alerts/alertmanager");
    let kind = if random.once_in(50) { "text/plain" } else { "application/json" };
    let request = request.header("content-type", kind);
    let request = if random.once_in(50) { request.header("content-encoding", *random.of(&["gzip", "br"])) } else { request };
    request.body(Body::from(body)).expect("a request")
}

#[test]
fn what_is_accepted_is_stored_as_it_was_said_and_the_rest_is_named() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let payloads = corpus("webhook");
    run("webhook payloads", Plan::of(10_000), |random| {
        let body = if random.once_in(20) { random.of(&payloads).clone() } else { mutate(random, &payloads) };
        let kept = Arc::new(Kept::default());
        let clock = Arc::new(ManualClock::new("2026-11-21T10:00:00Z".parse().unwrap()));
        let app = App::new(kept.clone(), Arc::new(Nobody), clock, &Ingest::default());
        let routes = router(app, &Ingest::default().auth());
        let (status, answer) = runtime.block_on(async {
            let answer = routes.oneshot(request(random, body.clone())).await.unwrap();
            let (head, body) = answer.into_parts();
            (head.status, axum::body::to_bytes(body, 1 << 20).await.unwrap())
        });
        let answer: Value = serde_json::from_slice(&answer).expect("every answer is JSON");
        let parts = kept.0.lock().unwrap().clone();
        if status == StatusCode::ACCEPTED {
            let stored = stored(&parts);
            assert_eq!(meant(&body).unwrap_or_else(|| stored.clone()), stored);
            return true;
        }
        assert!(status.is_client_error(), "{status} {answer}");
        for told in ["error", "field", "reason", "remedy"] {
            assert!(answer[told].as_str().is_some_and(|text| !text.is_empty()), "no {told}: {answer}");
        }
        assert!(answer.to_string().len() < 4096, "a refusal repeats a bounded part of what was sent");
        assert!(parts.is_empty(), "nothing of it is stored");
        false
    });
}
