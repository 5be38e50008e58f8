//! The simulated cluster as a process of its own: prints its kubeconfig's path and runs until SIGTERM or Ctrl-C.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use testbed::sim::{SimCluster, SimOptions};
use tokio::signal::unix::{SignalKind, signal};

/// A simulated Kubernetes cluster on loopback.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the kubeconfig goes; by default a temporary directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The API server's port; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut term = signal(SignalKind::terminate()).context("SIGTERM")?;
    let options = SimOptions { dir: arguments.dir, port: arguments.port, ..SimOptions::default() };
    let cluster = SimCluster::start(options).await.context("the cluster didn't start")?;
    println!("{}", cluster.kubeconfig_path().display());
    tokio::select! {
        _ = term.recv() => {}
        stopped = tokio::signal::ctrl_c() => stopped.context("Ctrl-C")?,
    }
    cluster.stop().await;
    Ok(())
}
