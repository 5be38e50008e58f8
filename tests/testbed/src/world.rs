//! The whole world on one machine: a cluster, nats-server, Prometheus, Alertmanager, receivers, and lastgood's five services.
//!
//! Guarantees: everything is the real thing, but for the cluster where none is given; all of it ends when the world is dropped.
//! Deadlines are short, so that a test of a long wait is short too. It must never reach beyond this machine and the given cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::alertmanager::{Alertmanager, AlertmanagerOptions};
use crate::app::{App, AppOptions};
use crate::ground::Ground;
use crate::journal::Journal;
use crate::nats::{Nats, NatsOptions};
use crate::ports;
use crate::process::lock;
use crate::prometheus::{Prometheus, PrometheusOptions};
use crate::receivers::{PagerDuty, Slack, Webhook};
use crate::services::{Binaries, Service};

/// The services, in the order in which they start.
pub const SERVICES: [&str; 5] = ["alert-ingest", "orchestrator", "executor", "verifier", "notifier"];

const INGEST_TOKEN: &str = "the-token-of-alertmanager";
const SLACK_TOKEN: &str = "xoxb-testbed";
/// How many workloads may fail at once before lastgood takes it for something else than bad deploys.
const MASS_FAILURE: usize = 12;

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct WorldOptions {
    /// The real cluster to run on; `None`: the simulated one. By default what `LASTGOOD_E2E_KUBECONFIG` says.
    pub kubeconfig: Option<PathBuf>,
    /// More environment for all services (`LASTGOOD_…`).
    pub env: BTreeMap<String, String>,
    /// How many workloads may fail within a minute before the brake holds; large where scenarios run side by side.
    pub mass_failure: usize,
    /// The test workload's tags that a real cluster is given beforehand.
    pub tags: Vec<&'static str>,
    /// Two Alertmanagers that gossip, as in production, instead of one.
    pub alertmanager_pair: bool,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self {
            kubeconfig: std::env::var_os("LASTGOOD_E2E_KUBECONFIG").filter(|path| !path.is_empty()).map(PathBuf::from),
            env: BTreeMap::new(),
            mass_failure: 100,
            tags: vec![
                "v1",
                "v3",
                "v1-failing",
                "v2-failing",
                "v3-failing",
                "v1-never-ready",
                "v2-never-ready",
                "v2-crashing",
                "v1-unhealthy-smoke",
            ],
            alertmanager_pair: true,
        }
    }
}

impl WorldOptions {
    /// A world in which the mass-failure brake is within a test's reach.
    #[must_use]
    pub fn with_mass_failure_brake(mut self) -> Self {
        self.mass_failure = MASS_FAILURE;
        self
    }
}

/// A world that runs.
pub struct World {
    /// The log as a test reads it.
    pub journal: Journal,
    /// The cluster.
    pub ground: Ground,
    /// The bus.
    pub nats: Nats,
    /// The metrics.
    pub prometheus: Prometheus,
    /// The first Alertmanager.
    pub alertmanager: Alertmanager,
    /// Its peer.
    pub peer: Option<Alertmanager>,
    /// The pager.
    pub pagerduty: PagerDuty,
    /// The chat.
    pub slack: Slack,
    /// Who subscribed by webhook.
    pub webhook: Webhook,
    /// A client of the cluster.
    pub client: kube::Client,
    pub(crate) services: BTreeMap<&'static str, Service>,
    pub(crate) binaries: Binaries,
    pub(crate) ingest: SocketAddr,
    pub(crate) options: WorldOptions,
    pub(crate) env: BTreeMap<String, String>,
    run: String,
    named: AtomicU32,
    apps: Mutex<Vec<App>>,
    dir: TempDir,
}

