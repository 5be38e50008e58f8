//! `history` judges by the policy that governs the workload, and says where it does not know it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use orchestrator::policy::{crd, watch};
use serde_json::{Value, json};
use testbed::sim::{SimCluster, SimOptions};
use testbed::wait::until;

use crate::people::asking;
use crate::world::{HOSTILE, Ran, World, finished, observed, program, soaked};

const HASH: &str = "1111aaaa00000000000000000000000000000000000000000000000000000000";

async fn history(world: &World, kubeconfig: &Path, more: &[&str]) -> Result<Ran> {
    let mut command = program(&world.nats.url());
    command.env("LASTGOOD_KUBERNETES__KUBECONFIG", kubeconfig).args(["history", "shop/deploy/web"]).args(more);
    finished(&mut command).await
}

async fn judged(world: &World, kubeconfig: &Path) -> Result<(Value, String)> {
    let ran = history(world, kubeconfig, &["-o", "json"]).await?;
    ensure!(ran.code == 0 && ran.err.is_empty(), "{ran:?}");
    let json = ran.json()?;
    let standing = json["versions"][0]["standing"].as_str().context("a standing")?.to_owned();
    Ok((json, standing))
}

/// A cluster with the custom resources, and one Deployment.
async fn cluster() -> Result<SimCluster> {
    let sim = SimCluster::start(SimOptions { imagined: true, ..SimOptions::default() }).await?;
    let client = sim.client().await?;
    let definitions = ApiResource::from_gvk(&GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"));
    for definition in crd::definitions() {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &definitions);
        api.create(&PostParams::default(), &serde_json::from_value(definition)?).await?;
    }
    let make = async |kind: &str, group: &str, body: Value| -> Result<()> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
        let api: Api<DynamicObject> = if kind == "Namespace" {
            Api::all_with(client.clone(), &resource)
        } else {
            Api::namespaced_with(client.clone(), "shop", &resource)
        };
        api.create(&PostParams::default(), &serde_json::from_value(body)?).await?;
        Ok(())
    };
    make("Namespace", "", json!({"metadata": {"name": "shop"}})).await?;
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:v1"}]}});
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    make("Deployment", "apps", json!({"metadata": {"name": "web"}, "spec": spec})).await?;
    Ok(sim)
}

fn policies(client: kube::Client) -> Api<DynamicObject> {
    Api::namespaced_with(client, "shop", &watch::resource("RollbackPolicy"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_that_governs_the_workload_judges_its_versions() -> Result<()> {
    let world = World::start().await?;
    let [available, stood] = soaked(HASH, Duration::from_mins(30));
    world.record("web", &[observed(HASH, "web:v1"), available, stood]).await?;
    let sim = cluster().await?;
    let policies = policies(sim.client().await?);
    let (json, standing) = judged(&world, sim.kubeconfig_path()).await?;
    assert_eq!((standing.as_str(), &json["soak_seconds"], &json["soak_by"]["known"]), ("good", &json!(600), &json!(true)));
    let policy = json!({"apiVersion": "lastgood.dev/v1alpha1", "kind": "RollbackPolicy", "metadata": {"name": "strict"}, "spec": {"soak": "1h"}});
    policies.create(&PostParams::default(), &serde_json::from_value(policy)?).await?;
    let (json, standing) = judged(&world, sim.kubeconfig_path()).await?;
    assert_eq!((standing.as_str(), &json["soak_seconds"]), ("unknown", &json!(3600)));
    assert_eq!(json["soak_by"]["policies"], json!(["RollbackPolicy shop/strict"]));
    let text = history(&world, sim.kubeconfig_path(), &[]).await?;
    assert!(text.err.is_empty() && text.out.contains("good is what stood 1h"), "{text:?}");
    let other = json!({"spec": {"soak": "20m"}});
    policies.patch("strict", &PatchParams::default(), &Patch::Merge(&other)).await?;
    assert_eq!(judged(&world, sim.kubeconfig_path()).await?.1, "good");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_policies_are_not_known_the_configuration_judges_and_it_is_said() -> Result<()> {
    let world = World::start().await?;
    let [available, stood] = soaked(HASH, Duration::from_mins(30));
    world.record("web", &[observed(HASH, "web:v1"), available, stood]).await?;
    world.record("gone", &[observed(HASH, "web:v1")]).await?;
    let sim = cluster().await?;
    let kubeconfig = sim.kubeconfig_path().to_owned();
    let mut other = program(&world.nats.url());
    other.env("LASTGOOD_KUBERNETES__KUBECONFIG", &kubeconfig).args(["history", "shop/deploy/gone"]);
    let gone = finished(&mut other).await?;
    assert!(gone.code == 0 && gone.err.contains("the cluster has no such workload"), "{gone:?}");
    sim.set_available(false);
    let said = until("the cluster to be away", Duration::from_secs(10), async || {
        let ran = history(&world, &kubeconfig, &[]).await.map_err(|error| error.to_string())?;
        if ran.err.is_empty() { Err("it answers".to_owned()) } else { Ok(ran) }
    });
    let said = said.await?;
    assert!(said.code == 0 && said.out.contains("good"), "what the ledger holds is told all the same: {said:?}");
    assert!(
        said.err.starts_with("note: judged by the configured soak (10m 00s): it is not known which policy governs"),
        "{said:?}"
    );
    let (json, standing) = judged(&world, &kubeconfig).await?;
    assert_eq!((standing.as_str(), &json["soak_seconds"], &json["soak_by"]["known"]), ("good", &json!(600), &json!(false)));
    assert!(json["soak_by"]["because"].as_str().is_some_and(|because| because.contains("cluster")), "{json}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_in_a_freeze_window_that_was_declared_since_is_refused() -> Result<()> {
    let world = World::start().await?;
    let id = asking(&world, "web").await?.incident.to_string();
    let sim = cluster().await?;
    let freeze = json!([{"reason": HOSTILE, "from": "2020-01-01T00:00:00Z", "until": "2090-01-01T00:00:00Z"}]);
    let policy = json!({"apiVersion": "lastgood.dev/v1alpha1", "kind": "RollbackPolicy", "metadata": {"name": "peak"}, "spec": {"freeze": freeze}});
    let policies = policies(sim.client().await?);
    policies.create(&PostParams::default(), &serde_json::from_value(policy)?).await?;
    let approve = async || {
        let mut command = program(&world.nats.url());
        command.env("LASTGOOD_KUBERNETES__KUBECONFIG", sim.kubeconfig_path()).args(["approve", &id]);
        finished(&mut command).await
    };
    let refused = approve().await?;
    assert!(refused.code == 1 && refused.err.contains("until 2090-01-01T00:00:00Z"), "{refused:?}");
    assert!(refused.err.contains("lastgood rollback deployment/web -n shop --reason WHY"), "{refused:?}");
    policies.delete("peak", &kube::api::DeleteParams::default()).await?;
    assert_eq!(approve().await?.code, 0, "it waited on");
    Ok(())
}
