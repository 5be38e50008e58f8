//! A nats-server, a cluster and an orchestrator in this process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use chassis::bus::{AlertPart, Bus};
use chassis::clock::{Clock, Ids, SystemClock};
use chassis::config::{Kubernetes, Nats as NatsConfig};
use chassis::lifecycle::Lifecycle;
use contracts::v1::{self, WorkloadRef};
use contracts::{IncidentSubject, subjects};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use lastgood_core::incident::{Command, Incident};
use orchestrator::cluster::LiveCluster;
use orchestrator::config::Settings;
use orchestrator::correlate::Rules;
use orchestrator::decision::Engine;
use orchestrator::ledger::{self, LedgerView};
use orchestrator::wiring;
use serde_json::{Value, json};
use testbed::nats::{Nats, NatsOptions};
use testbed::sim::{SimCluster, SimOptions};
use testbed::wait::until;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
pub(crate) const CLUSTER: &str = "test";

pub(crate) struct World {
    pub(crate) nats: Nats,
    pub(crate) sim: Option<SimCluster>,
    pub(crate) client: Client,
    pub(crate) engine: Engine,
    pub(crate) life: Lifecycle,
    pub(crate) namespace: String,
    image: String,
}

static NOTIFICATIONS: AtomicUsize = AtomicUsize::new(0);

/// Settings by which a version is good once it was fully available.
pub(crate) fn unsoaked() -> Settings {
    Settings { soak: Duration::ZERO, ..Settings::default() }
}

/// A world whose consumers and watch run.
pub(crate) async fn start(settings: Settings) -> anyhow::Result<World> {
    let world = still(settings).await?;
    world.run(&world.life);
    Ok(world)
}

/// A world in which nothing runs yet.
pub(crate) async fn still(settings: Settings) -> anyhow::Result<World> {
    let nats = Nats::start(NatsOptions { sync_always: true, ..NatsOptions::default() }).await?;
    let (sim, kubeconfig, image) = if let Some(path) = std::env::var_os("LASTGOOD_TEST_KUBECONFIG") {
        (None, path.into(), "docker.io/local/pause:1")
    } else {
        let sim = SimCluster::start(SimOptions::default()).await?;
        let path = sim.kubeconfig_path().to_owned();
        (Some(sim), path, "docker.io/local/web:v1")
    };
    let kubernetes = Kubernetes { kubeconfig: Some(kubeconfig), ..Kubernetes::default() };
    let client = chassis::cluster::connect(&kubernetes).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids = Ids::new(Arc::clone(&clock));
    let config = NatsConfig { urls: vec![nats.url()], ..NatsConfig::default() };
    let bus = Bus::connect(&config, "orchestrator", clock, ids.clone()).await?;
    let rules = Rules { cluster: CLUSTER.into(), cluster_label: None };
    let engine = Engine::new(bus, Arc::new(LiveCluster::new(client.clone())), rules, settings);
    let namespace = format!("orchestrator-dev-{}", &ids.uuid().simple().to_string()[20..]);
    let object: Namespace = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
    Api::all(client.clone()).create(&PostParams::default(), &object).await?;
    let life = Lifecycle::new(Duration::from_secs(2));
    Ok(World { nats, sim, client, engine, life, namespace, image: image.to_owned() })
}

impl World {
    /// Starts one replica of the orchestrator.
    pub(crate) fn run(&self, life: &Lifecycle) {
        wiring::consume(&self.engine, life);
        self.watch(life);
    }

