//! Others at work on the same workload: a person's change wins, an autoscaler's is no change of version.

use anyhow::{Result, ensure};
use contracts::v1::Outcome;
use serde_json::json;
use testbed::app::AppOptions;
use testbed::world::World;

use crate::expect::{ROLLOUT, SOON, break_with, closes, in_order, opens, proved, runs, serves};

/// A person deploys in the middle of the rollback: theirs wins, and lastgood touches nothing more.
pub async fn a_persons_deploy_supersedes(world: &World) -> Result<()> {
    let app = proved(world, "contested", AppOptions { replicas: 6, ..AppOptions::default() }).await?;
    break_with(&app, "v2-failing").await?;
    world.raise(&app, "Errors").await?;
    let incident = opens(world, &app).await?;
    world.wait_written(&app, &incident).await?;
    app.roll_out("v3").await?;
    closes(world, &incident, Outcome::Superseded).await?;
    in_order(world, &incident, &["rollback_started", "superseded", "notification_requested", "incident_closed"])?;
    let pages = world.pages(&incident.incident.to_string());
    ensure!(pages.is_empty(), "a person is at it already: no page, but {pages:?}");
    // Their version mends it. An alert that went on for long after the close would rightly page the team lead.
    world.resolve(&app, "Errors").await?;
    app.available(ROLLOUT).await?;
    runs(&app, "v3").await?;
    serves(&app, "v3").await?;
    Ok(())
}

/// A person puts the bad version back on purpose in the middle of the rollback: that too is theirs.
pub async fn the_bad_version_put_back_on_purpose_supersedes(world: &World) -> Result<()> {
    let app = proved(world, "on-purpose", AppOptions { replicas: 6, ..AppOptions::default() }).await?;
    break_with(&app, "v2-failing").await?;
    world.raise(&app, "Errors").await?;
    let incident = opens(world, &app).await?;
    world.wait_written(&app, &incident).await?;
    app.roll_out("v2-failing").await?;
    closes(world, &incident, Outcome::Superseded).await?;
    app.available(ROLLOUT).await?;
    runs(&app, "v2-failing").await
}

/// An autoscaler changes the replicas in the middle of the rollback: nothing is superseded, and its number stays.
pub async fn an_autoscaler_supersedes_nothing(world: &World) -> Result<()> {
    let app = proved(world, "autoscaled", AppOptions { replicas: 5, ..AppOptions::default() }).await?;
    break_with(&app, "v2-failing").await?;
    world.raise(&app, "Errors").await?;
    let incident = opens(world, &app).await?;
    world.journal.wait_fact(incident.incident, "rollback_planned", SOON).await?;
    app.patch(&json!({"spec": {"replicas": 6}})).await?;
    world.wait_written(&app, &incident).await?;
    app.patch(&json!({"spec": {"replicas": 7}})).await?;
    world.journal.wait_fact(incident.incident, "mitigated", ROLLOUT).await?;
    world.resolve(&app, "Errors").await?;
    closes(world, &incident, Outcome::Completed).await?;
    runs(&app, "v1").await?;
    app.available(ROLLOUT).await?;
    let replicas = app.deployment().await?.spec.and_then(|spec| spec.replicas);
    ensure!(replicas == Some(7), "the autoscaler's 7 replicas are {replicas:?}");
    Ok(())
}
