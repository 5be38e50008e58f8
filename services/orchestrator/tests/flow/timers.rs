//! Deadlines pass on their own.

use std::time::Duration;

use orchestrator::config::Settings;

use super::world::{auto, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_nobody_begins_expires() -> anyhow::Result<()> {
    let mut settings = Settings::default();
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
    let mut settings = Settings::default();
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
