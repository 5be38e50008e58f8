//! Two processes of each service, one of which is killed in the middle of an incident and stays away.
//!
//! Guarantees: the other one carries on to the undisturbed run's end, well within the deadlines (none passes). Must not: choose the process
//! that is killed; whoever is at work is.

use anyhow::{Context as _, Result, ensure};
use testbed::proxy::nats::{Moment, Trap};
use testbed::small_play::PATIENCE;
use testbed::small_world::{SmallWorld, SmallWorldOptions};

use super::courses::COURSES;
use super::run::{end, finish, good_ending};

/// alert-ingest, with the alert stored and its sender not answered.
pub async fn one_alert_ingest_of_two_is_killed() -> Result<()> {
    one_killed("alert-ingest", "alert_notification").await
}

/// The orchestrator, with the plan stored.
pub async fn one_orchestrator_of_two_is_killed() -> Result<()> {
    one_killed("orchestrator", "rollback_planned").await
}

/// The executor, between intent and write.
pub async fn one_executor_of_two_is_killed() -> Result<()> {
    one_killed("executor", "rollback_started").await
}

/// The verifier, in the middle of the smoke tests.
pub async fn one_verifier_of_two_is_killed() -> Result<()> {
    one_killed("verifier", "smoke_test_finished").await
}

/// The notifier, with the thread open.
pub async fn one_notifier_of_two_is_killed() -> Result<()> {
    one_killed("notifier", "announced").await
}

async fn one_killed(service: &str, event_type: &str) -> Result<()> {
    let course = &COURSES[0];
    let wanted = good_ending().await?;
    let world = SmallWorld::start(SmallWorldOptions { replicas: 2, ..course.options() }).await?;
    let ran = async {
        for index in 0..2 {
            let trap = Trap { event_type: event_type.to_owned(), nth: 1, moment: Moment::After };
            world.replica(service, index)?.nats()?.arm(trap);
        }
        let killing = async {
            let at_work = at_work(&world, service).await?;
            world.replica(service, 1 - at_work)?.nats()?.disarm();
            Ok(world.replica(service, at_work)?.service.kill().await?)
        };
        let (left, ()) = tokio::try_join!((course.script)(&world), killing)?;
        let differences = end(&world, &left).await?.differences(&wanted, service);
        ensure!(differences.is_empty(), "the end is another one:\n  {}", differences.join("\n  "));
        let state = world.journal.state(left.incident.context("an incident")?.incident);
        ensure!(state.deadlines_passed.iter().all(|kind| kind.code() == "announce"), "passed: {:?}", state.deadlines_passed);
        Ok(())
    };
    finish(&world, ran.await)?;
    world.stop().await;
    Ok(())
}

/// Which of the two comes to the trap first.
async fn at_work(world: &SmallWorld, service: &str) -> Result<usize> {
    let (first, second) = (world.replica(service, 0)?.nats()?, world.replica(service, 1)?.nats()?);
    tokio::select! {
        sprung = first.sprung(PATIENCE) => sprung.map(|()| 0).context("neither came to it"),
        sprung = second.sprung(PATIENCE) => sprung.map(|()| 1).context("neither came to it"),
    }
}
