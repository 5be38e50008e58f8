//! The HTTP side of the simulated API server: listening, routing, journalling.
//!
//! Plain HTTP/1.1 on loopback without authentication. While the cluster is made unavailable every connection is cut and
//! new ones are dropped as soon as they are accepted; the controllers go on, as if only the network was gone.

mod answer;
mod discovery;
mod pages;
mod protobuf;
mod request;
mod stream;
mod verbs;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use self::answer::Body;
use self::answer::failure;
use self::request::Call;
use super::Shared;
use super::error::ApiError;
use super::ident;
use super::journal::JournalEntry;

/// Serves the API until it is dropped.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut available = shared.available.subscribe();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    // Out of file descriptors, say: give others time to close theirs.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                if !*available.borrow() {
                    continue;
                }
                // Failing to set it only costs latency.
                let _ = stream.set_nodelay(true);
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        let shared = Arc::clone(&shared);
                        async move { Ok::<_, Infallible>(handle(&shared, request).await) }
                    });
                    // A client that goes away is not worth a line.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
            Some(_) = connections.join_next() => {}
            Ok(()) = available.changed() => {
                if !*available.borrow_and_update() {
                    connections.abort_all();
                }
            }
        }
    }
}

async fn handle(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => {
            let why = format!("can't read the body: {error}");
            return failure(&ApiError::bad_request(why));
        }
    };
    respond(shared, &parts, &bytes)
}

/// Answers one request. Nothing else happens in the cluster meanwhile, unless another thread does it.
pub(crate) fn respond(shared: &Arc<Shared>, parts: &Parts, bytes: &Bytes) -> Response<Body> {
    // Connections are cut a moment later than the switch is thrown; nobody must slip through in between.
    if !*shared.available.borrow() {
        return failure(&ApiError::unavailable());
    }
    let call = Call::read(parts);
    let body = match parse(bytes, &call.content_type) {
        Ok(body) => body,
        Err(error) => return failure(&error),
    };
    let journalled = (call.method != Method::GET).then(|| body.clone());
    let response = verbs::perform(shared, &call, body).unwrap_or_else(|error| failure(&error));
    if let Some(body) = journalled {
        shared.journal.push(JournalEntry {
            time: ident::now(),
            method: call.method.to_string(),
            path: call.path.clone(),
            user_agent: call.user_agent.clone(),
            field_manager: call.parameter("fieldManager").to_owned(),
            content_type: call.content_type.clone(),
            dry_run: call.dry_run(),
            body,
            status: response.status().as_u16(),
        });
    }
    response
}

/// Reads a body as JSON; kubectl and kube-rs never send YAML but for server-side apply, which is refused anyway.
fn parse(bytes: &Bytes, content_type: &str) -> Result<Value, ApiError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    if content_type.contains("protobuf") {
        return protobuf::read(bytes);
    }
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(_) if content_type.contains("yaml") => Ok(Value::String(String::from_utf8_lossy(bytes).into_owned())),
        Err(error) => Err(ApiError::bad_request(format!("the body is not JSON: {error}"))),
    }
}
