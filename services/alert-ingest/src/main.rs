//! The binary: reads the configuration, starts the chassis, wires the endpoints and the detector, runs.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;

use alert_ingest::config::Config;
use alert_ingest::detectors::rollout::Rollouts;
use alert_ingest::{server, sources};
use anyhow::Context;
use chassis::config::Args;
use chassis::{Incidents, Service, service};
use clap::Parser;
use tokio::net::TcpListener;

const NAME: &str = "alert-ingest";

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let config: Config = chassis::config::load(NAME, &args)?;
    if args.check_config {
        println!("the configuration is good");
        return Ok(ExitCode::SUCCESS);
    }
    let service = service::start(NAME, &config.nats, &config.admin, &config.telemetry).await?;
    serve(&service, &config).await?;
    if config.detector.enabled {
        detect(&service, config).await?;
    }
    Ok(service.run().await)
}

async fn serve(service: &Service, config: &Config) -> anyhow::Result<()> {
    let ingest = &config.ingest;
    let auth = ingest.auth();
    if auth.lets_everybody_in() {
        tracing::warn!("ANYBODY who reaches {} can post alerts: set ingest.bearer_token or ingest.basic", ingest.listen);
    }
    let incidents = Arc::new(Incidents::new(service.bus.clone()));
    let app = sources::App::new(Arc::new(service.bus.clone()), incidents, Arc::clone(&service.clock), ingest);
    let listener =
        TcpListener::bind(ingest.listen).await.with_context(|| format!("`ingest.listen`: can't listen on {}", ingest.listen))?;
    tracing::info!(address = %listener.local_addr()?, "taking alerts");
    let serving = server::serve(
        listener,
        sources::router(app, &auth),
        ingest.timeouts.header,
        ingest.max_connections,
        service.lifecycle.stopping(),
    );
    service.lifecycle.spawn("HTTP endpoints", async move {
        serving.await;
        Ok::<(), Infallible>(())
    });
    Ok(())
}

async fn detect(service: &Service, config: Config) -> anyhow::Result<()> {
    let client = chassis::cluster::connect(&config.kubernetes)
        .await
        .context("the detector needs a cluster (or set detector.enabled to false)")?;
    let rollouts = Rollouts {
        store: Arc::new(service.bus.clone()),
        history: Arc::new(service.bus.clone()),
        client,
        clock: Arc::clone(&service.clock),
        cluster: config.kubernetes.cluster,
        cluster_label: config.kubernetes.cluster_label,
        config: config.detector,
    };
    let stopping = service.lifecycle.stopping();
    service.lifecycle.spawn("rollout detector", async move {
        rollouts.run(stopping).await;
        Ok::<(), Infallible>(())
    });
    Ok(())
}
