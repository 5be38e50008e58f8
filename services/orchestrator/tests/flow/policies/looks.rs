//! The ledger goes by what the policies say now: a change of theirs wakes a look at the workloads that it is about.

use serde_json::json;
use testbed::wait::until;

use super::hearing;
use crate::configuration::available;
use crate::world::DEADLINE;

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_policy_wakes_a_look_though_nothing_happens_to_the_workload() -> anyhow::Result<()> {
    // As it is installed: a version soaks for ten minutes, and is looked at every five.
    let world = hearing(orchestrator::config::Settings::default(), true).await?;
    world.configured("web", false).await?;
    let (_, known) = world.current("web", "old", available).await?;
    assert!(known.version.configuration[0].keep && known.soaked.is_none());
    world.policy("all", json!({"restoreConfigMaps": "never"})).await?;
    world.current("web", "old", |known| !known.version.configuration[0].keep).await?;
    world.policy("short", json!({"soak": "1s"})).await?;
    let (_, proved) = world.current("web", "old", |known| known.soaked.is_some()).await?;
    assert_eq!(proved.version.id, known.version.id);
    // One that switches the ledger off is heard before a rollout, and so is its end.
    world.policy("off", json!({"ledger": {"enabled": false}, "priority": 9})).await?;
    world.status("off", |status| status["governs"] == 1).await?;
    world.edit("new").await?;
    world.policies("RollbackPolicy").delete("off", &kube::api::DeleteParams::default()).await?;
    world.current("web", "new", |_| true).await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_says_nothing_of_the_ledger_records_nothing() -> anyhow::Result<()> {
    let world = hearing(crate::world::unsoaked(), true).await?;
    world.deploy("web", "1", json!({})).await?;
    let before = world.wait_ledger("web", true).await?;
    world.policy("all", json!({"cooldown": "1h"})).await?;
    world.status("all", |status| status["governs"] == 1).await?;
    // Whatever that woke has come by once something newer has.
    world.policy("short", json!({"ledger": {"keepVersions": 7}})).await?;
    world.deploy("mark", "1", json!({})).await?;
    world.wait_ledger("mark", true).await?;
    until("web's ledger", DEADLINE, async || {
        let view = world.engine.store.load(&world.workload("web")).await.map_err(|error| error.to_string())?;
        if view == before { Ok(()) } else { Err(format!("{} facts", view.facts)) }
    })
    .await?;
    world.end().await
}
