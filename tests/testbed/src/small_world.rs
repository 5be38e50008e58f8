//! A small world for one scenario: its own nats-server, a simulated cluster, receivers and a stand-in for Prometheus in this process, and
//! the five services as real processes, each behind a proxy of its own on its connection to NATS (and executors on theirs to the cluster).
//!
//! Guarantees: it comes up in a second or two, so that there can be one a scenario and several side by side; alerts are posted to
//! alert-ingest as Alertmanager does it, until they are taken. Must not: share anything with another world, or reach beyond this machine.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream;
use futures::future::try_join_all;
use tempfile::TempDir;

use crate::journal::Journal;
use crate::nats::{Nats, NatsCluster, NatsOptions};
use crate::ports;
use crate::proxy::http::HttpProxy;
use crate::proxy::nats::NatsProxy;
use crate::receivers::{PagerDuty, PrometheusStandIn, Slack, Webhook};
use crate::services::{Binaries, Service};
use crate::sim::{SimCluster, SimOptions};
use crate::world::SERVICES;

const SLACK_TOKEN: &str = "xoxb-testbed";
const INGEST_TOKEN: &str = "the-token-of-alertmanager";

/// What a small world is made of.
#[derive(Debug, Clone)]
pub struct SmallWorldOptions {
    /// More environment for all services, without `LASTGOOD_`.
    pub env: BTreeMap<String, String>,
    /// Processes of each service.
    pub replicas: usize,
    /// 1, or 3 for a NATS cluster with R3 streams (then no service is behind a proxy).
    pub nats_nodes: usize,
    /// Whether the verifier knows a Prometheus.
    pub prometheus: bool,
}

impl Default for SmallWorldOptions {
    fn default() -> Self {
        Self { env: BTreeMap::new(), replicas: 1, nats_nodes: 1, prometheus: false }
    }
}

impl SmallWorldOptions {
    /// With this much more environment for all services.
    #[must_use]
    pub fn with_env(mut self, env: &[(&str, &str)]) -> Self {
        self.env.extend(env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        self
    }
}

/// The bus of a small world.
#[derive(Debug)]
pub enum BusServer {
    /// One node.
    Single(Nats),
    /// Three.
    Cluster(NatsCluster),
}

impl BusServer {
    /// The clients' addresses.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Single(nats) => nats.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    /// The same, one by one.
    fn addresses(&self) -> Result<Vec<async_nats::ServerAddr>> {
        self.url().split(',').map(|url| url.parse().context("an address of NATS")).collect()
    }

    /// The one node.
    pub fn single(&self) -> Result<&Nats> {
        match self {
            Self::Single(nats) => Ok(nats),
            Self::Cluster(_) => anyhow::bail!("this world has a NATS cluster"),
        }
    }

    /// The three nodes.
    pub fn cluster(&self) -> Result<&NatsCluster> {
        match self {
            Self::Cluster(cluster) => Ok(cluster),
            Self::Single(_) => anyhow::bail!("this world has one NATS node"),
        }
    }
}

/// One process of a service.
#[derive(Debug)]
pub struct Instance {
    /// The process.
    pub service: Service,
    /// The proxy on its connection to NATS.
    pub nats: Option<NatsProxy>,
    /// The proxy on an executor's connections to the API server.
    pub api: Option<HttpProxy>,
    /// Where alert-ingest listens.
    pub(crate) ingest: Option<SocketAddr>,
}

impl Instance {
    /// The proxy on its connection to NATS.
    pub fn nats(&self) -> Result<&NatsProxy> {
        self.nats.as_ref().context("no proxy: this world has a NATS cluster")
    }

    /// The proxy on its connections to the API server.
    pub fn api(&self) -> Result<&HttpProxy> {
        self.api.as_ref().context("only executors have a proxy on the API server")
    }
}

/// A small world that runs.
pub struct SmallWorld {
    /// The log as a test reads it.
    pub journal: Journal,
    /// The cluster.
    pub cluster: SimCluster,
    /// A client of it.
    pub client: kube::Client,
    /// The bus.
    pub bus: BusServer,
    /// JetStream on it, for what a test has to look up.
    pub jetstream: jetstream::Context,
    /// The pager.
    pub pagerduty: PagerDuty,
    /// The chat.
    pub slack: Slack,
    /// Who subscribed by webhook.
    pub webhook: Webhook,
    /// What the verifier asks, where it knows a Prometheus.
    pub prometheus: PrometheusStandIn,
    instances: BTreeMap<&'static str, Vec<Instance>>,
    dir: TempDir,
}

/// What instances are started with.
struct Setting<'a> {
    binaries: &'a Binaries,
    env: &'a BTreeMap<String, String>,
    bus: &'a BusServer,
    cluster: &'a SimCluster,
    dir: &'a Path,
}

impl SmallWorld {
    /// Brings it up.
    pub async fn start(options: SmallWorldOptions) -> Result<Self> {
        // On the heap: scenarios hold this future in theirs, several side by side.
        Box::pin(Self::bring_up(options)).await
    }

