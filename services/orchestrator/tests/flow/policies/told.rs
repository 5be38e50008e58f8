//! Where policies come from, and what is said of them.

use kube::ResourceExt as _;
use kube::api::DeleteParams;
use lastgood_core::policy::{Limits, Origin, read};
use orchestrator::policy::check;
use orchestrator::wiring;
use serde_json::json;

use super::hearing;
use crate::world::{auto, still, unsoaked};

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_what_is_governed_and_what_is_wrong_and_nothing_else_is_written() -> anyhow::Result<()> {
    let world = hearing(unsoaked(), true).await?;
    world.policy("web", json!({"mode": "observe", "workloads": {"names": ["web"]}})).await?;
    world.policy("typo", json!({"mode": "fast", "soak": "soon"})).await?;
    world.good_then_bad("web", auto()).await?;
    world.wait_policies(2).await?;
    let good = world.status("web", |status| status["governs"] == 1).await?;
    assert_eq!(good["workloads"], json!([format!("{}/deployment/web", world.namespace)]));
    assert_eq!((good["problem"].as_str(), good["conditions"][0]["status"].as_str()), (Some(""), Some("True")));
    let bad = world.status("typo", |status| status["problems"].as_array().is_some_and(|problems| problems.len() == 2)).await?;
    assert!(bad["problem"].as_str().is_some_and(|text| text.starts_with("spec.mode: \"fast\" is none of")), "{bad}");
    assert_eq!(bad["conditions"][0]["status"], "False");
    // Told again by its own change, it finds nothing new to say.
    let version = world.policies("RollbackPolicy").get("web").await?.resource_version();
    world.policy("more", json!({})).await?;
    world.status("more", |status| status["observedGeneration"] == 1).await?;
    assert_eq!(world.policies("RollbackPolicy").get("web").await?.resource_version(), version);
    world.fire(vec![world.alert("f1", "web")]).await?;
    assert_eq!(world.halted("web").await?.0, "observe_mode");
    if let Some(sim) = &world.sim {
        let ours = sim.journal().into_iter().filter(|entry| entry.method == "PATCH" && entry.path.contains("lastgood.dev"));
        assert!(ours.clone().count() > 0 && ours.clone().all(|entry| entry.path.ends_with("/status") && entry.status == 200));
        let others = sim.journal().into_iter().filter(|entry| entry.path.contains("deployments"));
        // Two deploys by the test itself, and nothing by the orchestrator.
        assert_eq!(others.count(), 2);
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_custom_resources_a_file_says_it_and_they_may_come_later() -> anyhow::Result<()> {
    let world = hearing(unsoaked(), false).await?;
    world.wait_policies(0).await?;
    let document = json!({"apiVersion": "lastgood.dev/v1alpha1", "kind": "RollbackPolicy",
        "metadata": {"name": "file", "namespace": world.namespace}, "spec": {"mode": "auto"}});
    let file = read(&document, Origin::File, &Limits::default()).expect("a policy");
    world.engine.policies.change(|index| index.put(file));
    world.good_then_bad("web", json!({})).await?;
    world.fire(vec![world.alert("f1", "web")]).await?;
    world.incident("web", "rollback_planned").await?;
    if world.sim.is_some() {
        world.define_policies().await?;
        world.policy("later", json!({"mode": "observe", "priority": 1})).await?;
        world.wait_policies(2).await?;
        world.policies("RollbackPolicy").delete("later", &DeleteParams::default()).await?;
        world.wait_policies(1).await?;
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_decided_before_the_policies_are_known() -> anyhow::Result<()> {
    let world = still(unsoaked()).await?;
    world.define_policies().await?;
    world.run(&world.life);
    world.policy("all", json!({"mode": "observe", "priority": 9})).await?;
    world.good_then_bad("web", json!({})).await?;
    world.engine.policies.change(|index| *index = index.clone().awaiting_resources());
    world.fire(vec![world.alert("f1", "web"), world.alert("nowhere", "gone")]).await?;
    world.wait_occurrence("nowhere", &["occurrence_dismissed"]).await?;
    assert!(world.occurrence("f1").await?.is_empty(), "a policy that is not known yet may not count it");
    wiring::policies(&world.engine, &world.client, &world.life, || ());
    assert_eq!(world.halted("web").await?.0, "observe_mode");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_explained_against_the_cluster() -> anyhow::Result<()> {
    let world = hearing(unsoaked(), true).await?;
    world.policy("web", json!({"mode": "observe"})).await?;
    world.deploy("web", "1", json!({})).await?;
    world.deploy("api", "1", json!({"lastgood.dev/mode": "approve"})).await?;
    let text = format!(
        "apiVersion: lastgood.dev/v1alpha1\nkind: RollbackPolicy\nmetadata: {{name: web, namespace: {}}}\nspec: {{mode: auto}}\n",
        world.namespace
    );
    let report = check::check_against(&world.client, &text, &unsoaked(), world.engine.clock.now()).await?;
    assert!(report.is_good() && report.documents[0].governs == Some(2), "{report}");
    let said = report.to_string();
    assert!(said.contains(&format!("{}/deployment/web: auto (now observe): RollbackPolicy", world.namespace)), "{said}");
    assert!(said.contains(&format!("{}/deployment/api: approve: its annotation", world.namespace)), "{said}");
    world.end().await
}
