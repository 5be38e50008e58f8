//! What the executor's tests share: a real NATS, a cluster, an executor in this process, and an incident to work on.
//!
//! Guarantee: every wait has a deadline. Must not: do what another service does, beyond the commands that it would give.
#![allow(dead_code, clippy::unwrap_used, clippy::allow_attributes, reason = "each test binary uses its own part of this")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chassis::{Bus, Clock, Ids, Incidents, Lifecycle, SystemClock};
use contracts::subjects::{self, streams};
use contracts::{Fact, IncidentSubject, LedgerFact, time, v1};
use executor::cluster::{Cluster, Kind};
use executor::run::Executor;
use kube::api::{DynamicObject, PostParams};
use lastgood_core::configuration::fingerprint::fingerprint;
use lastgood_core::configuration::{Kind as Held, copy_name, point_to_copies};
use lastgood_core::incident::{Command, Incident};
use lastgood_core::template;
use serde_json::{Value, json};
use testbed::nats::{Nats, NatsOptions};
use testbed::sim::{SimCluster, SimOptions};
use testbed::wait::until;

pub(crate) const CLUSTER: &str = "test";
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A bus and a cluster, and executors on them.
pub(crate) struct World {
    pub(crate) nats: Nats,
    pub(crate) bus: Bus,
    pub(crate) incidents: Incidents,
    pub(crate) client: kube::Client,
    pub(crate) cluster: Cluster,
    pub(crate) sim: Option<SimCluster>,
    pub(crate) namespace: String,
    pub(crate) life: Lifecycle,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: executor::config::Executor,
}

impl World {
    /// On the simulated cluster.
    pub(crate) async fn simulated() -> Self {
        chassis::cluster::install_crypto();
        let sim = SimCluster::start(SimOptions::default()).await.unwrap();
        let kubernetes = chassis::config::Kubernetes {
            kubeconfig: Some(sim.kubeconfig_path().to_owned()),
            cluster: CLUSTER.into(),
            ..chassis::config::Kubernetes::default()
        };
        Self::on(&kubernetes, Some(sim), "default").await
    }

    /// On any cluster that a kubeconfig leads to.
    pub(crate) async fn on(kubernetes: &chassis::config::Kubernetes, sim: Option<SimCluster>, namespace: &str) -> Self {
        let client = chassis::cluster::connect(kubernetes).await.unwrap();
        let nats = Nats::start(NatsOptions::default()).await.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let config = chassis::config::Nats { urls: vec![nats.url()], ..chassis::config::Nats::default() };
        let bus = Bus::connect(&config, "executor", Arc::clone(&clock), Ids::new(Arc::clone(&clock))).await.unwrap();
        Self {
            incidents: Incidents::new(bus.clone()),
            cluster: Cluster::new(client.clone()),
            life: Lifecycle::new(Duration::from_secs(1)),
            namespace: namespace.to_owned(),
            config: executor::config::Executor { ack_wait: Duration::from_secs(1), ..executor::config::Executor::default() },
            nats,
            bus,
            client,
            sim,
            clock,
        }
    }

    /// Starts an executor in this process.
    pub(crate) fn start_executor(&self) {
        let (incidents, cluster) = (self.incidents.clone(), self.cluster.clone());
        Executor::new(incidents, cluster, Arc::clone(&self.clock), self.config.clone()).start(&self.bus, &self.life, CLUSTER);
    }

    /// Ends it without letting it finish anything, as a crash does; a later start is another one.
    pub(crate) fn crash_executor(&mut self) {
        self.life.stop();
        self.life.hard().cancel();
        self.life = Lifecycle::new(Duration::from_secs(1));
    }

    /// The Deployment as it is.
    pub(crate) async fn deployment(&self, name: &str) -> Value {
        self.cluster.get(Kind::Deployment, &self.namespace, name).await.unwrap().unwrap()
    }

