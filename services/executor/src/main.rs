//! `lastgood-executor`: reads its configuration, starts the chassis, wires the executor to bus and cluster, runs.

use std::process::ExitCode;

use anyhow::Context as _;
use chassis::config::Args;
use chassis::{Incidents, service};
use clap::Parser as _;
use executor::cluster::Cluster;
use executor::config::Config;
use executor::run::Executor;

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
    let executor = Executor::new(incidents, cluster, service.clock.clone(), config.executor);
    executor.start(&service.bus, &service.lifecycle, &config.kubernetes.cluster);
    Ok(service.run().await)
}
