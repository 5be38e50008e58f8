//! The HTTP endpoints, one file each; a new source is one more file and one line in [`router`].
//!
//! Guarantees: nothing of a body is read before its sender is known to be allowed (or, for signed bodies, nothing of it is used); every
//! refusal is a [`Problem`]. Must not: answer 429 (Alertmanager would not come again), or 2xx for what is not durable.

pub mod acknowledge;
pub mod alertmanager;
mod index;
pub mod pagerduty;
#[cfg(test)]
mod testing;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use chassis::clock::Clock;
use chassis::config::Secret;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use tokio::sync::{Semaphore, SemaphorePermit};
use tower_http::decompression::RequestDecompressionLayer;

use crate::auth;
use crate::body;
use crate::config;
use crate::problem::Problem;
use crate::store::Store;
use acknowledge::Incidents;

/// The largest acknowledgement that is read.
const SMALL_BODY: usize = 256 * 1024;

/// What the endpoints share.
#[derive(Clone)]
pub struct App {
    store: Arc<dyn Store>,
    incidents: Arc<dyn Incidents>,
    clock: Arc<dyn Clock>,
    max_body: usize,
    repeat_window: Duration,
    timeouts: config::Timeouts,
    pagerduty_secret: Option<Secret>,
    room: body::Room,
    slots: Arc<Semaphore>,
}

impl App {
    /// Endpoints that store alerts here and acknowledge incidents there.
    pub fn new(store: Arc<dyn Store>, incidents: Arc<dyn Incidents>, clock: Arc<dyn Clock>, config: &config::Ingest) -> Self {
        Self {
            store,
            incidents,
            clock,
            max_body: config.max_body,
            repeat_window: config.repeat_window,
            timeouts: config.timeouts,
            pagerduty_secret: config.pagerduty_secret.clone(),
            room: body::Room::new(config.max_body.saturating_mul(config.max_in_flight.max(1)), config.timeouts.store),
            slots: Arc::new(Semaphore::new(config.max_in_flight.max(1))),
        }
    }

    /// Waits until one more body may be read into what it says; no longer than a sender would.
    async fn slot(&self) -> Result<SemaphorePermit<'_>, Problem> {
        match tokio::time::timeout(self.timeouts.store, self.slots.acquire()).await {
            Ok(Ok(slot)) => Ok(slot),
            _ => Err(unavailable("busy", "too many requests are being read".to_owned())),
        }
    }

    async fn small_body(&self, headers: &HeaderMap, body: axum::body::Body) -> Result<Bytes, Problem> {
        Ok(body::read_json(headers, body, SMALL_BODY, self.timeouts.body, &self.room).await?.bytes)
    }
}

/// The 503 that tells a sender to come again.
pub(crate) fn unavailable(error: &'static str, reason: String) -> Problem {
    let remedy = "nothing was accepted: send the same again (Alertmanager does so by itself)";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, error, "server", reason, remedy)
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

/// All endpoints.
pub fn router(app: App, auth: &auth::Auth) -> Router {
    let protected = Router::new()
        .route("/v1/alerts/alertmanager", post(alertmanager::post))
        .route("/v1/incidents/{id}/acknowledge", post(acknowledge::post))
        .route_layer(from_fn_with_state(auth.clone(), auth::require));
    Router::new()
        .route("/", get(index::get))
        .route("/v1", get(index::get))
        .route("/v1/acknowledgements/pagerduty", post(pagerduty::post))
        .merge(protected)
        .fallback(async |uri: Uri| Problem::no_such_path(uri.path()))
        .method_not_allowed_fallback(async |method: Method| Problem::wrong_method(method.as_str()))
        .layer(from_fn(measure))
        .layer(RequestDecompressionLayer::new().pass_through_unaccepted(true))
        .with_state(app)
}

/// How long each endpoint takes, by its answer.
async fn measure(path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let begun = tokio::time::Instant::now();
    let path = path.map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let response = next.run(request).await;
    let code = response.status().as_str().to_owned();
    metrics::histogram!("lastgood_ingest_request_seconds", "path" => path, "code" => code).record(begun.elapsed().as_secs_f64());
    response
}