    async fn bring_up(options: SmallWorldOptions) -> Result<Self> {
        let dir = TempDir::with_prefix("lastgood-small-").context("a directory for the world")?;
        let binaries = Binaries::build().await.context("building the services")?;
        let sim = SimOptions { termination: Duration::from_millis(100), ..SimOptions::default() };
        let (cluster, bus) = tokio::try_join!(async { SimCluster::start(sim).await.context("the cluster") }, bus(&options))?;
        let client = cluster.client().await.context("a client of the cluster")?;
        let (pagerduty, slack) = (PagerDuty::start().await?, Slack::start_with_token(SLACK_TOKEN).await?);
        let (webhook, prometheus) = (Webhook::start().await?, PrometheusStandIn::start().await?);
        let mut env = environment(&options);
        let mut set = |key: &str, value: String| env.insert(key.to_owned(), value);
        set("NOTIFIER__PAGERDUTY__BASE_URL", pagerduty.url());
        set("NOTIFIER__SLACK__BASE_URL", slack.url());
        set("NOTIFIER__WEBHOOK", format!("[{{url: '{}/lastgood', secret: 'a-shared-secret'}}]", webhook.url()));
        if options.prometheus {
            set("VERIFIER__PROMETHEUS__URL", prometheus.url());
        }
        let setting = Setting { binaries: &binaries, env: &env, bus: &bus, cluster: &cluster, dir: dir.path() };
        let starting = SERVICES.map(|name| {
            let setting = &setting;
            async move {
                let replicas = (0..options.replicas).map(|index| instance(setting, name, index));
                anyhow::Ok((name, try_join_all(replicas).await.with_context(|| format!("starting {name}"))?))
            }
        });
        let instances: BTreeMap<_, _> = try_join_all(starting).await?.into_iter().collect();
        let journal = Journal::follow(&bus.url()).await?;
        let jetstream = jetstream::new(async_nats::connect(bus.addresses()?).await.context("the test's own connection to NATS")?);
        Ok(Self { journal, cluster, client, bus, jetstream, pagerduty, slack, webhook, prometheus, instances, dir })
    }

    /// The first process of a service.
    pub fn of(&self, service: &str) -> Result<&Instance> {
        self.replica(service, 0)
    }

    /// A process of a service, by its number from 0.
    pub fn replica(&self, service: &str, index: usize) -> Result<&Instance> {
        self.instances.get(service).and_then(|all| all.get(index)).with_context(|| format!("no process {index} of `{service}`"))
    }

    /// All processes, with their services' names.
    pub fn instances(&self) -> impl Iterator<Item = (&'static str, &Instance)> {
        self.instances.iter().flat_map(|(name, all)| all.iter().map(|instance| (*name, instance)))
    }

    /// SIGKILL to the first process of a service, and a new one in its place that is ready.
    pub async fn kill_and_restart(&self, service: &str) -> Result<()> {
        let instance = self.of(service)?;
        instance.service.kill().await?;
        Ok(instance.service.restart().await?)
    }

    /// Where the first alert-ingest takes alerts, and the other ones.
    pub fn ingest_urls(&self) -> Vec<String> {
        self.instances().filter_map(|(_, instance)| instance.ingest).map(|address| format!("http://{address}")).collect()
    }

    /// The bearer token of alert-ingest.
    #[must_use]
    pub const fn ingest_token(&self) -> &'static str {
        INGEST_TOKEN
    }

    /// The services' last warnings, for a failure's last words.
    #[must_use]
    pub fn epilogue(&self) -> String {
        let troubled = self.instances().filter_map(|(name, instance)| {
            let log = std::fs::read_to_string(instance.service.process().log()).unwrap_or_default();
            let lines: Vec<_> = log.lines().filter(|line| line.contains(" WARN ") || line.contains("ERROR")).collect();
            let last = lines.iter().rev().take(8).rev().copied().collect::<Vec<_>>().join("\n    ");
            (!last.is_empty()).then(|| format!("\n  {name}:\n    {last}"))
        });
        let words = troubled.collect::<String>();
        if words.is_empty() { words } else { format!("\nthe services' last warnings:{words}") }
    }

    /// Keeps the logs for a person to look at, and says where.
    #[must_use]
    pub fn keep_logs(&self) -> Option<PathBuf> {
        let kept = std::env::var_os("LASTGOOD_KEEP_LOGS").map(PathBuf::from)?.join(self.dir.path().file_name()?);
        for (name, instance) in self.instances() {
            let log = instance.service.process().log().to_owned();
            let folder = kept.join(log.parent()?.file_name()?);
            // A log that can't be kept is not worth a failure: the test has failed already.
            let copied = std::fs::create_dir_all(&folder).and_then(|()| std::fs::copy(&log, folder.join(format!("{name}.log"))));
            copied.ok()?;
        }
        Some(kept)
    }

    /// Ends everything at once: what a service does when it is told to end is tested elsewhere.
    pub async fn stop(self) {
        drop(self.instances);
        self.cluster.stop().await;
    }
}

