//! `lastgood-verifier`: reads its configuration, starts the chassis, wires the handlers and runs.
//!
//! Guarantee: a bad configuration ends it before it touches anything. Must not: hold logic; that is the library's.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use chassis::Incidents;
use chassis::config::Args;
use clap::Parser as _;
use verifier::config::Config;
use verifier::handlers::{OnMitigated, OnTrafficShifted, consume};
use verifier::log::{BusLog, Log};
use verifier::runner::Stabilisation;
use verifier::verify::Verification;
use verifier::watch::AlertWatch;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let config: Config = chassis::config::load("verifier", &args)?;
    let settings = &config.verifier;
    let rules = settings.prepare().context("configuration")?;
    if args.check_config {
        return Ok(ExitCode::SUCCESS);
    }
    let service = chassis::service::start("verifier", &config.nats, &config.admin, &config.telemetry).await?;
    let client = chassis::cluster::connect(&config.kubernetes).await?;
    let tools = verifier::net::tools(&settings.prometheus)?;
    let log: Arc<dyn Log> = Arc::new(BusLog::new(Incidents::new(service.bus.clone()), Arc::clone(&service.clock)));
    let listen = |event_type: &str, handler| {
        let cluster = config.kubernetes.cluster.as_str();
        consume(&service.bus, &service.lifecycle, cluster, event_type, settings.max_in_flight, handler);
    };
    if let Some(prometheus) = tools.prometheus.clone() {
        let (poll, ignore_labels) = (settings.prometheus.poll, settings.prometheus.ignore_labels.clone());
        let watch = AlertWatch { log: Arc::clone(&log), prometheus, poll, ignore_labels };
        listen("mitigated", Arc::new(OnMitigated { watch, stopping: service.lifecycle.stopping() }));
    } else {
        tracing::info!("no Prometheus is configured: only Alertmanager's word resolves an alert");
    }
    let stabilisation = Stabilisation { window: settings.stabilisation, every: settings.look_every };
    let verification = Verification { log, clock: Arc::clone(&service.clock), tools, rules, stabilisation };
    listen("traffic_shifted", Arc::new(OnTrafficShifted { verification, client, stopping: service.lifecycle.stopping() }));
    Ok(service.run().await)
}
