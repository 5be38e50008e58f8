//! All services were down for longer than a plan may wait, and start again in some order: the plan must not be acted on.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contracts::v1::Outcome;
use testbed::small_world::{SmallWorld, SmallWorldOptions};
use testbed::world::SERVICES;

use super::ends;
use crate::crash::courses::{Left, broken, fact};
use crate::crash::run::finish;

/// In the usual order.
pub async fn a_plan_that_waited_too_long() -> Result<()> {
    expired(0, false).await
}

/// The executor first.
pub async fn a_plan_that_waited_too_long_executor_first() -> Result<()> {
    expired(2, false).await
}

/// The other way round: who tells people first, who hears alerts last.
pub async fn a_plan_that_waited_too_long_in_reverse() -> Result<()> {
    expired(0, true).await
}

/// All at once.
pub async fn a_plan_that_waited_too_long_all_at_once() -> Result<()> {
    expired(5, false).await
}

/// Each rotation, both ways round.
pub async fn a_plan_that_waited_too_long_in_any_order() -> Result<()> {
    for first in 0..SERVICES.len() {
        for reverse in [false, true] {
            expired(first, reverse).await.with_context(|| format!("{first} first, reverse: {reverse}"))?;
        }
    }
    Ok(())
}

async fn expired(first: usize, reverse: bool) -> Result<()> {
    let env = [("ORCHESTRATOR__DEADLINES__START", "4s"), ("ORCHESTRATOR__DEADLINES__ACKNOWLEDGE", "180s")];
    let world = SmallWorld::start(SmallWorldOptions::default().with_env(&env)).await?;
    let ran = async {
        let (app, alarm) = broken(&world).await?;
        // Otherwise it would begin in time.
        world.of("executor")?.service.kill().await?;
        world.raise(&alarm).await?;
        let incident = world.opens(&app, 0).await?;
        fact(&world, &incident, "rollback_planned").await?;
        for name in SERVICES {
            world.of(name)?.service.kill().await?;
        }
        let (_, plan) = world.journal.state(incident.incident).plan.context("a plan")?;
        let not_after = contracts::time::from_proto(plan.not_after.as_ref()).context("the plan's end")?;
        let left = Duration::try_from(not_after.duration_since(testbed::small_play::now())).unwrap_or_default();
        tokio::time::sleep(left + Duration::from_secs(1)).await;
        start(&world, first, reverse).await?;
        world.page(&incident, "on_call").await?;
        world.acknowledge(&incident).await?;
        fact(&world, &incident, "incident_closed").await?;
        let reason = world.journal.state(incident.incident).halted.context("a halt")?.reason;
        ensure!(reason == "plan_expired", "halted for {reason}");
        let left = Left { app, incident: Some(incident), alarms: vec![alarm] };
        let ending = ends(&world, &left, Outcome::Halted).await?;
        ensure!(ending.writes == 0 && !ending.said.contains_key("rollback_started"), "the plan was acted on: {:?}", ending.said);
        Ok(())
    };
    finish(&world, ran.await)?;
    world.stop().await;
    Ok(())
}

/// Starts all services: one after the other beginning with `first`, or all at once where there is none of that number.
async fn start(world: &SmallWorld, first: usize, reverse: bool) -> Result<()> {
    let mut order = SERVICES;
    if reverse {
        order.reverse();
    }
    if first >= order.len() {
        let all = order.iter().map(|name| async { Ok(world.of(name)?.service.restart().await?) });
        return futures::future::try_join_all(all).await.map(drop);
    }
    order.rotate_left(first);
    for name in order {
        world.of(name)?.service.restart().await?;
    }
    Ok(())
}
