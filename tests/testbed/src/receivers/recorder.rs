//! The HTTP server under every receiver: it records, plays faults, and lets the receiver's API answer the rest.
//!
//! Guarantee: a call is on record before it is answered. A hung call is held for two minutes at most.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::faults::{Fault, Faults};
use crate::{
    Error, ports,
    process::lock,
    wait::{self, TimedOut},
};

/// How long a hung call is held before its connection is dropped.
const HANG: Duration = Duration::from_mins(2);

/// A call as it came in.
#[derive(Debug, Clone)]
pub struct Call {
    /// When its body was complete.
    pub at: jiff::Timestamp,
    /// The HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body as bytes.
    pub raw: Bytes,
    /// The body as JSON; null if it is none.
    pub body: Value,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was acted upon, as the real API would.
    Accepted,
    /// It was refused, as the real API would, for these reasons.
    Refused(Vec<String>),
    /// A scripted fault met it.
    Faulted(Fault),
}

/// A call on record.
#[derive(Debug, Clone)]
pub struct Received {
    /// The call.
    pub call: Call,
    /// What became of it.
    pub outcome: Outcome,
}

impl Received {
    /// Whether it had its effect: accepted, or accepted with a lost answer.
    #[must_use]
    pub const fn took_effect(&self) -> bool {
        matches!(self.outcome, Outcome::Accepted | Outcome::Faulted(Fault::LoseAnswer))
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Value,
    /// What to record.
    pub outcome: Outcome,
}

impl Reply {
    /// The call was acted upon.
    #[must_use]
    pub const fn accepted(status: u16, body: Value) -> Self {
        Self { status, body, outcome: Outcome::Accepted }
    }

    /// The call was refused.
    #[must_use]
    pub const fn refused(status: u16, body: Value, reasons: Vec<String>) -> Self {
        Self { status, body, outcome: Outcome::Refused(reasons) }
    }
}

/// What differs between receivers.
pub trait Api: Send + Sync + 'static {
    /// Acts upon a call and answers it.
    fn answer(&self, call: &Call) -> Reply;
    /// The body of an HTTP 200 that means failure all the same.
    fn lie(&self) -> Value;
}

struct Shared<A> {
    api: A,
    faults: Faults,
    received: Mutex<Vec<Received>>,
}

/// A receiver that runs; it ends when dropped.
pub struct Receiver<A> {
    address: SocketAddr,
    shared: Arc<Shared<A>>,
    serving: Mutex<Option<(CancellationToken, JoinHandle<()>)>>,
}

impl<A> std::fmt::Debug for Receiver<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("address", &self.address).finish_non_exhaustive()
    }
}

