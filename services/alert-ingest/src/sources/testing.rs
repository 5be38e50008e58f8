//! A world for the endpoints' tests: a store and incidents that do as they are told, and requests without a socket.
//!
//! Guarantee: what was stored or acted is kept in order. Must not: be compiled into the service.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::response::Response;
use axum::{Router, http};
use bytes::Bytes;
use chassis::clock::ManualClock;
use chassis::config::Secret;
use contracts::IncidentId;
use contracts::v1::PersonActed;
use http::{HeaderMap, Request, StatusCode, header};
use serde_json::Value;
use tower::ServiceExt;

use super::acknowledge::{AcknowledgeError, Acknowledged, Incidents};
use super::{App, router};
use crate::config;
use crate::parts::Part;
use crate::store::{Store, StoreError};

pub(super) const ID: &str = "inc_0199d2c1f0aa7bbb8ccc0123456789ab";

#[derive(Default)]
pub(super) struct FakeStore {
    parts: Mutex<Vec<Part>>,
    failure: Mutex<Option<StoreError>>,
    hangs: Mutex<bool>,
}

impl FakeStore {
    pub(super) fn parts(&self) -> Vec<Part> {
        self.parts.lock().unwrap().clone()
    }

    pub(super) fn fail(&self, failure: Option<StoreError>) {
        *self.failure.lock().unwrap() = failure;
    }

    pub(super) fn hang(&self) {
        *self.hangs.lock().unwrap() = true;
    }
}

#[async_trait]
impl Store for FakeStore {
    async fn store(&self, parts: Vec<Part>) -> Result<(), StoreError> {
        let hangs = *self.hangs.lock().unwrap();
        if hangs {
            std::future::pending::<()>().await;
        }
        if let Some(failure) = self.failure.lock().unwrap().clone() {
            return Err(failure);
        }
        self.parts.lock().unwrap().extend(parts);
        Ok(())
    }
}

pub(super) struct FakeIncidents {
    acts: Mutex<Vec<(IncidentId, PersonActed)>>,
    answer: Mutex<Result<Acknowledged, AcknowledgeError>>,
}

impl FakeIncidents {
    pub(super) fn acts(&self) -> Vec<(IncidentId, PersonActed)> {
        self.acts.lock().unwrap().clone()
    }

    pub(super) fn answer(&self, answer: Result<Acknowledged, AcknowledgeError>) {
        *self.answer.lock().unwrap() = answer;
    }
}

#[async_trait]
impl Incidents for FakeIncidents {
    async fn act(&self, incident: IncidentId, act: PersonActed) -> Result<Acknowledged, AcknowledgeError> {
        self.acts.lock().unwrap().push((incident, act));
        self.answer.lock().unwrap().clone()
    }
}

/// One request.
#[derive(Clone)]
pub(super) struct Sent<'a> {
    pub(super) method: &'static str,
    pub(super) body: Vec<u8>,
    pub(super) content_type: Option<&'static str>,
    pub(super) encoding: Option<&'static str>,
    pub(super) authorization: Option<&'static str>,
    pub(super) signature: Option<&'a str>,
    pub(super) chunked: bool,
}

impl Sent<'_> {
    pub(super) fn json(body: Vec<u8>) -> Self {
        let content_type = Some("application/json");
        Self { method: "POST", body, content_type, encoding: None, authorization: None, signature: None, chunked: false }
    }
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) json: Value,
}

impl Answer {
    pub(super) fn error(&self) -> &str {
        self.json["error"].as_str().unwrap_or_default()
    }
}

pub(super) struct World {
    pub(super) store: Arc<FakeStore>,
    pub(super) incidents: Arc<FakeIncidents>,
    router: Router,
}

impl Default for World {
    fn default() -> Self {
        Self::new(None)
    }
}

impl World {
    pub(super) const MAX_BODY: usize = 2 << 20;
    pub(super) const DEADLINE: Duration = Duration::from_secs(4);
    pub(super) const PAGERDUTY: &'static str = "pagerduty's";

    pub(super) fn with_token(token: &str) -> Self {
        Self::new(Some(Secret::new(token)))
    }

    fn new(bearer_token: Option<Secret>) -> Self {
        let store = Arc::new(FakeStore::default());
        let incidents = Arc::new(FakeIncidents { acts: Mutex::default(), answer: Mutex::new(Ok(Acknowledged::Recorded)) });
        let config = config::Ingest {
            bearer_token,
            max_body: Self::MAX_BODY,
            pagerduty_secret: Some(Secret::new(Self::PAGERDUTY)),
            ..config::Ingest::default()
        };
        let clock = Arc::new(ManualClock::new("2026-11-21T10:00:00Z".parse().unwrap()));
        let app = App::new(store.clone(), incidents.clone(), clock, &config);
        Self { store, incidents, router: router(app, &config.auth()) }
    }

    pub(super) async fn post(&self, path: &str, body: Vec<u8>) -> Answer {
        self.send(path, Sent::json(body)).await
    }

    pub(super) async fn send(&self, path: &str, sent: Sent<'_>) -> Answer {
        let mut request = Request::builder().method(sent.method).uri(path);
        let length = (!sent.chunked).then(|| sent.body.len().to_string());
        let headers = [
            (header::CONTENT_TYPE, sent.content_type),
            (header::CONTENT_ENCODING, sent.encoding),
            (header::AUTHORIZATION, sent.authorization),
            (header::CONTENT_LENGTH, length.as_deref()),
            (header::HeaderName::from_static("x-pagerduty-signature"), sent.signature),
        ];
        for (name, value) in headers {
            request = value.into_iter().fold(request, |request, value| request.header(&name, value));
        }
        let chunks: Vec<Result<Bytes, std::io::Error>> = sent.body.chunks(4096).map(|chunk| Ok(chunk.to_vec().into())).collect();
        let body = if sent.chunked { Body::from_stream(futures::stream::iter(chunks)) } else { Body::from(sent.body) };
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        read(response).await
    }
}

async fn read(response: Response) -> Answer {
    let (head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    Answer { status: head.status, headers: head.headers, json: serde_json::from_slice(&body).unwrap_or(Value::Null) }
}

/// A gzip stream of stored (not compressed) blocks: enough to be undone.
pub(super) fn gzipped(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let blocks = data.chunks(0xffff).count();
    for (index, block) in data.chunks(0xffff).enumerate() {
        let length = u16::try_from(block.len()).unwrap();
        out.push(u8::from(index + 1 == blocks));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    out.extend(crc32(data).to_le_bytes());
    out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    out
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}
