//! The way forward on a real API server: after our write the owner's next version goes in without a conflict and leaves nothing
//! of the restored one behind. The simulated cluster knows no `managedFields`, so there only client-side apply is tried.
//!
//! Runs on the cluster of `LASTGOOD_TEST_KUBECONFIG` in a namespace of its own, which is deleted afterwards.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use contracts::v1::{RollbackStarted, ServiceSwitch, Version};
use contracts::{Fact, IncidentSubject};
use executor::cluster::Kind;
use executor::snapshots::Snapshots;
use executor::strategies::{self, INCIDENT, STATUS, Stamp};
use lastgood_core::configuration::fingerprint::fingerprint;
use lastgood_core::configuration::{Kind as Held, without_copies};
use lastgood_core::incident::Command;
use serde_json::{Value, json};
use support::{SOON, World};
use testbed::wait::until;
use tokio::io::AsyncWriteExt as _;
use tokio::process;

/// How the owner puts versions in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// `kubectl apply`.
    ClientSide,
    /// `kubectl apply --server-side`.
    ServerSide,
    /// As Helm 4: server-side apply as `helm`, without force.
    Helm,
}

impl Owner {
    fn arguments(self, real: bool) -> Vec<&'static str> {
        match self {
            Self::ClientSide if real => vec!["apply", "-f", "-"],
            Self::ClientSide => vec!["apply", "--validate=false", "-f", "-"],
            Self::ServerSide => vec!["apply", "--server-side", "-f", "-"],
            Self::Helm => vec!["apply", "--server-side", "--field-manager=helm", "-f", "-"],
        }
    }
}

struct Ground {
    world: World,
    kubeconfig: PathBuf,
    real: bool,
}

impl Ground {
    async fn start(name: &str) -> Self {
        chassis::cluster::install_crypto();
        let Some(kubeconfig) = std::env::var_os("LASTGOOD_TEST_KUBECONFIG").map(PathBuf::from) else {
            let world = World::simulated().await;
            let kubeconfig = world.sim.as_ref().unwrap().kubeconfig_path().to_owned();
            return Self { world, kubeconfig, real: false }.with_settings().await;
        };
        let namespace = format!("executor-dev-{name}-{}", std::process::id());
        kubectl(&kubeconfig, &["create", "namespace", &namespace], None).await.unwrap();
        let kubernetes = chassis::config::Kubernetes {
            kubeconfig: Some(kubeconfig.clone()),
            cluster: support::CLUSTER.into(),
            ..chassis::config::Kubernetes::default()
        };
        let world = World::on(&kubernetes, None, &namespace).await;
        Self { world, kubeconfig, real: true }.with_settings().await
    }

