//! Each service killed in the middle of a rollback and started again: the same end.

use anyhow::{Result, ensure};
use contracts::v1::Outcome;
use testbed::app::AppOptions;
use testbed::world::World;

use crate::expect::{ROLLOUT, break_with, closes, count, opens, proved, runs, serves};

/// alert-ingest, before the alert: Alertmanager tells again.
pub async fn alert_ingest(world: &World) -> Result<()> {
    killed(world, "alert-ingest", None).await
}

/// The orchestrator, when the incident has just opened.
pub async fn orchestrator(world: &World) -> Result<()> {
    killed(world, "orchestrator", Some("anomaly_detected")).await
}

/// The executor, between its intent and its write, or right after.
pub async fn executor(world: &World) -> Result<()> {
    killed(world, "executor", Some("rollback_started")).await
}

/// The verifier, when the traffic has just shifted.
pub async fn verifier(world: &World) -> Result<()> {
    killed(world, "verifier", Some("traffic_shifted")).await
}

/// The notifier, when the thread is open and the rollback begins: the same thread is edited on.
pub async fn notifier(world: &World) -> Result<()> {
    killed(world, "notifier", Some("rollback_started")).await
}

async fn killed(world: &World, service: &str, at: Option<&str>) -> Result<()> {
    let app = proved(world, &format!("kill-{service}"), AppOptions { replicas: 3, ..AppOptions::default() }).await?;
    break_with(&app, "v2-failing").await?;
    if at.is_none() {
        world.kill(service).await?;
        world.raise(&app, "Errors").await?;
        world.restart(service).await?;
    } else {
        world.raise(&app, "Errors").await?;
    }
    let incident = opens(world, &app).await?;
    if let Some(event_type) = at {
        world.journal.wait_fact(incident.incident, event_type, ROLLOUT).await?;
        world.kill(service).await?;
        world.restart(service).await?;
    }
    world.journal.wait_fact(incident.incident, "mitigated", ROLLOUT).await?;
    world.resolve(&app, "Errors").await?;
    closes(world, &incident, Outcome::Completed).await?;
    runs(&app, "v1").await?;
    serves(&app, "v1").await?;
    for once in ["rollback_planned", "mitigated", "incident_closed", "traffic_shifted"] {
        ensure!(count(world, &incident, once) == 1, "`{once}` {} times", count(world, &incident, once));
    }
    ensure!(world.journal.incidents(&app.namespace, &app.name).len() == 1, "one incident");
    let (_, _replies) = world.thread(&incident.incident.to_string())?;
    Ok(())
}