async fn bus(options: &SmallWorldOptions) -> Result<BusServer> {
    // Kills are of processes, not of the machine: what the kernel has is not lost, and many worlds flush at once otherwise.
    if options.nats_nodes == 1 {
        return Ok(BusServer::Single(Nats::start(NatsOptions::default()).await.context("nats-server")?));
    }
    let cluster = NatsCluster::start_with(options.nats_nodes, NatsOptions::default());
    Ok(BusServer::Cluster(cluster.await.context("a NATS cluster")?))
}

/// What all services get; each ignores the sections of the others.
fn environment(options: &SmallWorldOptions) -> BTreeMap<String, String> {
    let defaults = [
        ("TELEMETRY__LOG", "info"),
        ("INGEST__BEARER_TOKEN", INGEST_TOKEN),
        ("INGEST__REPEAT_WINDOW", "1s"),
        // Rollouts that fail by themselves are told of by the tests that are about them.
        ("DETECTOR__ENABLED", "false"),
        ("ORCHESTRATOR__MASS_FAILURE__WORKLOADS", "100"),
        ("ORCHESTRATOR__SOAK", "1s"),
        ("ORCHESTRATOR__DEADLINES__DECIDE", "30s"),
        ("ORCHESTRATOR__DEADLINES__ANNOUNCE", "3s"),
        ("ORCHESTRATOR__DEADLINES__START", "40s"),
        ("ORCHESTRATOR__DEADLINES__ROLLBACK", "60s"),
        ("ORCHESTRATOR__DEADLINES__VERIFY", "60s"),
        ("ORCHESTRATOR__DEADLINES__RESOLVE", "60s"),
        ("ORCHESTRATOR__DEADLINES__ACKNOWLEDGE", "60s"),
        ("ORCHESTRATOR__DEADLINES__NOTIFY", "60s"),
        ("EXECUTOR__ACK_WAIT", "3s"),
        ("VERIFIER__STABILISATION", "300ms"),
        ("VERIFIER__LOOK_EVERY", "100ms"),
        ("VERIFIER__PROMETHEUS__POLL", "300ms"),
        ("NOTIFIER__PAGERDUTY__ON_CALL_ROUTING_KEY", "0000000000000000000000000on_call"),
        ("NOTIFIER__PAGERDUTY__TEAM_LEAD_ROUTING_KEY", "000000000000000000000000teamlead"),
        ("NOTIFIER__SLACK__TOKEN", SLACK_TOKEN),
        ("NOTIFIER__SLACK__CHANNEL", "C0INCIDENTS"),
        ("NOTIFIER__EDIT_INTERVAL", "300ms"),
    ];
    let mut env: BTreeMap<_, _> = defaults.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    if options.nats_nodes > 1 {
        env.insert("NATS__REPLICAS".to_owned(), options.nats_nodes.to_string());
    }
    env.extend(options.env.clone());
    env
}

async fn instance(setting: &Setting<'_>, name: &'static str, index: usize) -> Result<Instance> {
    let dir = setting.dir.join(format!("{name}-{index}"));
    std::fs::create_dir_all(&dir).context("a directory for a service")?;
    let nats = match setting.bus {
        BusServer::Single(nats) => Some(NatsProxy::start(&nats.url()).await?),
        BusServer::Cluster(_) => None,
    };
    let api = if name == "executor" { Some(HttpProxy::start(&setting.cluster.url()).await?) } else { None };
    let kubeconfig = match &api {
        None => setting.cluster.kubeconfig_path().to_owned(),
        Some(proxy) => {
            let text = std::fs::read_to_string(setting.cluster.kubeconfig_path()).context("the kubeconfig")?;
            let path = dir.join("kubeconfig");
            std::fs::write(&path, text.replace(&setting.cluster.url(), &proxy.url())).context("a kubeconfig")?;
            path
        }
    };
    let (admin, ingest) = (loopback()?, if name == "alert-ingest" { Some(loopback()?) } else { None });
    let mut env: BTreeMap<_, _> = setting.env.iter().map(|(key, value)| (format!("LASTGOOD_{key}"), value.clone())).collect();
    let mut set = |key: &str, value: String| env.insert(format!("LASTGOOD_{key}"), value);
    set("ADMIN__LISTEN", admin.to_string());
    set("NATS__URLS", nats.as_ref().map_or_else(|| setting.bus.url(), NatsProxy::url));
    set("KUBERNETES__KUBECONFIG", kubeconfig.display().to_string());
    if let Some(ingest) = ingest {
        set("INGEST__LISTEN", ingest.to_string());
    }
    let (program, env) = (format!("lastgood-{name}"), env.into_iter().collect());
    let service = Service::start(&program, setting.binaries, env, &dir, admin).await?;
    Ok(Instance { service, nats, api, ingest })
}

fn loopback() -> Result<SocketAddr> {
    Ok(SocketAddr::from(([127, 0, 0, 1], ports::free()?)))
}