impl<A: Api> Receiver<A> {
    /// Starts to listen on a free loopback port.
    pub async fn start_with(api: A) -> Result<Self, Error> {
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()?));
        let shared = Shared { api, faults: Faults::default(), received: Mutex::default() };
        let receiver = Self { address, shared: Arc::new(shared), serving: Mutex::default() };
        receiver.come_back().await?;
        Ok(receiver)
    }

    /// The base address, `http://127.0.0.1:…`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The receiver's own state.
    pub fn api(&self) -> &A {
        &self.shared.api
    }

    /// Every call so far, in the order of arrival.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// The first call that fits, waiting for it till the deadline.
    pub async fn wait_for(&self, pred: impl Fn(&Received) -> bool, deadline: Duration) -> Result<Received, TimedOut> {
        let look = || async {
            let received = lock(&self.shared.received);
            let found = received.iter().find(|received| pred(received)).cloned();
            found.ok_or_else(|| match received.last() {
                Some(last) => {
                    format!("{} calls, the last {} {} ({:?})", received.len(), last.call.path, last.call.body, last.outcome)
                }
                None => "no call".to_owned(),
            })
        };
        wait::until(&format!("a call to {}", self.url()), deadline, look).await
    }

    /// The next `n` calls fail with this status and, if given, a `Retry-After` in whole seconds.
    pub fn fail_next(&self, n: usize, status: u16, retry_after: Option<Duration>) {
        self.script(n, &Fault::Fail { status, retry_after });
    }

    /// The next `n` calls are not acted upon and get no answer.
    pub fn hang_next(&self, n: usize) {
        self.script(n, &Fault::Hang);
    }

    /// The next `n` calls are acted upon but get no answer.
    pub fn lose_next_answers(&self, n: usize) {
        self.script(n, &Fault::LoseAnswer);
    }

    /// The next `n` calls get a 200 that means failure.
    pub fn lie_next(&self, n: usize) {
        self.script(n, &Fault::Lie);
    }

    /// The next `n` calls meet this fault, after those scripted before.
    pub fn script(&self, n: usize, fault: &Fault) {
        self.shared.faults.script(n, fault);
    }

    /// Forgets the faults that have not happened.
    pub fn heal(&self) {
        self.shared.faults.clear();
    }

    /// Stops listening: new connections are refused, open ones end. What is on record stays.
    pub async fn go_down(&self) {
        let serving = lock(&self.serving).take();
        if let Some((stop, task)) = serving {
            stop.cancel();
            let _ = tokio::time::timeout(Duration::from_secs(2), task).await;
        }
    }

    /// Listens again at the same address; nothing happens if it does.
    pub async fn come_back(&self) -> Result<(), Error> {
        if lock(&self.serving).is_some() {
            return Ok(());
        }
        let listener = TcpListener::bind(self.address).await.map_err(Error::io(format!("listening on {}", self.address)))?;
        let stop = CancellationToken::new();
        let router = Router::new()
            .fallback(serve::<A>)
            .layer(DefaultBodyLimit::max(4 << 20))
            .with_state((Arc::clone(&self.shared), stop.clone()));
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        let task = tokio::spawn(async move {
            let _ = serving.await; // it ends by the token only, and never with an error
        });
        *lock(&self.serving) = Some((stop, task));
        Ok(())
    }
}

impl<A> Drop for Receiver<A> {
    fn drop(&mut self) {
        if let Some((stop, task)) = lock(&self.serving).take() {
            stop.cancel();
            task.abort();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the arrival of a real call is a real time")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

async fn serve<A: Api>(
    State((shared, stop)): State<(Arc<Shared<A>>, CancellationToken)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    raw: Bytes,
) -> Response {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let call = Call {
        at: now(),
        method: method.to_string(),
        path: uri.to_string(),
        headers: headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: serde_json::from_slice(&raw).unwrap_or(Value::Null),
        raw,
    };
    let (reply, fault) = settle(&shared, call);
    if matches!(fault, Some(Fault::Hang | Fault::LoseAnswer)) {
        let _ = tokio::time::timeout(HANG, stop.cancelled()).await;
    }
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, axum::Json(reply.body)).into_response();
    if let Some(Fault::Fail { retry_after: Some(wait), .. }) = fault {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
    response
}

/// Decides what becomes of a call, lets the API act upon it, and records it.
fn settle<A: Api>(shared: &Shared<A>, call: Call) -> (Reply, Option<Fault>) {
    // One lock over acting and recording: the record is in the order of the effects.
    let mut received = lock(&shared.received);
    let fault = shared.faults.next();
    let faulted = |status, body, fault: &Fault| Reply { status, body, outcome: Outcome::Faulted(fault.clone()) };
    let reply = match &fault {
        None => shared.api.answer(&call),
        Some(fault @ Fault::Fail { status, .. }) => faulted(*status, serde_json::json!({ "message": "scripted failure" }), fault),
        Some(fault @ Fault::Hang) => faulted(504, Value::Null, fault),
        Some(fault @ Fault::Lie) => faulted(200, shared.api.lie(), fault),
        Some(fault @ Fault::LoseAnswer) => match shared.api.answer(&call) {
            reply @ Reply { outcome: Outcome::Refused(_), .. } => reply,
            _ => faulted(504, Value::Null, fault),
        },
    };
    received.push(Received { call, outcome: reply.outcome.clone() });
    (reply, fault)
}
