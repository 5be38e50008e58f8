//! The executor and configuration: copies are made of what is recorded, a rollback refers to them, the owner's next apply does not, and
//! what nobody needs any more goes.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::process::Stdio;
use std::time::Duration;

use contracts::subjects::{self, streams};
use contracts::{Fact, LedgerFact, v1};
use executor::cluster::Kind;
use executor::snapshots::{FINGERPRINT, OF, SNAPSHOT, Snapshots};
use lastgood_core::configuration::fingerprint::fingerprint;
use lastgood_core::configuration::{Key, Kind as Held, copy_name, without_copies};
use serde_json::{Value, json};
use support::{CLUSTER, SOON, World, deployment, through_copy};
use testbed::wait::until;
use tokio::io::AsyncWriteExt as _;

fn key() -> Key {
    Key::new(b"the key of a test's installation")
}

fn of(kind: Held, data: &Value) -> String {
    fingerprint(kind, &json!({"data": data}), Some(&key())).unwrap()
}

fn recorded(kind: Held, name: &str, data: &Value) -> v1::Configuration {
    let (kind, name, fingerprint) = (kind.name().to_owned(), name.to_owned(), of(kind, data));
    v1::Configuration { kind, name, fingerprint, keep: true, absent: false }
}

impl World {
    async fn make(&self, kind: Kind, name: &str, data: &Value) {
        let names = if kind == Kind::Secret { "Secret" } else { "ConfigMap" };
        let object =
            json!({"apiVersion": "v1", "kind": names, "metadata": {"name": name, "namespace": self.namespace}, "data": data});
        self.cluster.create(kind, &self.namespace, &object).await.unwrap();
    }

    async fn edit(&self, name: &str, data: &Value) {
        let mut live = self.config_map(name).await.unwrap();
        live["data"] = data.clone();
        self.cluster.put(Kind::ConfigMap, &self.namespace, name, &live, false).await.unwrap();
    }

    async fn config_map(&self, name: &str) -> Option<Value> {
        self.cluster.get(Kind::ConfigMap, &self.namespace, name).await.unwrap()
    }

    /// Records a version, as the orchestrator does.
    async fn record(&self, workload: &str, configuration: Vec<v1::Configuration>) {
        let workload = v1::WorkloadRef {
            cluster: CLUSTER.into(),
            namespace: self.namespace.clone(),
            kind: "Deployment".into(),
            name: workload.into(),
        };
        let version = v1::Version { template_hash: "t".into(), configuration, ..v1::Version::default() };
        let fact = LedgerFact::from(v1::VersionObserved { version: Some(version), ..v1::VersionObserved::default() });
        let filter = subjects::ledger_filter(&workload);
        let expected = self.bus.last(streams::LEDGER, &filter).await.unwrap().map_or(0, |stored| stored.sequence);
        let subject = subjects::ledger(&workload, fact.event_type());
        let event = chassis::bus::NewEvent::ledger(self.bus.ids().event(), subject, &fact);
        self.bus.append(vec![chassis::bus::Group { filter, expected, events: vec![event] }]).await.unwrap();
    }

    fn snapshots(&self, key: Option<Key>) -> Snapshots {
        Snapshots::new(self.cluster.clone(), key)
    }
}

