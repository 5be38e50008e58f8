//! The start of a service: everything that each of them needs, in the right order.
//!
//! Guarantees: the admin server answers before NATS does, so an outage shows as not ready; a signal is heard from the first moment on,
//! and ends the wait for NATS; metrics that nobody scrapes take no more memory than those that somebody does.
//! Must not: know what the service does.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::bus::{Bus, ConnectError};
use crate::clock::{Clock, Ids, SystemClock};
use crate::health::{Readiness, ReadyFlag};
use crate::lifecycle::Lifecycle;
use crate::telemetry::{Telemetry, TelemetryError};
use crate::{config, health};

/// How often what the metrics have gathered is folded into their buckets.
const UPKEEP: Duration = Duration::from_mins(1);

/// A started service.
#[derive(Debug, Clone)]
pub struct Service {
    /// The bus.
    pub bus: Bus,
    /// Spawn critical tasks here, and run it at the end of `main`.
    pub lifecycle: Lifecycle,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and jitter.
    pub ids: Ids,
    /// For more named checks; `service` is ready once [`Service::run`] is called.
    pub readiness: Readiness,
    /// Logs, traces, metrics.
    pub telemetry: Telemetry,
    /// Where the admin server listens.
    pub admin: SocketAddr,
    started: ReadyFlag,
}

/// Why a service can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Telemetry.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The admin server's address.
    #[error("`admin.listen`: can't listen on {address}")]
    Admin {
        /// As configured.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// NATS.
    #[error(transparent)]
    Bus(#[from] ConnectError),
    /// A signal came while NATS was away.
    #[error("stopped before NATS was there")]
    Stopped,
}

/// Starts the chassis of a service: telemetry, admin server, signals, the bus. Waits for NATS as long as it takes.
pub async fn start(
    name: &str,
    nats: &config::Nats,
    admin: &config::Admin,
    telemetry: &config::Telemetry,
) -> Result<Service, StartError> {
    crate::cluster::install_crypto();
    let telemetry = Telemetry::start(name, telemetry)?;
    tracing::info!(service = name, version = env!("CARGO_PKG_VERSION"), "starting");
    let (lifecycle, readiness) = (Lifecycle::default(), Readiness::default());
    stop_on_signal(&lifecycle);
    keep_up(&telemetry, &lifecycle);
    let address = health::serve(admin, readiness.clone(), telemetry.clone(), &lifecycle)
        .await
        .map_err(|source| StartError::Admin { address: admin.listen, source })?;
    let (nats_flag, started) = (readiness.flag("nats"), readiness.flag("service"));
    nats_flag.not_ready("not connected");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids = Ids::new(Arc::clone(&clock));
    let stopping = lifecycle.stopping();
    let bus = tokio::select! {
        biased;
        () = stopping.cancelled() => return Err(StartError::Stopped),
        bus = Bus::connect(nats, name, Arc::clone(&clock), ids.clone()) => bus?,
    };
    watch_connection(&bus, nats_flag, &lifecycle);
    bus.watch_fullness(&lifecycle);
    Ok(Service { bus, lifecycle, clock, ids, readiness, telemetry, admin: address, started })
}

impl Service {
    /// Says that the service is ready (once its other checks are), runs until the end and flushes.
    pub async fn run(self) -> ExitCode {
        self.started.ready();
        let code = self.lifecycle.run_until_done().await;
        self.bus.flush().await;
        self.telemetry.flush().await;
        code
    }
}

/// Listens from here on: once it was listened for, a signal that comes while nobody does (between the start and the run, while a
/// cluster's credentials are fetched) is lost for good.
fn stop_on_signal(life: &Lifecycle) {
    let life = life.clone();
    tokio::spawn(async move {
        let signal = crate::lifecycle::signal().await;
        tracing::info!(signal, "stopping");
        life.stop();
    });
}

/// Folds the metrics' samples now and then: they are kept one by one until then, and a scrape may never come.
fn keep_up(telemetry: &Telemetry, life: &Lifecycle) {
    let (telemetry, stopping) = (telemetry.clone(), life.stopping());
    life.spawn("upkeep of the metrics", async move {
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => return Ok::<_, String>(()),
                () = tokio::time::sleep(UPKEEP) => telemetry.upkeep(),
            }
        }
    });
}

/// Keeps the `nats` check up to date.
fn watch_connection(bus: &Bus, flag: ReadyFlag, life: &Lifecycle) {
    let (mut connection, stopping) = (bus.connection(), life.stopping());
    life.spawn("watch of the connection", async move {
        loop {
            if connection.borrow_and_update().up {
                flag.ready();
            } else {
                flag.not_ready("the connection is down");
            }
            tokio::select! {
                biased;
                () = stopping.cancelled() => {
                    flag.not_ready("stopping");
                    return Ok(());
                }
                changed = connection.changed() => if changed.is_err() {
                    return Err("the client is gone");
                },
            }
        }
    });
}