    /// Makes the ConfigMap that every version refers to, and the copy through which the restored ones do.
    async fn with_settings(self) -> Self {
        let (cluster, namespace) = (&self.world.cluster, &self.world.namespace);
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": settings(),
            "metadata": {"name": "settings", "namespace": namespace}});
        cluster.create(Kind::ConfigMap, namespace, &object).await.unwrap();
        let recorded = fingerprint(Held::ConfigMap, &object, None).unwrap();
        let kept = Snapshots::new(cluster.clone(), None).keep(namespace, Held::ConfigMap, "settings", &recorded).await;
        assert_eq!(kept.unwrap().lack(), None);
        self
    }

    async fn apply(&self, owner: Owner, object: &Value) -> Result<String, String> {
        kubectl(&self.kubeconfig, &owner.arguments(self.real), Some(object)).await
    }

    async fn kubectl(&self, arguments: &[&str]) -> String {
        let mut all = vec!["-n", self.world.namespace.as_str()];
        all.extend(arguments);
        kubectl(&self.kubeconfig, &all, None).await.unwrap()
    }

    async fn settled(&self, name: &str) -> Value {
        until(&format!("{name} rolled out"), SOON, || async {
            let live = self.world.deployment(name).await;
            let status = live["status"].clone();
            let done = status["observedGeneration"] == live["metadata"]["generation"]
                && ["replicas", "updatedReplicas", "availableReplicas"]
                    .iter()
                    .all(|key| status[*key] == live["spec"]["replicas"]);
            done.then_some(live).ok_or_else(|| status.to_string())
        })
        .await
        .unwrap()
    }

    /// Rolls `name` back to `good`, and waits until the executor has let go of it.
    async fn rolled_back(&self, name: &str, good: &Value, change: impl FnOnce(&mut contracts::v1::Plan)) -> IncidentSubject {
        self.rolled_back_by(name, good, true, change).await
    }

    /// The same, with its configuration restored through the copy or left as it is.
    async fn rolled_back_by(
        &self,
        name: &str,
        good: &Value,
        copies: bool,
        change: impl FnOnce(&mut contracts::v1::Plan),
    ) -> IncidentSubject {
        let through = |plan: &mut contracts::v1::Plan| {
            change(plan);
            if copies {
                support::through_copy(plan, &settings());
            }
        };
        let subject = self.world.plan(name, good, through).await;
        self.world.announce(&subject).await;
        let Fact::TrafficShifted(shifted) = self.world.fact(&subject, "traffic_shifted").await else { panic!() };
        println!("{name}: {:?}", shifted.services);
        let live = self.world.deployment(name).await;
        assert_eq!(without_copies(&live["spec"]["template"]), good["spec"]["template"]);
        assert_eq!(live["spec"]["template"] != good["spec"]["template"], copies, "whether it refers to the copy");
        assert_eq!(live["metadata"]["annotations"][INCIDENT], subject.incident.to_string());
        assert!(!live["metadata"]["managedFields"].to_string().contains("lastgood"), "our entry is gone");
        if let Some(service) = self.world.cluster.get(Kind::Service, &self.world.namespace, name).await.unwrap() {
            assert_eq!(service["spec"]["selector"], json!({"app": name, "version": "v1"}));
            assert!(!service["metadata"]["managedFields"].to_string().contains("lastgood"), "our entry is gone");
        }
        subject
    }

    async fn end(self) {
        if self.real {
            let arguments = ["delete", "namespace", &self.world.namespace, "--wait=false"];
            kubectl(&self.kubeconfig, &arguments, None).await.unwrap();
        }
    }
}

async fn kubectl(kubeconfig: &Path, arguments: &[&str], input: Option<&Value>) -> Result<String, String> {
    let mut child = process::Command::new("kubectl")
        .env("KUBECONFIG", kubeconfig)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut stdin = child.stdin.take().unwrap();
    if let Some(input) = input {
        stdin.write_all(input.to_string().as_bytes()).await.unwrap();
    }
    drop(stdin);
    let output = tokio::time::timeout(SOON, child.wait_with_output()).await.map_err(|_| "kubectl hangs".to_owned())?;
    let output = output.map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// What the versions' ConfigMap holds.
fn settings() -> Value {
    json!({"MODE": "old"})
}

/// A version of the workload with something that only it has: a label, an environment variable, a container, a limit.
fn version(ground: &Ground, name: &str, version: &str) -> Value {
    let image = if ground.real { "docker.io/local/pause:1" } else { "docker.io/local/web:v1" };
    let only = format!("only-{version}");
    let mut labels = json!({"app": name, "version": version});
    labels[&only] = json!("x");
    let memory = if version == "v1" { json!({"limits": {"memory": "64Mi"}}) } else { json!({}) };
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": ground.world.namespace},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "volumes": [{"name": "settings", "projected": {"sources": [{"configMap": {"name": "settings"}}]}}],
                    "containers": [
                        {"name": "web", "image": image, "imagePullPolicy": "IfNotPresent", "resources": memory,
                         "envFrom": [{"configMapRef": {"name": "settings"}}],
                         "volumeMounts": [{"name": "settings", "mountPath": "/etc/settings"}],
                         "env": [{"name": "VERSION_OF", "value": version}, {"name": format!("ONLY_{}", version.to_uppercase()), "value": "x"}]},
                        {"name": only, "image": image, "imagePullPolicy": "IfNotPresent", "env": [{"name": "PORT", "value": "8081"}]},
                    ],
                },
            },
        },
    })
}