#[tokio::test]
async fn what_is_recorded_is_copied_while_it_is_still_so() {
    let world = World::simulated().await;
    let (data, secret) = (json!({"mode": "old"}), json!({"password": "aHVudGVyMg=="}));
    world.make(Kind::ConfigMap, "settings", &data).await;
    world.make(Kind::ConfigMap, "edited", &json!({"mode": "new"})).await;
    world.make(Kind::Secret, "db", &secret).await;
    world.snapshots(Some(key())).start(&world.bus, &world.life, CLUSTER);
    let unwanted = v1::Configuration { keep: false, ..recorded(Held::ConfigMap, "settings", &json!({"mode": "other"})) };
    let all = vec![
        recorded(Held::ConfigMap, "edited", &data),
        recorded(Held::ConfigMap, "gone", &data),
        unwanted,
        recorded(Held::Secret, "db", &secret),
        recorded(Held::ConfigMap, "settings", &data),
    ];
    world.record("web", all.clone()).await;
    let name = copy_name("settings", &of(Held::ConfigMap, &data)).unwrap();
    // The last of them: whatever came of the others is done by then.
    let copy = until("the copy", SOON, || async { world.config_map(&name).await.ok_or("none") }).await.unwrap();
    assert_eq!((&copy["data"], &copy["immutable"]), (&data, &json!(true)));
    assert_eq!(copy["metadata"]["labels"], json!({SNAPSHOT: "true", OF: "settings"}));
    assert_eq!(copy["metadata"]["annotations"], json!({OF: "settings", FINGERPRINT: of(Held::ConfigMap, &data)}));
    let secret_copy = copy_name("db", &of(Held::Secret, &secret)).unwrap();
    let kept = world.cluster.get(Kind::Secret, &world.namespace, &secret_copy).await.unwrap().unwrap();
    assert_eq!(kept["data"], secret);
    let copies = world.cluster.list_everywhere(Kind::ConfigMap, &format!("{SNAPSHOT}=true")).await.unwrap();
    assert_eq!(copies.len(), 1, "of what is not so any more no copy is made");
    // Again it changes nothing.
    world.record("web", all).await;
    world.record("last", vec![recorded(Held::ConfigMap, "edited", &json!({"mode": "new"}))]).await;
    let last = copy_name("edited", &of(Held::ConfigMap, &json!({"mode": "new"}))).unwrap();
    until("the last copy", SOON, || async { world.config_map(&last).await.ok_or("none") }).await.unwrap();
    assert_eq!(world.config_map(&name).await.unwrap(), copy);
}

