//! Deadlines pass on their own.

use std::time::Duration;

use testbed::wait::until;

use super::world::{DEADLINE, auto, resolved, start, unsoaked};

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_nobody_begins_expires() -> anyhow::Result<()> {
    let mut settings = unsoaked();
    settings.deadlines.start = Duration::from_secs(2);
    settings.deadlines.announce = Duration::from_secs(1);
    let world = start(settings).await?;
    world.good_then_bad("web", auto()).await?;
    world.fire(vec![world.alert("f1", "web")]).await?;
    let (_, incident, facts) = world.incident("web", "rollback_halted").await?;
    assert_eq!(incident.halted.unwrap().reason, "plan_expired");
    assert_eq!(facts.iter().filter(|fact| *fact == "deadline_passed").count(), 2, "{facts:?}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undecided_incident_halts_at_its_deadline_and_timers_survive_nats() -> anyhow::Result<()> {
    let mut settings = unsoaked();
    settings.deadlines.decide = Duration::from_secs(3);
    let world = start(settings).await?;
    let Some(sim) = &world.sim else {
        eprintln!("not run on a real cluster: its API server is not ours to stop");
        return world.end().await;
    };
    world.good_then_bad("web", auto()).await?;
    sim.set_available(false);
    let subject = contracts::IncidentSubject { workload: world.workload("web"), incident: world.engine.bus.ids().incident() };
    let trigger = Some(orchestrator::occurrences::occurrence("alertmanager", &world.alert("f1", "web")));
    let deadlines = Some(world.engine.settings.deadlines.recorded());
    let opening = contracts::v1::AnomalyDetected { trigger, deadlines, ..Default::default() };
    world.engine.incidents.append(&subject, 0, &[opening.into()]).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.nats.restart().await?;
    let (_, incident, _) = world.incident("web", "rollback_halted").await?;
    assert_eq!(incident.halted.unwrap().reason, "decision_timed_out");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_needs_somebody_again_has_its_deadline_again() -> anyhow::Result<()> {
    let mut settings = unsoaked();
    settings.deadlines.acknowledge = Duration::from_secs(2);
    let world = start(settings).await?;
    // No version to go back to: somebody is paged, who has to acknowledge while the alert fires.
    world.deploy("fresh", "1", auto()).await?;
    world.wait_ledger("fresh", false).await?;
    let alert = world.alert("f1", "fresh");
    world.fire(vec![alert.clone()]).await?;
    world.incident("fresh", "notification_requested").await?;
    world.fire(vec![resolved(alert.clone())]).await?;
    world.incident("fresh", "alert_resolved").await?;
    // The timer fires while nobody is needed.
    let fired = contracts::subjects::streams::TIMERS;
    until("the timer fired for nothing", DEADLINE, async || {
        let read = world.engine.bus.read(fired, "lastgood.fired.>", 1, None).await.map_err(|error| error.to_string())?;
        let found = read.iter().any(|stored| stored.subject.ends_with(".acknowledge"));
        if found { Ok(()) } else { Err(format!("{} timers fired", read.len())) }
    })
    .await?;
    let (_, _, facts) = world.incident("fresh", "alert_resolved").await?;
    assert!(!facts.iter().any(|fact| fact == "deadline_passed"), "{facts:?}");
    let mut again = alert;
    again.starts_at = Some(contracts::time::to_proto(world.engine.clock.now()));
    world.fire(vec![again]).await?;
    let (_, incident, facts) = world.incident("fresh", "deadline_passed").await?;
    assert!(facts.iter().any(|fact| fact == "alert_joined"), "{facts:?}");
    assert!(incident.notice(contracts::v1::Audience::TeamLead, "unacknowledged").is_some(), "{facts:?}");
    world.end().await
}
