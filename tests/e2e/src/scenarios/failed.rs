//! Incidents in which a rollback was begun and a person is needed in the end.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use contracts::v1::Outcome;
use testbed::app::{AppOptions, READY_BEFORE};
use testbed::world::World;

use crate::expect::{ROLLOUT, SOON, break_with, closes, count, in_order, opens, proved, proved_again, runs};

/// The restored version's smoke tests fail: the team lead and the on-call are paged.
pub async fn a_restored_version_whose_smoke_tests_fail(world: &World) -> Result<()> {
    let app = world.app("smokes", AppOptions::default()).await?;
    app.deploy("v1-unhealthy-smoke").await?;
    app.available(ROLLOUT).await?;
    proved_again(world, &app, 1).await?;
    break_with(&app, "v2-failing").await?;
    world.raise(&app, "Errors").await?;
    let incident = opens(world, &app).await?;
    closes(world, &incident, Outcome::VerificationFailed).await?;
    in_order(world, &incident, &["traffic_shifted", "smoke_test_finished", "verification_failed", "escalated"])?;
    let id = incident.incident.to_string();
    let page = world.page(&id, "team_lead", SOON).await?;
    ensure!(page.links.to_string().contains("smoke-tests-failed"), "the page links its runbook: {}", page.links);
    world.page(&id, "on_call", SOON).await?;
    runs(&app, "v1-unhealthy-smoke").await
}

/// The restored version does not become ready: `RollbackFailed`, with the pods' reasons and who serves now.
pub async fn a_restored_version_that_never_becomes_ready(world: &World) -> Result<()> {
    let start_up = if world.ground.simulated().is_some() { 15 } else { 60 };
    let until = world.unix_now() + start_up;
    let env = BTreeMap::from([(READY_BEFORE.to_owned(), until.to_string())]);
    let app = proved(world, "unready", AppOptions { env, ..AppOptions::default() }).await?;
    world.wait_until(until + 1).await;
    app.roll_out_lasting("v2-failing").await?;
    app.available(ROLLOUT).await?;
    world.raise(&app, "Errors").await?;
    let incident = opens(world, &app).await?;
    world.journal.wait_fact(incident.incident, "rollback_failed", ROLLOUT).await?;
    let failed = world.journal.state(incident.incident).failed.context("failed")?;
    ensure!(failed.reason == "pods_not_ready", "failed for {}", failed.reason);
    ensure!(failed.pods.iter().any(|pod| !pod.reason.is_empty()), "each pod has its reason: {:?}", failed.pods);
    ensure!(failed.pods.iter().any(|pod| !pod.last_log_lines.is_empty()), "and its last log lines: {:?}", failed.pods);
    ensure!(!failed.serving.is_empty(), "the pods that serve now are named");
    let page = world.page(&incident.incident.to_string(), "on_call", SOON).await?;
    ensure!(page.payload.to_string().contains(&failed.serving[0]), "the page says who serves now: {}", page.payload);
    world.acknowledge(&incident).await?;
    closes(world, &incident, Outcome::RollbackFailed).await
}

/// Verified, and the alert goes on: escalated at the deadline; the alert that keeps firing opens no second rollback.
pub async fn an_alert_that_goes_on_opens_no_second_rollback(world: &World) -> Result<()> {
    let app = proved(world, "goes-on", AppOptions::default()).await?;
    break_with(&app, "v2-failing").await?;
    world.raise(&app, "Errors").await?;
    let incident = opens(world, &app).await?;
    closes(world, &incident, Outcome::Unresolved).await?;
    world.page(&incident.incident.to_string(), "team_lead", SOON).await?;
    // It repeats, as Alertmanager does for hours, and its start can move.
    let heard = world.alerts_heard(&app);
    world.raise(&app, "Errors").await?;
    world.wait_alerts_heard(&app, heard + 2, ROLLOUT).await?;
    ensure!(world.journal.incidents(&app.namespace, &app.name).len() == 1, "no second incident");
    ensure!(count(world, &incident, "rollback_started") == 1, "no second rollback");
    runs(&app, "v1").await
}