/// Nothing of the versions before is left in the third one.
fn only_version_three(live: &Value, name: &str) {
    let template = &live["spec"]["template"];
    let text = template.to_string().to_lowercase();
    assert!(!text.contains("-lastgood-"), "{name}: a reference to the copy is left: {template}");
    for left in ["v1", "v2", "only_v1", "only-v1", "only_v2", "only-v2", "64mi"] {
        let image = "local/web:v1";
        assert!(!text.replace(image, "").contains(left), "{name}: `{left}` of an earlier version is left: {template}");
    }
    assert_eq!(template["metadata"]["labels"], json!({"app": name, "version": "v3", "only-v3": "x"}));
    assert_eq!(template["spec"]["containers"].as_array().unwrap().len(), 2);
    assert_eq!(template["spec"]["containers"][0]["env"].as_array().unwrap().len(), 2);
}

/// The status is written, seen by `kubectl describe`, and our entry is gone again.
async fn finished(ground: &Ground, name: &str, subject: &IncidentSubject) {
    ground.world.verify(subject).await;
    ground.world.fact(subject, "old_resources_cleaned").await;
    let live = ground.world.deployment(name).await;
    assert!(!live["metadata"]["managedFields"].to_string().contains("lastgood"), "{}", live["metadata"]["managedFields"]);
    assert!(live["metadata"]["annotations"][STATUS].as_str().is_some_and(|status| status.contains("rolled back")));
    let described = ground.kubectl(&["describe", "deployment", name]).await;
    assert!(described.contains("RolledBack") && described.contains("lastgood"), "{described}");
}

async fn way_forward(owner: Owner, name: &str) {
    let ground = Ground::start(name).await;
    if !ground.real && owner != Owner::ClientSide {
        println!(
            "NOT RUN: {owner:?} needs a real API server (set LASTGOOD_TEST_KUBECONFIG); the simulated one has no server-side apply"
        );
        return;
    }
    ground.world.start_executor();
    // With everything recorded, and with no record of who owned what and what was applied.
    for (round, recorded) in [("known", true), ("unknown", false)] {
        let name = format!("{name}-{round}");
        ground.apply(owner, &version(&ground, &name, "v1")).await.unwrap();
        let good = ground.settled(&name).await;
        ground.apply(owner, &version(&ground, &name, "v2")).await.unwrap();
        ground.apply(owner, &service(&ground, &name, "v2")).await.unwrap();
        ground.settled(&name).await;
        let switch = switch(&ground, &name).await;
        let subject = ground
            .rolled_back(&name, &good, |plan| {
                plan.service_switches = vec![switch];
                if !recorded {
                    plan.managed_fields_json.clear();
                    plan.last_applied_template_json.clear();
                }
            })
            .await;
        if recorded {
            finished(&ground, &name, &subject).await;
        }
        ground.apply(owner, &version(&ground, &name, "v3")).await.unwrap_or_else(|error| panic!("{owner:?} {round}: {error}"));
        only_version_three(&ground.world.deployment(&name).await, &name);
        ground.apply(owner, &service(&ground, &name, "v3")).await.unwrap_or_else(|error| panic!("{owner:?} {round}: {error}"));
        let live = ground.world.cluster.get(Kind::Service, &ground.world.namespace, &name).await.unwrap().unwrap();
        assert_eq!(live["spec"]["selector"], json!({"app": name, "version": "v3"}));
    }
    ground.end().await;
}

