//! What a benchmark runs on: the simulated cluster, nats-server that flushes every write, receivers, and the services it needs.
//!
//! Guarantees: everything on loopback; all of it ends when the stage is dropped. No Prometheus and no Alertmanager: alerts are posted to
//! alert-ingest directly, as they are to the program that lastgood is compared with, and nothing else takes the machine's time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use testbed::nats::{Nats, NatsOptions};
use testbed::ports;
use testbed::receivers::{PagerDuty, Slack, Webhook};
use testbed::services::{Binaries, Service};
use testbed::sim::{SimCluster, SimOptions};
use testbed::storm::Target;

/// A bearer token, as every installation should have one.
const TOKEN: &str = "the-token-of-alertmanager";
const SLACK_TOKEN: &str = "xoxb-bench";

/// A stage that runs.
pub(crate) struct Stage {
    /// The bus.
    pub(crate) nats: Nats,
    /// The cluster.
    pub(crate) cluster: SimCluster,
    /// A client of it.
    pub(crate) client: kube::Client,
    /// The services by name.
    pub(crate) services: BTreeMap<&'static str, Service>,
    ingest: SocketAddr,
    http: reqwest::Client,
    _receivers: (PagerDuty, Slack, Webhook),
    dir: TempDir,
}

impl Stage {
    /// Brings it up with these services and this much more environment.
    pub(crate) async fn start(services: &[&'static str], more: &[(&str, &str)]) -> Result<Self> {
        Self::start_on(SimOptions::default(), services, more).await
    }

    /// The same, on a cluster like this.
    pub(crate) async fn start_on(cluster: SimOptions, services: &[&'static str], more: &[(&str, &str)]) -> Result<Self> {
        let dir = TempDir::with_prefix("lastgood-bench-").context("a directory for the benchmark")?;
        let binaries = Binaries::build().await.context("building the services")?;
        let cluster = SimCluster::start(cluster).await.context("the simulated cluster")?;
        let client = cluster.client().await.context("a client of the cluster")?;
        let nats = Nats::start(NatsOptions { sync_always: true, ..NatsOptions::default() }).await.context("nats-server")?;
        let receivers = (PagerDuty::start().await?, Slack::start_with_token(SLACK_TOKEN).await?, Webhook::start().await?);
        let ingest = loopback()?;
        let mut env = environment(&receivers);
        let mut set = |key: &str, value: String| env.insert(format!("LASTGOOD_{key}"), value);
        set("NATS__URLS", nats.url());
        set("KUBERNETES__KUBECONFIG", cluster.kubeconfig_path().display().to_string());
        set("INGEST__LISTEN", ingest.to_string());
        set("INGEST__BEARER_TOKEN", TOKEN.to_owned());
        for (key, value) in more {
            set(key, (*value).to_owned());
        }
        let services = start(services, &binaries, &env, dir.path()).await?;
        Ok(Self { nats, cluster, client, services, ingest, http: http()?, _receivers: receivers, dir })
    }

    /// Posts a notification to alert-ingest over a connection that is kept, as Alertmanager keeps its own; done when it was accepted.
    pub(crate) async fn post(&self, notification: &Value) -> Result<()> {
        self.post_bytes(notification.to_string().into_bytes()).await
    }

    /// [`Stage::post`] of a body that is ready.
    pub(crate) async fn post_bytes(&self, body: Vec<u8>) -> Result<()> {
        let url = format!("http://{}/v1/alerts/alertmanager", self.ingest);
        let request = self.http.post(url).bearer_auth(TOKEN).header("Content-Type", "application/json").body(body);
        let answer = request.send().await.context("posting the alert")?;
        let (status, said) = (answer.status(), answer.text().await.unwrap_or_default());
        ensure!(status.is_success(), "alert-ingest: {status} {said}");
        Ok(())
    }

    /// Where a storm of alerts goes.
    pub(crate) fn storm_target(&self) -> Result<Target> {
        // A group of ten thousand takes longer than the benchmarks' usual requests may.
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().context("an HTTP client")?;
        Ok(Target { ingest: format!("http://{}", self.ingest), token: TOKEN.to_owned(), http })
    }

    /// What the services warned of last, for a failure's message.
    pub(crate) fn last_words(&self) -> String {
        let troubled = self.services.iter().filter_map(|(name, service)| {
            let log = std::fs::read_to_string(service.process().log()).unwrap_or_default();
            let lines: Vec<_> = log.lines().filter(|line| line.contains(" WARN ") || line.contains("ERROR")).collect();
            let last = lines[lines.len().saturating_sub(8)..].join("\n    ");
            (!last.is_empty()).then(|| format!("\n  {name}:\n    {last}"))
        });
        format!("the services' last warnings:{}", troubled.collect::<String>())
    }

    /// How long the services say that their steps took: every histogram in seconds, as count and mean.
    pub(crate) async fn timings(&self) -> Result<String> {
        let mut text = String::new();
        for (name, service) in &self.services {
            let metrics = service.metrics().await.with_context(|| format!("metrics of {name}"))?;
            let value = |line: &str| line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok());
            for line in metrics.lines().filter(|line| line.contains("_seconds_sum")) {
                let series = line.rsplit_once(' ').map_or(line, |(series, _)| series);
                let counted = series.replace("_seconds_sum", "_seconds_count");
                let count = metrics.lines().find(|line| line.rsplit_once(' ').is_some_and(|(other, _)| other == counted));
                if let (Some(sum), Some(count)) = (value(line), count.and_then(value)) {
                    let series = series.replace("_seconds_sum", "");
                    text.push_str("\n  ");
                    text.push_str(&[name, " ", &series].concat());
                    // Writing to a string can't fail.
                    let _ = write!(text, ": {count} times, {:.1} ms in the mean", sum / count * 1000.0);
                }
            }
        }
        Ok(text)
    }

    /// The directory for logs and files.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Ends the services in order, then the rest.
    pub(crate) async fn stop(self) {
        for service in self.services.values() {
            // One that does not end in time is killed; the chassis' tests look at that.
            let _ = service.terminate(Duration::from_secs(10)).await;
        }
        self.cluster.stop().await;
    }
}

/// The HTTP client of both sides: no proxies, kept connections, 10 s a request.
pub(crate) fn http() -> Result<reqwest::Client> {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().context("an HTTP client")
}

/// A free address on loopback.
pub(crate) fn loopback() -> Result<SocketAddr> {
    Ok(SocketAddr::from(([127, 0, 0, 1], ports::free()?)))
}

/// The wall clock, which is the one clock of all parts of a benchmark.
#[expect(clippy::disallowed_methods, reason = "what is measured is stamped by the clock of this machine in several processes")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// What all services get; each ignores the sections of the others.
fn environment((pagerduty, slack, webhook): &(PagerDuty, Slack, Webhook)) -> BTreeMap<String, String> {
    let pairs = [
        ("TELEMETRY__LOG", "info".to_owned()),
        // No limit that a benchmark's many rollbacks would meet; everything else is as it is installed.
        ("ORCHESTRATOR__MASS_FAILURE__WORKLOADS", "1000000".to_owned()),
        ("ORCHESTRATOR__SOAK", "0s".to_owned()),
        ("VERIFIER__STABILISATION", "500ms".to_owned()),
        ("VERIFIER__LOOK_EVERY", "250ms".to_owned()),
        ("NOTIFIER__PAGERDUTY__BASE_URL", pagerduty.url()),
        ("NOTIFIER__PAGERDUTY__ON_CALL_ROUTING_KEY", "on_call".repeat(4) + "0000"),
        ("NOTIFIER__PAGERDUTY__TEAM_LEAD_ROUTING_KEY", "teamlead".repeat(4)),
        ("NOTIFIER__SLACK__BASE_URL", slack.url()),
        ("NOTIFIER__SLACK__TOKEN", SLACK_TOKEN.to_owned()),
        ("NOTIFIER__SLACK__CHANNEL", "C0INCIDENTS".to_owned()),
        ("NOTIFIER__WEBHOOK", format!("[{{url: '{}/lastgood', secret: 'a-shared-secret'}}]", webhook.url())),
    ];
    pairs.into_iter().map(|(key, value)| (format!("LASTGOOD_{key}"), value)).collect()
}

async fn start(
    names: &[&'static str],
    binaries: &Binaries,
    env: &BTreeMap<String, String>,
    dir: &Path,
) -> Result<BTreeMap<&'static str, Service>> {
    let starting = names.iter().map(|&name| async move {
        let admin = loopback()?;
        let mut env: Vec<_> = env.clone().into_iter().collect();
        env.push(("LASTGOOD_ADMIN__LISTEN".to_owned(), admin.to_string()));
        let service = Service::start(&format!("lastgood-{name}"), binaries, env, dir, admin).await;
        anyhow::Ok((name, service.with_context(|| format!("starting {name}"))?))
    });
    Ok(futures::future::try_join_all(starting).await?.into_iter().collect())
}
