//! The verifier as a whole on a real nats-server and the simulated cluster.

use std::sync::Arc;
use std::time::Duration;

use chassis::clock::{Clock, Ids, SystemClock};
use chassis::config::Nats as NatsConfig;
use chassis::{Bus, Incidents, Lifecycle};
use contracts::Fact;
use contracts::v1::Verdict;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use lastgood_core::incident::{Incident, Phase, Recorded};
use serde_json::{Value, json};
use testbed::nats::{Nats, NatsOptions};
use testbed::sim::{SimCluster, SimOptions};
use testbed::wait;
use verifier::handlers::{OnTrafficShifted, consume};
use verifier::log::{BusLog, Log};
use verifier::runner::Stabilisation;
use verifier::verify::Verification;

use crate::support::{subject, tools, until_traffic_shifted};

/// Each stream's room.
const MAX_BYTES: i64 = 64 << 20;

struct World {
    nats: Nats,
    cluster: SimCluster,
    client: kube::Client,
    incidents: Incidents,
    clock: Arc<dyn Clock>,
    life: Lifecycle,
}

impl World {
    async fn start(image: &str, smoke_tests: &str) -> Self {
        chassis::cluster::install_crypto();
        let cluster = SimCluster::start(SimOptions::default()).await.unwrap();
        let client = cluster.client().await.unwrap();
        deploy(&client, image, smoke_tests).await;
        let nats = Nats::start(NatsOptions::default()).await.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let config = NatsConfig { urls: vec![nats.url()], max_bytes: MAX_BYTES, ..NatsConfig::default() };
        let bus = Bus::connect(&config, "verifier", Arc::clone(&clock), Ids::new(Arc::clone(&clock))).await.unwrap();
        Self { nats, cluster, client, incidents: Incidents::new(bus), clock, life: Lifecycle::default() }
    }

    /// Opens an incident whose traffic has shifted to what runs.
    async fn shift(&self) {
        let live = deployment(&self.client).await;
        let hash = lastgood_core::template::hash(&live.data["spec"]["template"]);
        for command in until_traffic_shifted(live.metadata.uid.as_deref().unwrap(), &hash, Duration::from_mins(1)) {
            self.incidents.execute(&subject(), None, &command, self.clock.now()).await.unwrap();
        }
    }

    /// The same, with the verifier in this process.
    async fn verify(&self) {
        self.shift().await;
        let log: Arc<dyn Log> = Arc::new(BusLog::new(self.incidents.clone(), Arc::clone(&self.clock)));
        let stabilisation = Stabilisation { window: Duration::from_secs(2), every: Duration::from_millis(100) };
        let verification = Verification { log, clock: Arc::clone(&self.clock), tools: tools(), rules: vec![], stabilisation };
        let handler = OnTrafficShifted { verification, client: self.client.clone(), stopping: self.life.stopping() };
        consume(self.incidents.bus(), &self.life, "default", "traffic_shifted", 8, Arc::new(handler));
    }

    /// The verifier as a process of its own.
    fn process(&self) -> Running {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lastgood-verifier"));
        // What is set for the tests (`LASTGOOD_BIN_DIR`) would be refused as a key that it doesn't know.
        command
            .env_clear()
            .env("LASTGOOD_NATS__URLS", self.nats.url())
            .env("LASTGOOD_NATS__MAX_BYTES", MAX_BYTES.to_string())
            .env("LASTGOOD_KUBERNETES__KUBECONFIG", self.cluster.kubeconfig_path())
            .env("LASTGOOD_LOG", "warn")
            .env("LASTGOOD_VERIFIER__STABILISATION", "2s");
        Running(command.spawn().unwrap())
    }

    async fn ended(&self) -> Incident {
        wait::until("the end of the verification", Duration::from_secs(30), async || {
            let incident = self.incidents.load(&subject(), None).await.map_err(|error| error.to_string())?.incident;
            if incident.phase() == Phase::Verifying { Err(format!("{:?}", incident.checks)) } else { Ok(incident) }
        })
        .await
        .unwrap()
    }
}

/// A process that ends with the test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn deployment(client: &kube::Client) -> DynamicObject {
    let resource = ApiResource::erase::<Deployment>(&());
    Api::<DynamicObject>::namespaced_with(client.clone(), "shop", &resource).get("web").await.unwrap()
}