    /// Creates or replaces the Deployment's template, as somebody's `kubectl replace` would.
    pub(crate) async fn deploy(&self, name: &str, version: &str, replicas: u32) {
        let wanted = deployment(&self.namespace, name, version, replicas);
        loop {
            let Some(mut live) = self.cluster.get(Kind::Deployment, &self.namespace, name).await.unwrap() else {
                self.cluster.create(Kind::Deployment, &self.namespace, &wanted).await.unwrap();
                return;
            };
            live["spec"]["template"] = wanted["spec"]["template"].clone();
            if self.put_as_somebody(name, &live).await {
                return;
            }
        }
    }

    /// Replaces the Deployment, as somebody who is not lastgood; whether it was accepted.
    pub(crate) async fn put_as_somebody(&self, name: &str, object: &Value) -> bool {
        let resource = Kind::Deployment.resource();
        let api = kube::Api::<DynamicObject>::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        api.replace(name, &PostParams { field_manager: Some("somebody".into()), ..PostParams::default() }, &object).await.is_ok()
    }

    /// Waits until the Deployment's template is this version's, rolled out in full.
    pub(crate) async fn rolled_out(&self, name: &str, version: &str) -> Value {
        let image = format!("docker.io/local/web:{version}");
        until(&format!("{name} at {version}"), SOON, || async {
            let live = self.deployment(name).await;
            let status = &live["status"];
            let all =
                |key: &str| status[key].as_i64().unwrap_or_default() == live["spec"]["replicas"].as_i64().unwrap_or_default();
            let done = live["spec"]["template"]["spec"]["containers"][0]["image"] == image.as_str()
                && status["observedGeneration"] == live["metadata"]["generation"]
                && ["replicas", "updatedReplicas", "availableReplicas"].into_iter().all(all);
            if done { Ok(live) } else { Err(status.to_string()) }
        })
        .await
        .unwrap()
    }

