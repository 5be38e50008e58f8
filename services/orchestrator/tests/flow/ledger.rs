//! The ledger that the watch keeps.

use contracts::subjects::{self, streams};
use contracts::v1;
use testbed::wait::until;

use super::world::{DEADLINE, auto, start, still, unsoaked};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_adds_nothing_and_what_is_found_is_not_taken_for_proved() -> anyhow::Result<()> {
    let world = still(unsoaked()).await?;
    world.deploy("web", "1", auto()).await?;
    world.deploy("web", "2", auto()).await?;
    let first = chassis::Lifecycle::default();
    world.run(&first);
    let view = world.wait_ledger("web", true).await?;
    let proved = view.ledger.versions.values().filter(|known| known.version.fully_available_at.is_some());
    assert_eq!(proved.count(), 1, "only what was seen to run well");
    first.stop();
    let before = facts(&world).await?;
    let second = chassis::Lifecycle::default();
    world.run(&second);
    world.deploy("mark", "1", auto()).await?;
    world.wait_ledger("mark", true).await?;
    assert_eq!(facts(&world).await?, before);
    second.stop();
    world.end().await
}

async fn facts(world: &super::world::World) -> anyhow::Result<usize> {
    let filter = subjects::ledger_filter(&world.workload("web"));
    Ok(world.engine.bus.read(streams::LEDGER, &filter, 1, None).await?.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_makes_the_old_version_current_again() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.good_then_bad("web", auto()).await?;
    world.deploy("web", "1", auto()).await?;
    let view = world.wait_ledger("web", true).await?;
    assert_eq!(view.ledger.versions.len(), 2);
    let known = view.known(&world.hash("web").await?).unwrap();
    assert!(!known.template_json.is_empty());
    if world.sim.is_none() {
        assert!(!known.managed_fields_json.is_empty(), "who owned what is recorded where the cluster tells");
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_rolled_back_from_is_marked_once() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.good_then_bad("web", auto()).await?;
    world.fire(vec![world.alert("f1", "web")]).await?;
    let (subject, incident, _) = world.incident("web", "rollback_planned").await?;
    let (_, plan) = incident.plan.unwrap();
    let intent = v1::RollbackStarted {
        attempt: 1,
        workload_uid: plan.workload_uid.clone(),
        workload_generation: plan.workload_generation,
        template_hash: plan.from.clone().unwrap().template_hash,
        target_template_hash: plan.to.unwrap().template_hash,
        ..v1::RollbackStarted::default()
    };
    let bad = intent.template_hash.clone();
    let start = lastgood_core::incident::Command::StartAttempt(intent);
    world.engine.incidents.execute(&subject, None, &start, world.engine.clock.now()).await?;
    let marked = until("the mark", DEADLINE, async || {
        let view = world.engine.store.load(&world.workload("web")).await.map_err(|error| error.to_string())?;
        view.known(&bad).and_then(|known| known.rolled_back_from.clone()).ok_or_else(|| "no mark".to_owned())
    });
    assert_eq!(marked.await?, subject.incident.to_string());
    world.end().await
}
