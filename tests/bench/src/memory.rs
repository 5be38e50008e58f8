//! The resident memory of each service that has nothing to do: on an empty cluster, and on one with 50 Deployments.
//!
//! Guarantee: what the kernel counts (`VmRSS`), programs and shared libraries included. Must not: pass a service at the limit or above.

use std::time::Duration;

use anyhow::{Context as _, Result};
use testbed::app::{App, AppOptions};
use testbed::world::SERVICES;

use crate::stage::Stage;
use crate::{Outcome, table};

/// What each service has to stay below, MiB.
const LIMIT: f64 = 30.0;
/// How long a service runs before it is measured.
const IDLE: Duration = Duration::from_secs(20);
/// How many Deployments the larger cluster has, and in how many namespaces.
const DEPLOYMENTS: usize = 50;
const NAMESPACES: usize = 5;

/// Measures.
pub(crate) async fn run() -> Result<Outcome> {
    eprintln!("memory: an empty cluster, then one with {DEPLOYMENTS} Deployments, {} s each", IDLE.as_secs());
    let empty = measure(0).await.context("on an empty cluster")?;
    let full = measure(DEPLOYMENTS).await.context("on a cluster with Deployments")?;
    let rows: Vec<_> = SERVICES
        .iter()
        .zip(empty.iter().zip(&full))
        .map(|(name, (empty, full))| {
            [format!("lastgood-{name}"), format!("{empty:.1}"), format!("{full:.1}"), verdict(empty.max(*full)).to_owned()]
        })
        .collect();
    let good = empty.iter().chain(&full).all(|mib| *mib < LIMIT);
    let head = ["idle service", "empty cluster, MiB", "50 Deployments, MiB", "below 30 MiB"];
    let text = format!(
        "## Idle memory\n\nResident (`VmRSS`) after {} s without work, release mode, JetStream and the simulated cluster connected.\n\n{}",
        IDLE.as_secs(),
        table::render(head, &rows)
    );
    Ok(Outcome { text, good })
}

const fn verdict(mib: f64) -> &'static str {
    if mib < LIMIT { "yes" } else { "NO" }
}

/// MiB of each service, in the order of [`SERVICES`].
async fn measure(deployments: usize) -> Result<Vec<f64>> {
    let stage = Stage::start(&SERVICES, &[]).await?;
    for number in 0..deployments {
        let options = AppOptions { replicas: 1, ..AppOptions::default() };
        let namespace = format!("idle-{}", number % NAMESPACES);
        let app = App::create(stage.client.clone(), &namespace, &format!("app-{number}"), options).await?;
        app.deploy("v1").await?;
        if number + 1 == deployments {
            app.available(Duration::from_mins(1)).await?;
        }
    }
    // Not for luck: being idle for this long is what is measured.
    tokio::time::sleep(IDLE).await;
    let measured = SERVICES.iter().map(|name| {
        let kib = stage.services.get(name).and_then(|service| service.process().rss_kib());
        kib.map(mib).with_context(|| format!("{name} does not run any more"))
    });
    let measured = measured.collect::<Result<Vec<_>>>();
    stage.stop().await;
    measured
}

/// KiB as MiB.
fn mib(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
}
