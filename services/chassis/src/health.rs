//! The admin server: `/livez`, `/readyz` and `/metrics`.
//!
//! Guarantees: ready means that every named check is; an answer of 503 names those that are not. Must not: be reachable for
//! people; it has no authentication and belongs to the pod's own network.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::config;
use crate::lifecycle::Lifecycle;
use crate::telemetry::Telemetry;

/// The named checks of a process; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    checks: Arc<Mutex<BTreeMap<String, Option<String>>>>,
}

/// One check, by whoever knows it.
#[derive(Debug, Clone)]
pub struct ReadyFlag {
    name: String,
    readiness: Readiness,
}

impl Readiness {
    /// Adds a check, which is not ready yet.
    #[must_use]
    pub fn flag(&self, name: impl Into<String>) -> ReadyFlag {
        let flag = ReadyFlag { name: name.into(), readiness: self.clone() };
        flag.not_ready("starting");
        flag
    }

    /// The checks that are not ready, with why.
    #[must_use]
    pub fn missing(&self) -> Vec<(String, String)> {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.iter().filter_map(|(name, reason)| Some((name.clone(), reason.clone()?))).collect()
    }
}

impl ReadyFlag {
    /// It is ready.
    pub fn ready(&self) {
        self.set(None);
    }

    /// It is not, because of this.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, reason: Option<String>) {
        self.readiness.checks.lock().unwrap_or_else(PoisonError::into_inner).insert(self.name.clone(), reason);
    }
}

/// Listens, and serves until the end; gives the address that was bound.
pub async fn serve(
    config: &config::Admin,
    readiness: Readiness,
    telemetry: Telemetry,
    life: &Lifecycle,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(config.listen).await?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "admin server listens");
    let stopping = life.stopping();
    let state = (readiness, telemetry);
    let router = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(state);
    // It takes no new connections while the process drains; whoever is connected is answered.
    let hard = life.hard();
    life.spawn("admin server", async move {
        let drained = async move {
            stopping.cancelled().await;
        };
        tokio::select! {
            biased;
            () = hard.cancelled() => Ok(()),
            served = axum::serve(listener, router).with_graceful_shutdown(drained) => served,
        }
    });
    Ok(address)
}

type Shared = (Readiness, Telemetry);

async fn readyz(State((readiness, _)): State<Shared>) -> impl IntoResponse {
    let missing = readiness.missing();
    if missing.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    let lines: Vec<String> = missing
        .iter()
        .map(|(name, reason)| {
            format!(
                "{name}: {reason}
"
            )
        })
        .collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines.concat())
}

async fn metrics(State((_, telemetry)): State<Shared>) -> impl IntoResponse {
    if let Some(bytes) = resident_memory() {
        #[expect(clippy::cast_precision_loss, reason = "a gauge; memory sizes are far below 2^52")]
        metrics::gauge!("process_resident_memory_bytes").set(bytes as f64);
    }
    telemetry.upkeep();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], telemetry.render())
}

/// Resident memory in bytes, where the operating system tells.
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ready_is_named() {
        let readiness = Readiness::default();
        let (nats, cluster) = (readiness.flag("nats"), readiness.flag("cluster"));
        nats.ready();
        cluster.not_ready("listing workloads");
        assert_eq!(readiness.missing(), [("cluster".to_owned(), "listing workloads".to_owned())]);
        cluster.ready();
        assert!(readiness.missing().is_empty());
    }
}