impl World {
    /// Brings it up; a minute at most, but for a first build and downloads.
    pub async fn start(options: WorldOptions) -> Result<Self> {
        let dir = TempDir::with_prefix("lastgood-world-").context("a directory for the world")?;
        let binaries = Binaries::build().await.context("building the services")?;
        let (ground, nats) = tokio::try_join!(Ground::start(&options), async {
            Nats::start(NatsOptions { sync_always: true, ..NatsOptions::default() }).await.context("nats-server")
        })?;
        let client = ground.client().await?;
        let (pagerduty, slack, webhook) =
            (PagerDuty::start().await?, Slack::start_with_token(SLACK_TOKEN).await?, Webhook::start().await?);
        let ingest = loopback()?;
        let (alertmanager, peer) = alertmanagers(ingest, &options).await?;
        let alertmanager_urls = std::iter::once(&alertmanager).chain(&peer).map(Alertmanager::url).collect();
        let prometheus = Prometheus::start(PrometheusOptions {
            kubeconfig: Some(ground.kubeconfig()),
            alertmanager_urls,
            ..PrometheusOptions::default()
        })
        .await
        .context("Prometheus")?;
        let mut env = environment(&options);
        let mut set = |key: &str, value: String| env.insert(format!("LASTGOOD_{key}"), value);
        set("NATS__URLS", nats.url());
        set("KUBERNETES__KUBECONFIG", ground.kubeconfig().display().to_string());
        set("INGEST__LISTEN", ingest.to_string());
        set("INGEST__BEARER_TOKEN", INGEST_TOKEN.to_owned());
        set("VERIFIER__PROMETHEUS__URL", prometheus.url());
        set("NOTIFIER__PAGERDUTY__BASE_URL", pagerduty.url());
        set("NOTIFIER__PAGERDUTY__ON_CALL_ROUTING_KEY", "on_call".repeat(4) + "0000");
        set("NOTIFIER__PAGERDUTY__TEAM_LEAD_ROUTING_KEY", "teamlead".repeat(4));
        set("NOTIFIER__SLACK__BASE_URL", slack.url());
        set("NOTIFIER__SLACK__TOKEN", SLACK_TOKEN.to_owned());
        set("NOTIFIER__SLACK__CHANNEL", "C0INCIDENTS".to_owned());
        set("NOTIFIER__WEBHOOK", format!("[{{url: '{}/lastgood', secret: 'a-shared-secret'}}]", webhook.url()));
        let services = start_services(&binaries, &env, &dir).await?;
        let journal = Journal::follow(&nats.url()).await?;
        let run = format!("{:x}{:04x}", std::process::id(), ports::free()?);
        Ok(Self {
            journal,
            ground,
            nats,
            prometheus,
            alertmanager,
            peer,
            pagerduty,
            slack,
            webhook,
            client,
            services,
            binaries,
            ingest,
            options,
            env,
            run,
            named: AtomicU32::new(0),
            apps: Mutex::default(),
            dir,
        })
    }

    /// An application in a namespace of its own; nothing runs yet.
    pub async fn app(&self, name: &str, options: AppOptions) -> Result<App> {
        let namespace = format!("{name}-{}-{}", self.run, self.named.fetch_add(1, Ordering::Relaxed));
        let app = App::create(self.client.clone(), &namespace, name, options).await?;
        lock(&self.apps).push(app.clone());
        Ok(app)
    }

    /// Where alert-ingest takes alerts and acknowledgements.
    #[must_use]
    pub fn ingest_url(&self) -> String {
        format!("http://{}", self.ingest)
    }

    /// The bearer token of alert-ingest.
    #[must_use]
    pub fn ingest_token(&self) -> &'static str {
        INGEST_TOKEN
    }

    /// A service by its name in [`SERVICES`].
    pub fn service(&self, name: &str) -> Result<&Service> {
        self.services.get(name).with_context(|| format!("no service `{name}`"))
    }

    /// SIGKILL to a service.
    pub async fn kill(&self, name: &str) -> Result<()> {
        Ok(self.service(name)?.kill().await?)
    }

    /// Starts a service again, and waits until it is ready.
    pub async fn restart(&self, name: &str) -> Result<()> {
        Ok(self.service(name)?.restart().await?)
    }

    /// How many workloads may fail before the brake holds.
    #[must_use]
    pub fn mass_failure_limit(&self) -> usize {
        self.options.mass_failure
    }

    /// Where the services' logs are, for a failure's last words.
    #[must_use]
    pub fn epilogue(&self) -> String {
        let troubled = self.services.iter().filter_map(|(name, service)| {
            let log = std::fs::read_to_string(service.process().log()).unwrap_or_default();
            let lines: Vec<_> = log.lines().filter(|line| line.contains(" WARN ") || line.contains("ERROR")).collect();
            let last = lines.iter().rev().take(8).rev().copied().collect::<Vec<_>>().join("\n    ");
            (!last.is_empty()).then(|| format!("\n  {name}:\n    {last}"))
        });
        let words = troubled.collect::<String>();
        if words.is_empty() { words } else { format!("\nthe services' last warnings:{words}") }
    }

    /// Ends the services in order, removes what was deployed on a real cluster, then ends the rest.
    pub async fn stop(self) {
        for service in self.services.values() {
            // A service that does not end in time is killed, which the tests of the chassis look at.
            let _ = service.terminate(Duration::from_secs(10)).await;
        }
        if self.ground.simulated().is_none() {
            let apps = lock(&self.apps).clone();
            if let Err(error) = remove(&apps).await {
                eprintln!("namespaces were left behind: {error:#}");
            }
        }
        self.ground.stop().await;
        drop(self.dir);
    }

    /// The directory that the world lives in.
    #[must_use]
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }
}

