//! The detector on the simulated cluster and the real bus.

use std::sync::Arc;
use std::time::Duration;

use alert_ingest::config;
use alert_ingest::detectors::rollout::Rollouts;
use chassis::clock::SystemClock;
use contracts::v1::{Alert, AlertStatus};
use serde_json::{Value, json};
use testbed::app::{App, AppOptions};
use testbed::sim::{SimCluster, SimOptions};
use tokio_util::sync::CancellationToken;

use super::world::{PATIENCE, World};

struct Ground {
    world: World,
    cluster: SimCluster,
    app: App,
}

struct Running {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

impl Ground {
    async fn start(progress_deadline: u32) -> Self {
        let world = World::start().await;
        let cluster =
            SimCluster::start(SimOptions { backoff: Duration::from_millis(100), ..SimOptions::default() }).await.unwrap();
        let options = AppOptions { progress_deadline, ..AppOptions::default() };
        let app = App::create(cluster.client().await.unwrap(), "shop", "web", options).await.unwrap();
        app.deploy("v1").await.unwrap();
        app.available(PATIENCE).await.unwrap();
        Self { world, cluster, app }
    }

    async fn detect(&self) -> Running {
        let config =
            config::Detector { grace: Duration::from_millis(200), settle: Duration::from_secs(1), ..config::Detector::default() };
        let rollouts = Rollouts {
            store: Arc::new(self.world.bus.clone()),
            history: Arc::new(self.world.bus.clone()),
            client: self.cluster.client().await.unwrap(),
            clock: Arc::new(SystemClock),
            cluster: "default".into(),
            cluster_label: None,
            config,
        };
        let stop = CancellationToken::new();
        Running { task: tokio::spawn(rollouts.run(stop.clone())), stop }
    }

    /// Everything told so far, of this status.
    async fn told(&self, status: AlertStatus) -> Vec<Alert> {
        let heard = self.world.heard().await;
        heard.into_iter().flat_map(|message| message.alerts).filter(|alert| alert.status() == status).collect()
    }

    async fn await_told(&self, name: &str, status: AlertStatus) -> Alert {
        let told = || async {
            let told = self.told(status).await;
            told.iter().find(|alert| alert.labels["alertname"] == name).cloned().ok_or_else(|| format!("{told:?}"))
        };
        testbed::wait::until(&format!("{name} {}", status.as_str_name()), PATIENCE, told).await.unwrap()
    }

    /// How many different occurrences were told to begin.
    async fn occurrences(&self) -> usize {
        let told = self.told(AlertStatus::Firing).await;
        told.iter().map(|alert| alert.fingerprint.clone()).collect::<std::collections::BTreeSet<_>>().len()
    }
}

#[tokio::test]
async fn a_crash_loop_begins_once_whatever_the_scale_and_ends_with_another_template() {
    let ground = Ground::start(600).await;
    let detector = ground.detect().await;
    ground.app.roll_out("v2-crashing").await.unwrap();
    let firing = ground.await_told("CrashLoopBackOff", AlertStatus::Firing).await;
    let labels = ["namespace", "deployment", "container", "severity", "reason"].map(|name| firing.labels[name].as_str());
    assert_eq!(labels, ["shop", "web", "web", "page", "crash_loop"]);
    assert!(firing.labels["pod"].starts_with("web-"));
    assert!(firing.annotations["description"].contains("CrashLoopBackOff"), "{:?}", firing.annotations);
    ground.app.patch(&json!({"spec": {"replicas": 4}})).await.unwrap();
    let scaled = || async { (ground.cluster.list("pods", "shop").len() >= 4).then_some(()) };
    testbed::wait::until("it is scaled", PATIENCE, scaled).await.unwrap();
    ground.app.roll_out("v1").await.unwrap();
    let over = ground.await_told("CrashLoopBackOff", AlertStatus::Resolved).await;
    assert_eq!((over.fingerprint, over.starts_at), (firing.fingerprint, firing.starts_at));
    assert!(over.ends_at.is_some());
    assert_eq!(ground.occurrences().await, 1);
    detector.end().await;
}

#[tokio::test]
async fn an_image_that_can_not_be_pulled_ends_after_a_restart_when_the_deployment_is_gone() {
    let ground = Ground::start(600).await;
    let detector = ground.detect().await;
    ground.app.roll_out("v2-unpullable").await.unwrap();
    let firing = ground.await_told("ImagePull", AlertStatus::Firing).await;
    detector.end().await;
    ground.app.deployments().delete("web", &kube::api::DeleteParams::default()).await.unwrap();
    let gone = || async { ground.cluster.get("deployments.apps", "shop", "web").is_none().then_some(()) };
    testbed::wait::until("it is gone", PATIENCE, gone).await.unwrap();
    let again = ground.detect().await;
    let over = ground.await_told("ImagePull", AlertStatus::Resolved).await;
    assert_eq!(over.fingerprint, firing.fingerprint);
    again.end().await;
}

#[tokio::test]
async fn a_stuck_rollout_is_told_also_when_nats_was_away_and_watches_broke() {
    let ground = Ground::start(2).await;
    let detector = ground.detect().await;
    ground.world.nats.kill().await.unwrap();
    ground.app.roll_out("v2-never-ready").await.unwrap();
    let stuck = || async {
        let deployment = ground.cluster.get("deployments.apps", "shop", "web")?;
        let conditions = deployment["status"]["conditions"].as_array()?.clone();
        conditions.iter().any(|condition: &Value| condition["reason"] == "ProgressDeadlineExceeded").then_some(())
    };
    testbed::wait::until("the deadline is exceeded", PATIENCE, stuck).await.unwrap();
    ground.cluster.expire_watches();
    ground.world.nats.restart().await.unwrap();
    let firing = ground.await_told("RolloutStuck", AlertStatus::Firing).await;
    assert_eq!(firing.labels["reason"], "progress_deadline_exceeded");
    detector.end().await;
}

#[tokio::test]
async fn what_lastgood_restored_is_not_told() {
    let ground = Ground::start(600).await;
    let live = ground.cluster.get("deployments.apps", "shop", "web").unwrap();
    let mut template = live["spec"]["template"].clone();
    template["spec"]["containers"][0]["image"] = testbed::real_cluster::image("v0-crashing").into();
    let hash = lastgood_core::template::hash(&template);
    let patch = json!({"metadata": {"annotations": {"lastgood.dev/template": hash}}, "spec": {"template": template}});
    ground.app.patch(&patch).await.unwrap();
    let detector = ground.detect().await;
    // Another one that is told shows that the detector has had its time.
    let other = App::create(ground.cluster.client().await.unwrap(), "shop", "other", AppOptions::default()).await.unwrap();
    other.deploy("v1-unpullable").await.unwrap();
    ground.await_told("ImagePull", AlertStatus::Firing).await;
    let crashing = || async {
        let pods = ground.cluster.list("pods", "shop");
        let loops = pods.iter().filter(|pod| pod["status"]["containerStatuses"][0]["restartCount"].as_i64() >= Some(3));
        (loops.count() > 0).then_some(())
    };
    testbed::wait::until("it crashes again and again", PATIENCE, crashing).await.unwrap();
    assert_eq!(ground.occurrences().await, 1);
    detector.end().await;
}