/// A Service that pins this version.
fn service(ground: &Ground, name: &str, version: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": ground.world.namespace},
           "spec": {"selector": {"app": name, "version": version}, "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]}})
}

async fn switch(ground: &Ground, name: &str) -> ServiceSwitch {
    let live = ground.world.cluster.get(Kind::Service, &ground.world.namespace, name).await.unwrap().unwrap();
    ServiceSwitch {
        name: name.to_owned(),
        uid: live["metadata"]["uid"].as_str().unwrap().to_owned(),
        from_selector: support::map(&[("app", name), ("version", "v2")]),
        shared_selector: support::map(&[("app", name)]),
        to_selector: support::map(&[("app", name), ("version", "v1")]),
    }
}

#[tokio::test]
async fn client_side_apply_goes_on() {
    way_forward(Owner::ClientSide, "csa").await;
}

#[tokio::test]
async fn server_side_apply_goes_on() {
    way_forward(Owner::ServerSide, "ssa").await;
}

#[tokio::test]
async fn helm_goes_on() {
    way_forward(Owner::Helm, "helm").await;
}

/// Owners that change their ways, and people who patched the bad version by hand.
#[tokio::test]
async fn mixed_owners_go_on() {
    let ground = Ground::start("mixed").await;
    if !ground.real {
        println!("NOT RUN: mixed owners need a real API server (set LASTGOOD_TEST_KUBECONFIG)");
        return;
    }
    ground.world.start_executor();
    for (name, first, next) in [
        ("migrates", Owner::ClientSide, Owner::ServerSide),
        ("stays", Owner::ServerSide, Owner::ServerSide),
        ("helm-too", Owner::Helm, Owner::Helm),
    ] {
        ground.apply(first, &version(&ground, name, "v1")).await.unwrap();
        let good = ground.settled(name).await;
        if first == next {
            // Version 2 came by hand: the field that was set so belonged to somebody else then.
            ground.kubectl(&["set", "env", &format!("deployment/{name}"), "-c", "web", "VERSION_OF=v2", "BY_HAND=v2"]).await;
        } else {
            ground.apply(first, &version(&ground, name, "v2")).await.unwrap();
        }
        ground.settled(name).await;
        // An API server as old as 1.20 refuses an owner who goes over from client-side to server-side apply and changes an `envFrom` with
        // the same apply, whoever wrote it before (tried without lastgood): decision 13.
        let copies = first == next;
        ground.rolled_back_by(name, &good, copies, |_| {}).await;
        ground.apply(next, &version(&ground, name, "v3")).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        only_version_three(&ground.world.deployment(name).await, name);
    }
    ground.end().await;
}

/// The executor died after its write and before it let go: the next one finds the entry and gives the fields to their owners.
#[tokio::test]
async fn a_crash_between_the_two_writes_is_made_good() {
    let ground = Ground::start("crash").await;
    if !ground.real {
        println!("NOT RUN: managedFields need a real API server (set LASTGOOD_TEST_KUBECONFIG)");
        return;
    }
    let world = &ground.world;
    for (name, owner) in [("crash-csa", Owner::ClientSide), ("crash-ssa", Owner::ServerSide)] {
        ground.apply(owner, &version(&ground, name, "v1")).await.unwrap();
        let good = ground.settled(name).await;
        ground.apply(owner, &version(&ground, name, "v2")).await.unwrap();
        let bad = ground.settled(name).await;
        let subject = world.plan(name, &good, |_| {}).await;
        let plan = support::plan(&good, &bad, world.clock.now());
        let hash = |version: Option<Version>| version.unwrap().template_hash;
        let intent = RollbackStarted {
            attempt: 1,
            workload_uid: plan.workload_uid.clone(),
            workload_generation: plan.workload_generation,
            template_hash: hash(plan.from.clone()),
            target_template_hash: hash(plan.to.clone()),
            ..RollbackStarted::default()
        };
        world.execute(&subject, Command::StartAttempt(intent)).await;
        let stamp = Stamp { incident: subject.incident, attempt: 1, yields: None };
        let object = strategies::restore(&bad, &plan, &stamp).unwrap();
        let written = world.cluster.put(Kind::Deployment, &world.namespace, name, &object, false).await.unwrap();
        assert!(written["metadata"]["managedFields"].to_string().contains("\"lastgood\""), "our entry is there");
        world.announce(&subject).await;
    }
    world.start_executor();
    for (name, owner) in [("crash-csa", Owner::ClientSide), ("crash-ssa", Owner::ServerSide)] {
        until(&format!("{name} let go"), SOON, || async {
            let live = world.deployment(name).await;
            let managed = live["metadata"]["managedFields"].to_string();
            (!managed.contains("lastgood")).then_some(()).ok_or(managed)
        })
        .await
        .unwrap();
        ground.apply(owner, &version(&ground, name, "v3")).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        only_version_three(&world.deployment(name).await, name);
    }
    ground.end().await;
}
