//! `lastgood-executor`: reads its configuration, starts the chassis, wires the executor to bus and cluster, runs.

use std::process::ExitCode;

use anyhow::Context as _;
use chassis::config::Args;
use chassis::{Incidents, service};
use clap::Parser as _;
use executor::cluster::Cluster;
use executor::config::Config;
use executor::run::Executor;
use executor::snapshots::Snapshots;
use lastgood_core::configuration::Key;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let config: Config = chassis::config::load("executor", &args)?;
    if args.check_config {
        return Ok(ExitCode::SUCCESS);
    }
    let service = service::start("executor", &config.nats, &config.admin, &config.telemetry).await?;
    let client = chassis::cluster::connect(&config.kubernetes).await.context("the cluster's client")?;
    let cluster = Cluster::new(client);
    // A first request brings the connection up before it is needed.
    if let Err(error) = cluster.endpoints_kind().await {
        tracing::warn!(%error, "the cluster does not answer yet");
    }
    let incidents = Incidents::new(service.bus.clone());
    let key = config.kubernetes.fingerprint_key.as_ref().map(|key| Key::new(key.expose().as_bytes()));
    let snapshots = Snapshots::new(cluster.clone(), key.clone());
    let (every, after) = (config.executor.prune_every, config.executor.prune_after);
    snapshots.clone().start(&service.bus, &service.lifecycle, &config.kubernetes.cluster);
    snapshots.start_pruning(&service.bus, &service.lifecycle, &config.kubernetes.cluster, every, after);
    let executor = Executor::new(incidents, cluster, service.clock.clone(), config.executor).with_key(key);
    executor.start(&service.bus, &service.lifecycle, &config.kubernetes.cluster);
    Ok(service.run().await)
}