/// A Deployment with the ConfigMap `settings` in its variables and as a volume.
fn configured(namespace: &str, version: &str) -> Value {
    let mut object = deployment(namespace, "web", version, 1);
    let spec = &mut object["spec"]["template"]["spec"];
    spec["volumes"] = json!([{"name": "settings", "configMap": {"name": "settings"}}]);
    spec["containers"][0]["volumeMounts"] = json!([{"name": "settings", "mountPath": "/etc/web"}]);
    spec["containers"][0]["env"] =
        json!([{"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "mode"}}}]);
    object
}

async fn apply(world: &World, object: &Value) {
    let kubeconfig = world.sim.as_ref().unwrap().kubeconfig_path().to_owned();
    let mut child = tokio::process::Command::new("kubectl")
        .env("KUBECONFIG", kubeconfig)
        .args(["apply", "--validate=false", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(object.to_string().as_bytes()).await.unwrap();
    drop(stdin);
    let output = tokio::time::timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_rollback_refers_to_the_copy_and_the_owners_next_apply_does_not() {
    let world = World::simulated().await;
    let (old, new) = (json!({"mode": "old"}), json!({"mode": "new"}));
    world.make(Kind::ConfigMap, "settings", &old).await;
    apply(&world, &configured(&world.namespace, "v1")).await;
    let good = world.rolled_out("web", "v1").await;
    let kept = world.snapshots(None).keep(&world.namespace, Held::ConfigMap, "settings", &of(Held::ConfigMap, &old)).await;
    assert_eq!(kept.unwrap().lack(), None);
    world.edit("settings", &new).await;
    // The very same template: only the content differs.
    world.start_executor();
    let mut copy = String::new();
    let subject = world.plan("web", &good, |plan| copy = through_copy(plan, &old)).await;
    world.announce(&subject).await;
    world.fact(&subject, "traffic_shifted").await;
    let live = world.rolled_out("web", "v1").await;
    let template = &live["spec"]["template"];
    assert_eq!(template["spec"]["volumes"][0]["configMap"]["name"], copy.as_str());
    assert_eq!(template["spec"]["containers"][0]["env"][0]["valueFrom"]["configMapKeyRef"]["name"], copy.as_str());
    assert_eq!(without_copies(template), good["spec"]["template"], "nothing else was changed");
    assert_eq!(world.config_map("settings").await.unwrap()["data"], new, "the live one is its owner's");
    assert_eq!(world.our_writes("web").len(), 1);

    for version in ["v1", "v3"] {
        apply(&world, &configured(&world.namespace, version)).await;
        let live = world.rolled_out("web", version).await;
        let applied = live["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].to_string();
        let left = format!("{}{applied}", live["spec"]);
        assert!(!left.contains("-lastgood-"), "{version}: a reference to the copy is left: {left}");
    }
}

#[tokio::test]
async fn without_the_copy_nothing_is_begun() {
    let world = World::simulated().await;
    let (old, new) = (json!({"mode": "old"}), json!({"mode": "new"}));
    world.make(Kind::ConfigMap, "settings", &new).await;
    apply(&world, &configured(&world.namespace, "v1")).await;
    let good = world.rolled_out("web", "v1").await;
    world.start_executor();
    let subject = world.plan("web", &good, |plan| drop(through_copy(plan, &old))).await;
    world.announce(&subject).await;
    let Fact::RollbackHalted(halted) = world.fact(&subject, "rollback_halted").await else { panic!() };
    assert_eq!(halted.reason, "configuration_missing");
    assert!(halted.detail.contains("ConfigMap settings has changed since"), "{}", halted.detail);
    assert!(world.our_writes("web").is_empty());
}

#[tokio::test]
async fn a_copy_that_somebody_made_something_else_of_is_not_used() {
    let world = World::simulated().await;
    let old = json!({"mode": "old"});
    let name = copy_name("settings", &of(Held::ConfigMap, &old)).unwrap();
    world.make(Kind::ConfigMap, "settings", &old).await;
    world.make(Kind::ConfigMap, &name, &json!({"mode": "forged"})).await;
    let kept =
        world.snapshots(None).keep(&world.namespace, Held::ConfigMap, "settings", &of(Held::ConfigMap, &old)).await.unwrap();
    assert!(kept.lack().is_some_and(|why| why.contains("holds something else")), "{kept:?}");
    assert_eq!(world.config_map(&name).await.unwrap()["data"], json!({"mode": "forged"}), "and is left alone");
}

#[tokio::test]
async fn copies_that_no_version_needs_go() {
    let world = World::simulated().await;
    let snapshots = world.snapshots(Some(key()));
    let mut names = Vec::new();
    for mode in ["kept", "referred", "unneeded"] {
        let data = json!({"mode": mode});
        world.make(Kind::ConfigMap, mode, &data).await;
        let fingerprint = of(Held::ConfigMap, &data);
        snapshots.keep(&world.namespace, Held::ConfigMap, mode, &fingerprint).await.unwrap();
        names.push(copy_name(mode, &fingerprint).unwrap());
    }
    world.record("web", vec![recorded(Held::ConfigMap, "kept", &json!({"mode": "kept"}))]).await;
    let mut referring = configured(&world.namespace, "v1");
    referring["spec"]["replicas"] = json!(0);
    referring["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"] = json!(names[1]);
    world.cluster.create(Kind::Deployment, &world.namespace, &referring).await.unwrap();
    // Young ones stay; the API server tells whole seconds.
    assert_eq!(snapshots.prune(&world.bus, CLUSTER, Duration::from_hours(1)).await.unwrap(), 0);
    let gone = until("a round that prunes", SOON, || async {
        match snapshots.prune(&world.bus, CLUSTER, Duration::ZERO).await.unwrap() {
            0 => Err("nothing yet"),
            gone => Ok(gone),
        }
    });
    assert_eq!(gone.await.unwrap(), 1);
    assert!(world.config_map(&names[0]).await.is_some() && world.config_map(&names[1]).await.is_some());
    assert!(world.config_map(&names[2]).await.is_none());
    assert!(world.config_map("unneeded").await.is_some(), "nobody's own is touched");
}
