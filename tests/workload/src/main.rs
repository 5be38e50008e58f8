//! The test workload as a binary for a real cluster's image: reads `PORT`, `VERSION`, `BEHAVIOUR`, `BEHAVIOUR_FILE`,
//! `HOSTNAME` and `READY_BEFORE`.
//!
//! Built statically (`-C target-feature=+crt-static`). SIGTERM ends it at once with exit code 0.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use workload::{Identity, Steering, serve};

fn var(name: &str, default: &str) -> String {
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
}

/// What the file says at the moment, where there is one.
fn steering() -> Steering {
    let file = var("BEHAVIOUR_FILE", "");
    Arc::new(move || {
        let text = std::fs::read_to_string(&file).ok().filter(|_| !file.is_empty())?;
        text.trim().parse().ok()
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let port: u16 = var("PORT", "8080").parse().context("PORT is not a port")?;
    let identity = Identity {
        version: var("VERSION", "v1"),
        behaviour: var("BEHAVIOUR", "healthy").parse().context("BEHAVIOUR")?,
        pod: var("HOSTNAME", "workload"),
        ready_before: var("READY_BEFORE", "").parse().ok(),
    };
    // As the first process of a container, SIGTERM does nothing unless somebody listens for it.
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).context("SIGTERM")?;
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let listener = tokio::net::TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))?;
    tokio::select! {
        code = serve(listener, identity, steering(), Arc::new(|line: &str| println!("{line}"))) => Ok(ExitCode::from(code)),
        _ = term.recv() => Ok(ExitCode::SUCCESS),
    }
}
