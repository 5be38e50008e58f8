//! An alert storm through the real alert-ingest and orchestrator: nothing lost, nothing twice, and the mass failure brake holds.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use testbed::nats::{Nats, NatsOptions};
use testbed::ports;
use testbed::services::{Binaries, Service};
use testbed::sim::{SimCluster, SimOptions};
use testbed::storm::{Storm, Target};
use tokio::time::Instant;

/// For each step and a thousand workloads: several times what a busy machine needs.
const PATIENCE: Duration = Duration::from_mins(8);
/// What alert-ingest takes at once; an Alertmanager is told so by `max_alerts`.
const GROUP: usize = 10_000;
/// The brake's limit, as it is installed.
const BRAKE: usize = 10;
const TOKEN: &str = "the-token-of-alertmanager";

async fn service(name: &str, env: &[(&str, String)], binaries: &Binaries, dir: &TempDir) -> Result<Service> {
    let admin = SocketAddr::from(([127, 0, 0, 1], ports::free()?));
    let mut env: Vec<_> = env.iter().map(|(key, value)| (format!("LASTGOOD_{key}"), value.clone())).collect();
    env.push(("LASTGOOD_ADMIN__LISTEN".to_owned(), admin.to_string()));
    Service::start(name, binaries, env, dir.path(), admin).await.with_context(|| format!("starting {name}"))
}

/// How many workloads fail: a thousand, five thousand at depth, or as many as `LASTGOOD_STORM_WORKLOADS` says.
fn workloads() -> usize {
    let said = std::env::var("LASTGOOD_STORM_WORKLOADS").ok().and_then(|text| text.parse().ok());
    let deep = std::env::var("LASTGOOD_DEPTH").is_ok_and(|depth| depth == "deep");
    said.unwrap_or(if deep { 5000 } else { 1000 })
}

/// What a service warned of last.
fn last_words(service: &Service) -> String {
    let log = std::fs::read_to_string(service.process().log()).unwrap_or_default();
    let lines: Vec<_> = log.lines().filter(|line| line.contains(" WARN ") || line.contains("ERROR")).collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_alerts_of_a_thousand_workloads_told_by_two_alertmanagers_over_and_over() -> Result<()> {
    let storm = Storm { workloads: workloads(), alerts: 10 };
    let patience = PATIENCE.saturating_mul(u32::try_from(storm.workloads.div_ceil(1000))?);
    let dir = TempDir::with_prefix("lastgood-storm-")?;
    let binaries = Binaries::build().await?;
    let cluster = SimCluster::start(SimOptions::default()).await?;
    let nats = Nats::start(NatsOptions { sync_always: true, ..NatsOptions::default() }).await?;
    let ingest = SocketAddr::from(([127, 0, 0, 1], ports::free()?));
    let env = [
        ("NATS__URLS", nats.url()),
        ("KUBERNETES__KUBECONFIG", cluster.kubeconfig_path().display().to_string()),
        ("INGEST__LISTEN", ingest.to_string()),
        ("INGEST__BEARER_TOKEN", TOKEN.to_owned()),
        // So that a repeat is stored again, as after minutes.
        ("INGEST__REPEAT_WINDOW", "1s".to_owned()),
        ("ORCHESTRATOR__MASS_FAILURE__WORKLOADS", BRAKE.to_string()),
    ];
    let alert_ingest = service("lastgood-alert-ingest", &env, &binaries, &dir).await?;
    let orchestrator = service("lastgood-orchestrator", &env, &binaries, &dir).await?;
    let began = Instant::now();
    let step = |what: &str| eprintln!("{what} after {:.1?}", began.elapsed());
    storm.prepare(&cluster.client().await?, &nats.url(), "default").await?;
    storm.seen(&nats.url(), patience).await.with_context(|| last_words(&orchestrator))?;
    step(&format!("{} Deployments seen", storm.workloads));

    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
    let target = Target { ingest: format!("http://{ingest}"), token: TOKEN.to_owned(), http };
    let starts_at = now();
    for told in ["told", "told again"] {
        let (each, all) = tokio::try_join!(
            target.post_all(storm.by_workload(&starts_at), 8),
            target.post_all(storm.in_one_group(&starts_at, GROUP), 1)
        )
        .with_context(|| last_words(&alert_ingest))?;
        let slowest = each.iter().max().copied().unwrap_or_default();
        step(&format!("{told}: a group of ten took at most {slowest:.1?}, the largest group {:.1?};", all.iter().max()));
    }
    storm.settled(&nats.url(), patience).await.with_context(|| last_words(&orchestrator))?;
    step("all disposed of and decided");
    for process in [alert_ingest.process(), orchestrator.process(), nats.process()] {
        let cpu = process.cpu_time().unwrap_or_default();
        eprintln!("{}: {cpu:.1?} of CPU, at most {} KiB resident", process.name(), process.peak_kib().unwrap_or_default());
    }
    let tally = storm.tally(&nats.url()).await?;
    eprintln!("{tally:?}");
    storm.judge(&tally, BRAKE).with_context(|| last_words(&orchestrator))?;
    for service in [alert_ingest, orchestrator] {
        let status = service.terminate(Duration::from_secs(20)).await?;
        assert!(status.success(), "{status}");
    }
    cluster.stop().await;
    Ok(())
}

/// The clock that all parts of the test share.
#[expect(clippy::disallowed_methods, reason = "alerts begin after the Deployments were made, by this machine's clock")]
fn now() -> String {
    jiff::Timestamp::now().to_string()
}