/// Removes the applications, and waits until their pods have gone, so that the next world finds the cluster as this one did.
async fn remove(apps: &[App]) -> Result<()> {
    for app in apps {
        app.remove().await?;
    }
    for app in apps {
        app.gone(Duration::from_mins(2)).await?;
    }
    Ok(())
}

fn loopback() -> Result<SocketAddr> {
    Ok(SocketAddr::from(([127, 0, 0, 1], ports::free()?)))
}

async fn alertmanagers(ingest: SocketAddr, options: &WorldOptions) -> Result<(Alertmanager, Option<Alertmanager>)> {
    let mut wanted = AlertmanagerOptions::new(format!("http://{ingest}/v1/alerts/alertmanager"));
    wanted.bearer_token = Some(INGEST_TOKEN.to_owned());
    wanted.repeat_interval = Duration::from_secs(5);
    if options.alertmanager_pair {
        let (first, second) = Alertmanager::start_pair(wanted).await.context("two Alertmanagers")?;
        Ok((first, Some(second)))
    } else {
        Ok((Alertmanager::start(wanted).await.context("Alertmanager")?, None))
    }
}

/// How long a version has to stand to be good: short, because somebody waits for it.
pub const SOAK: &str = "2s";

/// What all services get; each ignores the sections of the others.
fn environment(options: &WorldOptions) -> BTreeMap<String, String> {
    let mass_failure = options.mass_failure.to_string();
    let defaults = [
        ("LASTGOOD_TELEMETRY__LOG", "info"),
        ("LASTGOOD_KUBERNETES__FINGERPRINT_KEY", "the key of the testbed's installation"),
        ("LASTGOOD_ORCHESTRATOR__MASS_FAILURE__WORKLOADS", mass_failure.as_str()),
        ("LASTGOOD_ORCHESTRATOR__MASS_FAILURE__WINDOW", "60s"),
        ("LASTGOOD_ORCHESTRATOR__SOAK", SOAK),
        ("LASTGOOD_ORCHESTRATOR__DEADLINES__DECIDE", "20s"),
        ("LASTGOOD_ORCHESTRATOR__DEADLINES__ANNOUNCE", "3s"),
        ("LASTGOOD_ORCHESTRATOR__DEADLINES__START", "30s"),
        ("LASTGOOD_ORCHESTRATOR__DEADLINES__ROLLBACK", "45s"),
        ("LASTGOOD_ORCHESTRATOR__DEADLINES__VERIFY", "45s"),
        ("LASTGOOD_ORCHESTRATOR__DEADLINES__RESOLVE", "30s"),
        ("LASTGOOD_ORCHESTRATOR__DEADLINES__ACKNOWLEDGE", "15s"),
        ("LASTGOOD_ORCHESTRATOR__DEADLINES__NOTIFY", "20s"),
        ("LASTGOOD_VERIFIER__STABILISATION", "2s"),
        ("LASTGOOD_VERIFIER__PROMETHEUS__POLL", "1s"),
        ("LASTGOOD_DETECTOR__GRACE", "1s"),
    ];
    let mut env: BTreeMap<_, _> = defaults.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    env.extend(options.env.clone());
    env
}

async fn start_services(
    binaries: &Binaries,
    env: &BTreeMap<String, String>,
    dir: &TempDir,
) -> Result<BTreeMap<&'static str, Service>> {
    let starting = SERVICES.map(|name| async move {
        let admin = loopback()?;
        let mut env: Vec<_> = env.clone().into_iter().collect();
        env.push(("LASTGOOD_ADMIN__LISTEN".to_owned(), admin.to_string()));
        let service = Service::start(&format!("lastgood-{name}"), binaries, env, dir.path(), admin)
            .await
            .with_context(|| format!("starting {name}"))?;
        anyhow::Ok((name, service))
    });
    Ok(futures::future::try_join_all(starting).await?.into_iter().collect())
}