    /// Creates a Service.
    pub(crate) async fn service(&self, name: &str, selector: &BTreeMap<String, String>) -> Value {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"selector": selector, "ports": [{"port": 80, "targetPort": 8080}]}});
        self.cluster.create(Kind::Service, &self.namespace, &service).await.unwrap()
    }

    /// Opens an incident and plans it, as the orchestrator does; `good` is the Deployment as it was while the good version ran.
    pub(crate) async fn plan(&self, name: &str, good: &Value, change: impl FnOnce(&mut v1::Plan)) -> IncidentSubject {
        self.plan_by(name, good, change, |plan| Command::Plan(Box::new(plan))).await
    }

    /// The same, and a person is asked first.
    pub(crate) async fn plan_to_approve(&self, name: &str, good: &Value, request: v1::ApprovalRequested) -> IncidentSubject {
        self.plan_by(name, good, |_| {}, |plan| Command::PlanToApprove(Box::new(plan), request)).await
    }

    async fn plan_by(
        &self,
        name: &str,
        good: &Value,
        change: impl FnOnce(&mut v1::Plan),
        command: impl FnOnce(v1::Plan) -> Command,
    ) -> IncidentSubject {
        let bad = self.deployment(name).await;
        let workload = v1::WorkloadRef {
            cluster: CLUSTER.into(),
            namespace: self.namespace.clone(),
            kind: "Deployment".into(),
            name: name.into(),
        };
        let subject = IncidentSubject { workload, incident: self.bus.ids().incident() };
        let mut plan = plan(good, &bad, self.clock.now());
        change(&mut plan);
        let uid = plan.workload_uid.clone();
        let trigger = v1::Occurrence { fingerprint: "f00".into(), alert_name: "Errors".into(), ..v1::Occurrence::default() };
        let deadlines = v1::Deadlines { rollback: seconds(20), start: seconds(60), ..v1::Deadlines::default() };
        let opened = v1::AnomalyDetected {
            trigger: Some(trigger),
            deadlines: Some(deadlines),
            workload_uid: uid.clone(),
            requested: None,
        };
        let current = v1::CurrentVersionIdentified {
            version: plan.from.clone(),
            workload_uid: uid,
            workload_generation: plan.workload_generation,
            changed_at: None,
        };
        let found = v1::PreviousVersionFound { version: plan.to.clone(), evidence: "seen".into() };
        for command in [Command::Open(opened), Command::IdentifyCurrent(current), Command::FindPrevious(found), command(plan)] {
            self.execute(&subject, command).await;
        }
        subject
    }

    /// The smoke tests passed: the executor may finish.
    pub(crate) async fn verify(&self, subject: &IncidentSubject) {
        let check = v1::SmokeTestFinished { check: "http".into(), verdict: v1::Verdict::Passed.into(), ..Default::default() };
        self.execute(subject, Command::RecordCheck(check)).await;
        self.execute(subject, Command::PassVerification).await;
    }

    /// The chat thread is open: the executor may begin.
    pub(crate) async fn announce(&self, subject: &IncidentSubject) {
        self.execute(subject, Command::Announce(v1::Announced { channel: "c".into(), thread: "t".into() })).await;
    }

    pub(crate) async fn execute(&self, subject: &IncidentSubject, command: Command) {
        self.incidents.execute(subject, None, &command, self.clock.now()).await.unwrap();
    }

    /// Switches the cluster's pause switch.
    pub(crate) async fn switch(&self, paused: bool) {
        self.switch_at(&subjects::switch_filter(CLUSTER), &subjects::switch(CLUSTER, "pause_switched"), paused).await;
    }

    /// Switches that of the namespace alone.
    pub(crate) async fn switch_namespace(&self, paused: bool) {
        let filter = subjects::namespace_switch_filter(CLUSTER, &self.namespace);
        self.switch_at(&filter, &subjects::namespace_switch(CLUSTER, &self.namespace, "pause_switched"), paused).await;
    }

    async fn switch_at(&self, filter: &str, subject: &str, paused: bool) {
        let switched = v1::PauseSwitched { paused, who: "ann".into(), reason: "a drill".into(), ..v1::PauseSwitched::default() };
        let fact = LedgerFact::from(switched);
        let filter = filter.to_owned();
        let expected = self.bus.last(streams::LEDGER, &filter).await.unwrap().map_or(0, |stored| stored.sequence);
        let event = chassis::bus::NewEvent {
            id: self.bus.ids().event(),
            subject: subject.to_owned(),
            ce_type: fact.ce_type().to_owned(),
            data: fact.encode(),
        };
        self.bus.append(vec![chassis::bus::Group { filter, expected, events: vec![event] }]).await.unwrap();
    }

    pub(crate) async fn incident(&self, subject: &IncidentSubject) -> Incident {
        self.incidents.load(subject, None).await.unwrap().incident
    }

    pub(crate) async fn facts(&self, subject: &IncidentSubject) -> Vec<Fact> {
        self.incidents.load(subject, None).await.unwrap().facts.into_iter().map(|recorded| recorded.fact).collect()
    }

    pub(crate) async fn types(&self, subject: &IncidentSubject) -> Vec<&'static str> {
        self.facts(subject).await.iter().map(Fact::event_type).collect()
    }

    /// Waits for a fact of this type.
    pub(crate) async fn fact(&self, subject: &IncidentSubject, event_type: &str) -> Fact {
        until(&format!("fact {event_type}"), SOON, || async {
            let facts = self.facts(subject).await;
            let found = facts.iter().find(|fact| fact.event_type() == event_type).cloned();
            found.ok_or_else(|| facts.iter().map(Fact::event_type).collect::<Vec<_>>().join(", "))
        })
        .await
        .unwrap()
    }

    /// How long it took from the fact that set the executor off to its write (simulated cluster).
    pub(crate) async fn announced_to_write(&self, subject: &IncidentSubject, name: &str) -> jiff::SignedDuration {
        let facts = self.incidents.load(subject, None).await.unwrap().facts;
        let announced = facts.iter().find(|recorded| recorded.fact.event_type() == "announced").unwrap().at;
        let path = format!("/deployments/{name}");
        let journal = self.sim.as_ref().unwrap().journal();
        let ours = |e: &&testbed::sim::JournalEntry| e.field_manager == "lastgood" && !e.dry_run && e.method == "PUT";
        let write = journal.iter().filter(ours).find(|e| e.path.ends_with(&path) && e.status == 200).unwrap();
        write.time.duration_since(announced)
    }

    /// The writes to the Deployment that were stored and are lastgood's (simulated cluster).
    pub(crate) fn our_writes(&self, name: &str) -> Vec<Value> {
        let path = format!("/deployments/{name}");
        let journal = self.sim.as_ref().unwrap().journal();
        let ours = journal.into_iter().filter(|e| e.field_manager == "lastgood" && !e.dry_run && e.path.ends_with(&path));
        ours.filter(|e| {
            e.status < 300
                && e.body["kind"] == "Deployment"
                && !e.body["metadata"]["annotations"][executor::strategies::INCIDENT].is_null()
        })
        .map(|e| e.body)
        .collect()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the field is optional")]
fn seconds(seconds: u64) -> Option<prost_types::Duration> {
    Some(time::duration_to_proto(Duration::from_secs(seconds)))
}

/// The plan that goes back from the bad Deployment to the good one.
pub(crate) fn plan(good: &Value, bad: &Value, now: jiff::Timestamp) -> v1::Plan {
    let version = |object: &Value| {
        let template = &object["spec"]["template"];
        let revision = object["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str().unwrap_or("0");
        Some(v1::Version {
            template_hash: template::hash(template),
            images: template::images(template),
            revision: revision.parse().unwrap_or_default(),
            ..v1::Version::default()
        })
    };
    let applied = good["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].as_str();
    let applied = applied.map(|text| serde_json::from_str::<Value>(text).unwrap()["spec"]["template"].to_string());
    v1::Plan {
        strategy: "rolling".into(),
        from: version(bad),
        to: version(good),
        workload_uid: bad["metadata"]["uid"].as_str().unwrap().into(),
        workload_generation: bad["metadata"]["generation"].as_i64().unwrap(),
        template_json: template::normalise(&good["spec"]["template"]).to_string().into_bytes(),
        last_applied_template_json: applied.unwrap_or_default().into_bytes(),
        managed_fields_json: match &good["metadata"]["managedFields"] {
            Value::Null => Vec::new(),
            fields => fields.to_string().into_bytes(),
        },
        diff: "image".into(),
        not_after: Some(time::to_proto(now + jiff::SignedDuration::from_secs(60))),
        ..v1::Plan::default()
    }
}

/// What the orchestrator plans: the template, and what was applied, refer to the copy.
pub(crate) fn through_copy(plan: &mut v1::Plan, data: &Value) -> String {
    let fingerprint = fingerprint(Held::ConfigMap, &json!({"data": data}), None).unwrap();
    let copy = copy_name("settings", &fingerprint).unwrap();
    let copies = [((Held::ConfigMap, "settings".to_owned()), copy.clone())].into();
    let pointed = |json: &[u8]| point_to_copies(&serde_json::from_slice(json).unwrap(), &copies);
    let template = pointed(&plan.template_json);
    plan.to.as_mut().unwrap().template_hash = template::hash(&template);
    plan.template_json = template.to_string().into_bytes();
    if !plan.last_applied_template_json.is_empty() {
        plan.last_applied_template_json = pointed(&plan.last_applied_template_json).to_string().into_bytes();
    }
    let (kind, name) = ("ConfigMap".to_owned(), "settings".to_owned());
    plan.configuration =
        vec![v1::PlannedConfiguration { kind, name, fingerprint, copy: copy.clone(), restored: true, ..Default::default() }];
    copy
}

/// A Deployment of the test workload.
pub(crate) fn deployment(namespace: &str, name: &str, version: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name, "version": version}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "web", "image": format!("docker.io/local/web:{version}"),
                        "ports": [{"containerPort": 8080}],
                        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
                    }],
                },
            },
        },
    })
}

pub(crate) fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
