//! Budgets: no more is rolled back than the policy allows, whoever asks, and however often.

use std::time::Duration;

use contracts::subjects::{self, streams};
use contracts::v1;
use lastgood_core::incident::Command;
use lastgood_core::policy::Budgets;
use orchestrator::config::Settings;
use testbed::wait::until;

use super::world::{DEADLINE, World, auto, start, still, unsoaked};

fn one_at_a_time() -> Settings {
    let mut settings = unsoaked();
    settings.budgets.namespace_concurrent = Some(1);
    settings
}

async fn decided(world: &World, name: &str) -> anyhow::Result<String> {
    let what = format!("the decision about {name}");
    let decided = until(&what, DEADLINE, async || {
        let latest = world.engine.incidents.latest(&world.workload(name)).await.map_err(|error| error.to_string())?;
        let (_, loaded) = latest.ok_or("no incident")?;
        let halted = loaded.incident.halted.as_ref().map(|halted| format!("{}: {}", halted.reason, halted.detail));
        halted.or_else(|| loaded.incident.plan.is_some().then(|| "planned".to_owned())).ok_or_else(|| "undecided".to_owned())
    });
    Ok(decided.await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_rollback_of_the_namespace_waits_for_a_person_until_the_first_is_over() -> anyhow::Result<()> {
    let world = start(one_at_a_time()).await?;
    for name in ["one", "two", "three"] {
        world.good_then_bad(name, auto()).await?;
    }
    world.fire(vec![world.alert("a", "one")]).await?;
    assert_eq!(decided(&world, "one").await?, "planned");
    let (first, ..) = world.incident("one", "rollback_planned").await?;
    world.fire(vec![world.alert("b", "two")]).await?;
    let refused = decided(&world, "two").await?;
    assert!(refused.starts_with("budget_spent") && refused.contains(&first.incident.to_string()), "{refused}");
    // The first one ends: its place is free, and as nothing was rolled back it does not count for the hour either.
    let superseded = Command::Supersede(v1::Superseded { what: "template".into(), ..Default::default() });
    world.engine.incidents.execute(&first, None, &superseded, world.engine.clock.now()).await?;
    until("the budget's return", DEADLINE, async || {
        let spent = world.engine.budgets.load("test").await.map_err(|error| error.to_string())?;
        if spent.holds(&first.incident.to_string()) { Err("held".to_owned()) } else { Ok(()) }
    })
    .await?;
    world.fire(vec![world.alert("c", "three")]).await?;
    assert_eq!(decided(&world, "three").await?, "planned");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_do_not_overspend() -> anyhow::Result<()> {
    let world = still(one_at_a_time()).await?;
    let lives = [world.life.clone(), chassis::Lifecycle::default()];
    for life in &lives {
        world.run(life);
    }
    let names = ["one", "two", "three", "four"];
    for name in names {
        world.good_then_bad(name, auto()).await?;
    }
    futures::future::try_join_all(names.map(|name| world.fire(vec![world.alert(name, name)]))).await?;
    let mut planned = 0;
    for name in names {
        let decision = decided(&world, name).await?;
        assert!(decision == "planned" || decision.starts_with("budget_spent"), "{decision}");
        planned += usize::from(decision == "planned");
    }
    assert_eq!(planned, 1, "never more, and never nobody");
    lives[1].stop();
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_leaves_the_log_and_a_redelivery_takes_nothing_twice() -> anyhow::Result<()> {
    let world = still(unsoaked()).await?;
    let (budgets, now) = (&world.engine.budgets, || world.engine.clock.now());
    let limits = Budgets { namespace_concurrent: Some(1), ..Budgets::default() };
    let subject =
        |name: &str| contracts::IncidentSubject { workload: world.workload(name), incident: world.engine.bus.ids().incident() };
    let (first, second) = (subject("web"), subject("cart"));
    assert_eq!(budgets.take(&first, limits, DEADLINE, now()).await?, Ok(()));
    assert_eq!(budgets.take(&first, limits, DEADLINE, now()).await?, Ok(()), "a crash between taking and planning");
    assert!(budgets.take(&second, limits, DEADLINE, now()).await?.is_err());
    assert!(budgets.give_back(&first, true).await? && !budgets.give_back(&first, true).await?);
    let read = async || world.engine.bus.read(streams::LEDGER, &subjects::budget_filter("test"), 1, None).await;
    assert_eq!(read().await?.len(), 2);
    for _ in 0..40 {
        let one = subject("web");
        assert_eq!(budgets.take(&one, limits, DEADLINE, now()).await?, Ok(()));
        assert!(budgets.give_back(&one, true).await?);
    }
    assert!(read().await?.len() < 70, "{} facts are kept", read().await?.len());
    // One that never returns makes room after its time.
    assert_eq!(budgets.take(&first, limits, Duration::from_millis(1), now()).await?, Ok(()));
    until("its expiry", DEADLINE, async || match budgets.take(&second, limits, DEADLINE, now()).await {
        Ok(taken) => taken.map_err(|overspent| overspent.to_string()),
        Err(error) => Err(error.to_string()),
    })
    .await?;
    world.end().await
}