async fn deploy(client: &kube::Client, image: &str, smoke_tests: &str) {
    let create = async |kind: &str, version: &str, plural: &str, namespaced: bool, object: Value| {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let resource = ApiResource::from_gvk_with_plural(&kube::core::GroupVersionKind::gvk(group, version, kind), plural);
        let api: Api<DynamicObject> = if namespaced {
            Api::namespaced_with(client.clone(), "shop", &resource)
        } else {
            Api::all_with(client.clone(), &resource)
        };
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    };
    create("Namespace", "v1", "namespaces", false, json!({"metadata": {"name": "shop"}})).await;
    let container = json!({"name": "web", "image": format!("docker.io/local/web:{image}"), "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}});
    let web = json!({
        "metadata": {"name": "web", "annotations": {"lastgood.dev/smoke-tests": smoke_tests}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}},
    });
    create("Deployment", "apps/v1", "deployments", true, web).await;
    let service =
        json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    create("Service", "v1", "services", true, service).await;
    wait::until("two ready pods", Duration::from_secs(20), async || {
        let ready = deployment(client).await.data["status"]["readyReplicas"].as_u64();
        if ready == Some(2) { Ok(()) } else { Err(format!("{ready:?}")) }
    })
    .await
    .unwrap();
}

const SMOKE: &str = "
- {name: home, http: {port: 8080, path: /smoke}, interval: 50ms}
- {name: front, http: {port: 80}, target: service, interval: 50ms}
- {name: port, tcp: {port: 8080}, interval: 50ms}
";

#[tokio::test]
async fn a_healthy_version_is_mitigated() {
    let world = World::start("v1", SMOKE).await;
    world.verify().await;
    let incident = world.ended().await;
    assert_eq!(incident.phase(), Phase::Mitigated, "{:?}", incident.checks);
    assert_eq!(incident.checks.keys().map(String::as_str).collect::<Vec<_>>(), ["front", "home", "pods", "port"]);
    assert!(incident.checks["pods"].evidence.contains("2 of 2 pods ready (web-"), "{:?}", incident.checks["pods"]);
    world.life.stop();
}

#[tokio::test]
async fn a_version_whose_smoke_test_fails_is_not() {
    let world = World::start("v1-unhealthy-smoke", SMOKE).await;
    world.verify().await;
    let incident = world.ended().await;
    let failed = incident.verification_failed.expect("a failure");
    assert_eq!((failed.reason.as_str(), failed.failed_checks), ("smoke_tests_failed", vec!["home".to_owned()]));
    assert_eq!(incident.checks["home"].verdict(), Verdict::Failed);
    assert!(incident.checks["home"].evidence.contains("HTTP 500"), "{:?}", incident.checks["home"]);
    world.life.stop();
}

async fn patch(client: &kube::Client, patch: Value) {
    let resource = ApiResource::erase::<Deployment>(&());
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), "shop", &resource);
    api.patch("web", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

#[tokio::test]
async fn an_autoscaler_does_no_harm() {
    let world = World::start("v1", SMOKE).await;
    world.verify().await;
    patch(&world.client, json!({"spec": {"replicas": 4}})).await;
    let incident = world.ended().await;
    assert_eq!(incident.phase(), Phase::Mitigated, "{:?}", incident.checks);
    assert!(incident.checks["pods"].evidence.starts_with("4 of 4 pods ready"), "{:?}", incident.checks["pods"]);
    world.life.stop();
}

#[tokio::test]
async fn a_persons_deploy_supersedes() {
    let world = World::start("v1", SMOKE).await;
    world.verify().await;
    patch(&world.client, json!({"spec": {"template": {"metadata": {"labels": {"by": "a-person"}}}}})).await;
    let incident = world.ended().await;
    assert_eq!(incident.superseded.expect("superseded").what, "template");
    world.life.stop();
}

#[tokio::test]
async fn a_killed_verifier_goes_on_where_it_was() {
    let world = World::start("v1", SMOKE).await;
    let first = world.process();
    world.shift().await;
    wait::until("the first smoke test's fact", Duration::from_secs(20), async || {
        let incident = world.incidents.load(&subject(), None).await.map_err(|error| error.to_string())?.incident;
        if incident.checks.is_empty() { Err("no check".to_owned()) } else { Ok(()) }
    })
    .await
    .unwrap();
    // SIGKILL, in the middle of the stabilisation window.
    drop(first);
    let loaded = world.incidents.load(&subject(), None).await.unwrap();
    assert_eq!(loaded.incident.phase(), Phase::Verifying, "it was killed in the middle");
    let before = loaded.facts.len();

    let _second = world.process();
    let incident = world.ended().await;
    assert_eq!(incident.phase(), Phase::Mitigated, "{:?}", incident.checks);
    assert_eq!(incident.checks.len(), 4);
    let facts = world.incidents.load(&subject(), None).await.unwrap().facts;
    let checks = |facts: &[Recorded]| facts.iter().filter(|recorded| matches!(recorded.fact, Fact::SmokeTestFinished(_))).count();
    assert_eq!(checks(&facts), 4, "no check has two facts");
    assert_eq!(facts[..before], loaded.facts[..], "what was there stays");
}