    /// Starts the ledger's watch alone.
    pub(crate) fn watch(&self, life: &Lifecycle) {
        let (client, engine, stopping) = (self.client.clone(), self.engine.clone(), life.stopping());
        let terms = engine.terms();
        life.spawn("ledger watch", async move {
            engine.policies.until_read(&stopping).await;
            ledger::watch(client, engine.reader(), engine.store, terms, CLUSTER, stopping, || ()).await
        });
    }

    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.life.stop();
        if self.sim.is_none() {
            Api::<Namespace>::all(self.client.clone()).delete(&self.namespace, &DeleteParams::default()).await?;
        }
        Ok(())
    }

    pub(crate) fn workload(&self, name: &str) -> WorkloadRef {
        WorkloadRef { cluster: CLUSTER.into(), namespace: self.namespace.clone(), kind: "Deployment".into(), name: name.into() }
    }

    /// Creates a Deployment or rolls the next version of it out.
    pub(crate) async fn deploy(&self, name: &str, version: &str, annotations: Value) -> anyhow::Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "annotations": annotations},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": {
                "metadata": {"labels": {"app": name, "version": version}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "web", "image": self.image,
                    "imagePullPolicy": "IfNotPresent", "env": [{"name": "V", "value": version}]}]}}}});
        if api.get_opt(name).await?.is_some() {
            api.patch(name, &PatchParams::default(), &Patch::Merge(&object)).await?;
        } else {
            api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        }
        Ok(())
    }

    pub(crate) async fn service(&self, name: &str, selector: Value) -> anyhow::Result<()> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        let object = json!({"metadata": {"name": name}, "spec": {"selector": selector, "ports": [{"port": 80}]}});
        api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        Ok(())
    }

    pub(crate) async fn annotate(&self, name: &str, annotations: Value) -> anyhow::Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        api.patch(name, &PatchParams::default(), &Patch::Merge(&json!({"metadata": {"annotations": annotations}}))).await?;
        Ok(())
    }

    /// The hash of what a Deployment's spec says now.
    pub(crate) async fn hash(&self, name: &str) -> anyhow::Result<String> {
        let object = self.engine.cluster.get(orchestrator::cluster::Kind::Deployment, &self.namespace, name).await?;
        Ok(lastgood_core::template::hash(object.context("a Deployment")?.template().context("a template")?))
    }

    /// Version 1 proved, version 2 rolled out and seen.
    pub(crate) async fn good_then_bad(&self, name: &str, annotations: Value) -> anyhow::Result<()> {
        self.deploy(name, "1", annotations.clone()).await?;
        self.wait_ledger(name, true).await?;
        self.deploy(name, "2", annotations).await?;
        self.wait_ledger(name, false).await?;
        Ok(())
    }

    /// Waits until the ledger holds what the Deployment says now, and (where asked) that it is fully available.
    pub(crate) async fn wait_ledger(&self, name: &str, available: bool) -> anyhow::Result<LedgerView> {
        let hash = self.hash(name).await?;
        let view = until("the ledger", DEADLINE, async || {
            let view = self.engine.store.load(&self.workload(name)).await.map_err(|error| error.to_string())?;
            let known = view.known(&hash).filter(|_| view.current_hash() == Some(&hash));
            let done = known.is_some_and(|known| !available || known.version.fully_available_at.is_some());
            if done { Ok(view) } else { Err(format!("{} versions", view.ledger.versions.len())) }
        });
        Ok(view.await?)
    }

    pub(crate) async fn fire(&self, alerts: Vec<v1::Alert>) -> anyhow::Result<()> {
        let id = format!("test-{}", NOTIFICATIONS.fetch_add(1, Ordering::Relaxed));
        let notification =
            v1::AlertNotification { source: "alertmanager".into(), group_key: "g".into(), alerts, ..Default::default() };
        Ok(self.engine.bus.publish_alerts(&[AlertPart { id, notification }]).await?)
    }

    pub(crate) fn alert(&self, fingerprint: &str, deployment: &str) -> v1::Alert {
        let labels = [("alertname", "Bad"), ("namespace", &self.namespace), ("deployment", deployment)];
        v1::Alert {
            fingerprint: fingerprint.into(),
            status: v1::AlertStatus::Firing.into(),
            starts_at: Some(contracts::time::to_proto(Timestamp::now_for_tests())),
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>(),
            ..v1::Alert::default()
        }
    }

    /// The facts of a workload's newest incident once they hold what is wanted.
    pub(crate) async fn incident(&self, name: &str, wanted: &str) -> anyhow::Result<(IncidentSubject, Incident, Vec<String>)> {
        let what = format!("{wanted} of {name}");
        let found = until(&what, DEADLINE, async || {
            let latest = self.engine.incidents.latest(&self.workload(name)).await.map_err(|error| error.to_string())?;
            let (subject, loaded) = latest.ok_or("no incident")?;
            let facts: Vec<_> = loaded.facts.iter().map(|recorded| recorded.fact.event_type().to_owned()).collect();
            if facts.iter().any(|fact| fact == wanted) {
                Ok((subject, loaded.incident, facts))
            } else {
                Err(format!("{facts:?}"))
            }
        });
        Ok(found.await?)
    }

    /// Has the halted incident of a workload told and so closed.
    pub(crate) async fn close(&self, name: &str) -> anyhow::Result<(IncidentSubject, Incident, Vec<String>)> {
        let (subject, incident, _) = self.incident(name, "notification_requested").await?;
        let reason = incident.notices.values().next().context("a notice")?.request.reason.clone();
        let (channel, dedup_key) = ("test".into(), "k".into());
        let delivered = Command::RecordDelivery { audience: v1::Audience::OnCall, reason, channel, dedup_key };
        self.engine.incidents.execute(&subject, None, &delivered, self.engine.clock.now()).await?;
        self.incident(name, "incident_closed").await
    }

    /// How many facts of a type there are in the cluster.
    pub(crate) async fn count(&self, filter: &str) -> anyhow::Result<usize> {
        Ok(self.engine.bus.read(subjects::streams::INCIDENTS, filter, 1, None).await?.len())
    }

    /// The types of a fingerprint's facts.
    pub(crate) async fn occurrence(&self, fingerprint: &str) -> anyhow::Result<Vec<String>> {
        let filter = subjects::occurrence_filter(fingerprint);
        let stored = self.engine.bus.read(subjects::streams::INCIDENTS, &filter, 1, None).await?;
        Ok(stored.iter().map(|message| message.event_type().to_owned()).collect())
    }

    /// Waits until a fingerprint has these facts.
    pub(crate) async fn wait_occurrence(&self, fingerprint: &str, wanted: &[&str]) -> anyhow::Result<()> {
        until(&format!("the facts of {fingerprint}"), DEADLINE, async || {
            let facts = self.occurrence(fingerprint).await.map_err(|error| error.to_string())?;
            if facts == wanted { Ok(()) } else { Err(format!("{facts:?}")) }
        })
        .await?;
        Ok(())
    }
}

/// The annotation that opts in.
pub(crate) fn auto() -> Value {
    json!({"lastgood.dev/mode": "auto"})
}

pub(crate) fn resolved(alert: v1::Alert) -> v1::Alert {
    v1::Alert {
        status: v1::AlertStatus::Resolved.into(),
        ends_at: Some(contracts::time::to_proto(Timestamp::now_for_tests())),
        ..alert
    }
}

/// The host's clock, for what the outside world says.
pub(crate) trait Now {
    fn now_for_tests() -> Self;
}

impl Now for Timestamp {
    fn now_for_tests() -> Self {
        SystemClock.now()
    }
}
