//! Configuration: an edit without a rollout is a version, and what a version ran with is planned to come back through copies.

use contracts::v1;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use lastgood_core::configuration::fingerprint::fingerprint;
use lastgood_core::configuration::{Kind, copy_name, references};
use lastgood_core::ledger::Known;
use orchestrator::ledger::LedgerView;
use serde_json::{Value, json};
use testbed::wait::until;

use super::world::{DEADLINE, World, auto, start, unsoaked};

fn content(mode: &str) -> Value {
    json!({"data": {"mode": mode}})
}

fn of(mode: &str) -> String {
    fingerprint(Kind::ConfigMap, &content(mode), None).expect("a ConfigMap needs no key")
}

impl World {
    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A Deployment that has the ConfigMap `settings` as a volume, or in its variables.
    pub(crate) async fn configured(&self, name: &str, in_variables: bool) -> anyhow::Result<()> {
        self.make_config_map("settings", "old").await?;
        let mut spec =
            json!({"terminationGracePeriodSeconds": 0, "containers": [{"name": "web", "image": "docker.io/local/web:v1"}]});
        if in_variables {
            spec["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "settings"}}]);
        } else {
            spec["volumes"] = json!([{"name": "settings", "configMap": {"name": "settings"}}]);
            spec["containers"][0]["volumeMounts"] = json!([{"name": "settings", "mountPath": "/etc/web"}]);
        }
        let object = json!({"metadata": {"name": name, "annotations": auto()}, "spec": {"replicas": 1,
            "selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": {"app": name}}, "spec": spec}}});
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        Ok(())
    }

    async fn make_config_map(&self, name: &str, mode: &str) -> anyhow::Result<()> {
        let mut object = content(mode);
        object["metadata"] = json!({"name": name});
        self.config_maps().create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        Ok(())
    }

    pub(crate) async fn edit(&self, mode: &str) -> anyhow::Result<()> {
        self.config_maps().patch("settings", &PatchParams::default(), &Patch::Merge(&content(mode))).await?;
        Ok(())
    }

    /// Waits until what runs is recorded with this content, and whatever else is asked.
    pub(crate) async fn current(
        &self,
        name: &str,
        mode: &str,
        wanted: impl Fn(&Known) -> bool,
    ) -> anyhow::Result<(LedgerView, Known)> {
        let what = format!("{name} with {mode}");
        let found = until(&what, DEADLINE, async || {
            let view = self.engine.store.load(&self.workload(name)).await.map_err(|error| error.to_string())?;
            let known = view.current_hash().and_then(|id| view.known(id)).cloned().ok_or("nothing is recorded")?;
            let has = known.version.configuration.iter().any(|one| one.name == "settings" && one.fingerprint == of(mode));
            if has && wanted(&known) { Ok((view, known)) } else { Err(format!("{:?}", known.version)) }
        });
        Ok(found.await?)
    }
}

pub(crate) fn available(known: &Known) -> bool {
    known.version.fully_available_at.is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_without_a_rollout_is_a_version_of_its_own() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.configured("web", false).await?;
    let (_, one) = world.current("web", "old", available).await?;
    assert_ne!(one.version.id, one.version.template_hash);
    assert!(one.version.configuration[0].keep, "a copy is to be kept");
    world.edit("new").await?;
    let (view, two) = world.current("web", "new", available).await?;
    assert_eq!(two.version.template_hash, one.version.template_hash, "nothing was rolled out");
    assert_ne!(two.version.id, one.version.id);
    assert!(
        view.current_since(&two.version.id)
            > view.ledger.versions[&one.version.id]
                .version
                .first_seen
                .as_ref()
                .and_then(|at| contracts::time::from_proto(Some(at)))
    );
    world.edit("old").await?;
    let (view, again) = world.current("web", "old", available).await?;
    assert_eq!((again.version.id, view.ledger.versions.len()), (one.version.id, 2));
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_running_pods_have_not_read_proves_nothing() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.configured("web", true).await?;
    world.current("web", "old", available).await?;
    world.edit("new").await?;
    let (_, edited) = world.current("web", "new", |_| true).await?;
    assert!(edited.version.in_place && !available(&edited), "{edited:?}");
    // The pods go, one way or another, and new ones read it.
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
    // A container that starts within the second of the edit would not be told from one that started before it.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    pods.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    world.current("web", "new", available).await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_edit_goes_back_through_the_copy() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.configured("web", false).await?;
    let (_, good) = world.current("web", "old", available).await?;
    // What the executor keeps.
    let copy = copy_name("settings", &of("old")).unwrap();
    world.make_config_map(&copy, "old").await?;
    world.edit("bad").await?;
    let (_, bad) = world.current("web", "bad", |_| true).await?;
    world.fire(vec![world.alert("f1", "web")]).await?;
    let (_, incident, _) = world.incident("web", "rollback_planned").await?;
    let (_, plan) = incident.plan.unwrap();
    let (from, to) = (plan.from.unwrap(), plan.to.unwrap());
    assert_eq!((&from.id, &to.id), (&bad.version.id, &good.version.id));
    assert_ne!(from.template_hash, to.template_hash);
    let template: Value = serde_json::from_slice(&plan.template_json)?;
    assert_eq!(lastgood_core::template::hash(&template), to.template_hash);
    let names: Vec<_> = references(&template).into_iter().map(|reference| reference.name).collect();
    assert_eq!(names, std::slice::from_ref(&copy));
    let planned = v1::PlannedConfiguration {
        kind: "ConfigMap".into(),
        name: "settings".into(),
        fingerprint: of("old"),
        copy,
        restored: true,
        note: String::new(),
    };
    assert_eq!(plan.configuration, [planned]);
    assert!(plan.diff.contains("~ ConfigMap settings[mode]: bad → old"), "{}", plan.diff);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_copy_it_halts_and_says_which() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.configured("web", false).await?;
    world.current("web", "old", available).await?;
    world.edit("bad").await?;
    world.current("web", "bad", |_| true).await?;
    world.fire(vec![world.alert("f1", "web")]).await?;
    let (_, incident, _) = world.incident("web", "rollback_halted").await?;
    let halted = incident.halted.unwrap();
    assert_eq!(halted.reason, "configuration_missing");
    assert!(halted.detail.contains("ConfigMap settings"), "{}", halted.detail);
    world.end().await
}
