//! What everything stands on fails: NATS, the API server, Prometheus, the providers, the disk; or all services were away.
//!
//! Guarantees: after each of them the incident ends in `IncidentClosed` and people are told (S5), nothing is given up (S8), every alert has
//! its disposition and the cluster its one change (S1 to S4). Must not: take longer than a fault needs to be one; full lengths are for
//! `LASTGOOD_DEPTH=deep`.

pub mod bus;
pub mod cluster;
pub mod expired;
pub mod full;
pub mod letters;
pub mod prometheus;
pub mod providers;

use std::time::Duration;

use anyhow::{Result, ensure};
use contracts::IncidentSubject;
use contracts::v1::Outcome;
use lastgood_core::incident::Phase;
use testbed::small_play::Alarm;
use testbed::small_world::{SmallWorld, SmallWorldOptions};

use super::courses::{Left, broken, fact};
use super::ending::Ending;
use super::harness::deep;
use super::run::{end, finish};

/// How long something is away: a minute at depth; otherwise longer than every ack wait and every request's timeout, which is when
/// services begin to behave differently.
#[must_use]
pub fn away() -> Duration {
    if deep() { Duration::from_mins(1) } else { Duration::from_secs(16) }
}

/// Deadlines that outlast [`away`], so that what was begun can be ended well.
pub const PATIENT: &[(&str, &str)] = &[
    ("ORCHESTRATOR__DEADLINES__DECIDE", "180s"),
    ("ORCHESTRATOR__DEADLINES__START", "180s"),
    ("ORCHESTRATOR__DEADLINES__ROLLBACK", "180s"),
    ("ORCHESTRATOR__DEADLINES__VERIFY", "180s"),
    ("ORCHESTRATOR__DEADLINES__RESOLVE", "180s"),
    ("ORCHESTRATOR__DEADLINES__NOTIFY", "180s"),
];

/// Runs the good way; once the fact is on the incident, `fault` does its worst (and mends it). The incident must complete all the same.
pub async fn completes(
    options: SmallWorldOptions,
    at: &str,
    fault: impl AsyncFnOnce(&SmallWorld, &IncidentSubject) -> Result<()>,
) -> Result<()> {
    completes_with(options, at, fault, &[]).await
}

/// [`completes`], where `fault` also raises these alerts.
pub async fn completes_with(
    options: SmallWorldOptions,
    at: &str,
    fault: impl AsyncFnOnce(&SmallWorld, &IncidentSubject) -> Result<()>,
    more: &[&str],
) -> Result<()> {
    let world = SmallWorld::start(options.with_env(PATIENT)).await?;
    let ran = async {
        let (app, alarm) = broken(&world).await?;
        world.raise(&alarm).await?;
        let incident = world.opens(&app, 0).await?;
        fact(&world, &incident, at).await?;
        fault(&world, &incident).await?;
        fact(&world, &incident, "old_resources_cleaned").await?;
        world.resolve(&alarm).await?;
        fact(&world, &incident, "incident_closed").await?;
        let alarms = std::iter::once(alarm).chain(more.iter().map(|alert| Alarm::about(&app, alert))).collect();
        completed(&world, &Left { app, incident: Some(incident), alarms }).await
    };
    finish(&world, ran.await)?;
    world.stop().await;
    Ok(())
}

/// That the incident completed, with one change of the template, and that people were told of it.
pub async fn completed(world: &SmallWorld, left: &Left) -> Result<()> {
    let ending = ends(world, left, Outcome::Completed).await?;
    ensure!(ending.writes == 1, "the template was changed {} times", ending.writes);
    ensure!(ending.template.contains(":v1\""), "v1 is to run, not {}", ending.template);
    ensure!(ending.threads == 1, "{} chat threads", ending.threads);
    for what in ["change ", "webhook \"on_call\" \"completed\"", "The last good version"] {
        let times: usize = ending.told.iter().filter(|(told, _)| told.contains(what)).map(|(_, times)| times).sum();
        ensure!(times == 1, "`{what}` was told {times} times: {:?}", ending.told);
    }
    ensure!(!ending.told.keys().any(|told| told.starts_with("page ")), "a success pages nobody: {:?}", ending.told);
    Ok(())
}

/// That the incident ended so, the promises hold and nothing was given up.
pub async fn ends(world: &SmallWorld, left: &Left, outcome: Outcome) -> Result<Ending> {
    let ending = end(world, left).await?;
    if let Some(incident) = &left.incident {
        let phase = world.journal.state(incident.incident).phase();
        ensure!(phase == Phase::Closed(outcome), "it ended as {phase:?}, not {outcome:?}");
    }
    ensure!(ending.given_up == 0, "{} messages were given up", ending.given_up);
    Ok(ending)
}
