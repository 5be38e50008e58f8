//! Incidents in which nothing is changed, each with its reason, and people told.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use contracts::v1::Outcome;
use serde_json::json;
use testbed::app::{App, AppOptions};
use testbed::world::World;

use crate::expect::{ROLLOUT, SOON, break_with, closes, opens, proved, runs};

/// The predecessor was never seen healthy: halt, page, and once acknowledged, closed.
pub async fn a_predecessor_that_never_proved_itself(world: &World) -> Result<()> {
    let app = world.app("unproved", AppOptions::default()).await?;
    app.deploy("v1-never-ready").await?;
    app.roll_out("v2-failing").await?;
    app.available(ROLLOUT).await?;
    world.raise(&app, "Errors").await?;
    let incident = halts(world, &app, "previous_version_missing").await?;
    let page = world.page(&incident.incident.to_string(), "on_call", SOON).await?;
    ensure!(page.links.to_string().contains("previous-version-missing"), "the page links its runbook: {}", page.links);
    runs(&app, "v2-failing").await?;
    world.acknowledge(&incident).await?;
    closes(world, &incident, Outcome::Halted).await
}

/// A workload that has not opted in is observed: the plan is told, nothing is written.
pub async fn a_workload_that_did_not_opt_in(world: &World) -> Result<()> {
    let app = proved(world, "observed", AppOptions { mode: None, ..AppOptions::default() }).await?;
    break_with(&app, "v2-failing").await?;
    let (before, written) = (unchanging(&app).await?, writes(world, &app));
    world.raise(&app, "Errors").await?;
    let incident = halts(world, &app, "observe_mode").await?;
    closes(world, &incident, Outcome::Halted).await?;
    ensure!(unchanging(&app).await? == before, "observing changed the Deployment");
    ensure!(writes(world, &app) == written, "observing wrote something: {:?}", writes(world, &app));
    let halted = world.journal.state(incident.incident).halted.context("halted")?;
    ensure!(halted.would_do.contains("v1"), "it says what it would do: {:?}", halted.would_do);
    ensure!(world.pages(&incident.incident.to_string()).is_empty(), "observing pages nobody");
    Ok(())
}

/// A workload that another controller keeps.
pub async fn a_workload_that_is_managed_elsewhere(world: &World) -> Result<()> {
    let annotation = ("argocd.argoproj.io/tracking-id".to_owned(), "shop:apps/Deployment:shop/managed".to_owned());
    let options = AppOptions { annotations: BTreeMap::from([annotation]), ..AppOptions::default() };
    let app = proved(world, "managed", options).await?;
    break_with(&app, "v2-failing").await?;
    world.raise(&app, "Errors").await?;
    halts(world, &app, "managed_elsewhere").await?;
    runs(&app, "v2-failing").await
}

/// A rollout that its owner has paused.
pub async fn a_rollout_that_is_paused(world: &World) -> Result<()> {
    let app = proved(world, "held", AppOptions::default()).await?;
    break_with(&app, "v2-failing").await?;
    app.patch(&json!({"spec": {"paused": true}})).await?;
    world.raise(&app, "Errors").await?;
    halts(world, &app, "rollout_paused").await?;
    runs(&app, "v2-failing").await
}

/// What nobody acknowledges goes to the team lead, and the incident closes.
pub async fn a_page_that_nobody_acknowledges(world: &World) -> Result<()> {
    let app = world.app("unheard", AppOptions::default()).await?;
    app.deploy("v1-failing").await?;
    app.available(ROLLOUT).await?;
    world.raise(&app, "Errors").await?;
    let incident = halts(world, &app, "previous_version_missing").await?;
    let id = incident.incident.to_string();
    let on_call = world.page(&id, "on_call", SOON).await?;
    let team_lead = world.page(&id, "team_lead", SOON).await?;
    ensure!(on_call.dedup_key != team_lead.dedup_key, "the team lead's page is another one");
    ensure!(on_call.triggers == 1 && team_lead.triggers == 1, "each is told once");
    closes(world, &incident, Outcome::Halted).await
}

/// A workload that was rolled back a short while ago.
pub async fn a_second_bad_version_within_the_cooldown(world: &World) -> Result<()> {
    let app = proved(world, "again", AppOptions::default()).await?;
    break_with(&app, "v2-failing").await?;
    world.raise(&app, "Errors").await?;
    let first = opens(world, &app).await?;
    world.journal.wait_fact(first.incident, "mitigated", ROLLOUT).await?;
    world.resolve(&app, "Errors").await?;
    closes(world, &first, Outcome::Completed).await?;
    break_with(&app, "v3-failing").await?;
    world.raise(&app, "ErrorsAgain").await?;
    let second = world.journal.wait_incident(&app.namespace, &app.name, 1, SOON).await?;
    world.journal.wait_fact(second.incident, "rollback_halted", SOON).await?;
    let halted = world.journal.state(second.incident).halted.context("halted")?;
    ensure!(halted.reason == "cooldown", "halted for {}", halted.reason);
    runs(&app, "v3-failing").await
}

/// An alert that names no workload is dismissed with its reason, and opens nothing.
pub async fn an_alert_that_names_no_workload(world: &World) -> Result<()> {
    let app = world.app("nobody", AppOptions::default()).await?;
    world.raise(&app, "Errors").await?;
    let reason = world.journal.wait_dismissed(&app.namespace, SOON).await?;
    ensure!(reason == "no_workload", "dismissed for {reason}");
    ensure!(world.journal.incidents(&app.namespace, &app.name).is_empty(), "nothing was opened");
    Ok(())
}

/// Waits until the application's incident has halted for this reason.
pub async fn halts(world: &World, app: &App, reason: &str) -> Result<contracts::IncidentSubject> {
    let incident = opens(world, app).await?;
    world.journal.wait_fact(incident.incident, "rollback_halted", SOON).await?;
    let halted = world.journal.state(incident.incident).halted.context("halted")?;
    ensure!(halted.reason == reason, "halted for {} ({}), not {reason}", halted.reason, halted.detail);
    Ok(incident)
}

/// What was written in the application's namespace through the API, dry runs included; nothing where the cluster keeps no journal for us.
fn writes(world: &World, app: &App) -> Vec<String> {
    let within = format!("/namespaces/{}/", app.namespace);
    let journal = world.ground.simulated().map(testbed::sim::SimCluster::journal).unwrap_or_default();
    let own = journal.into_iter().filter(|entry| entry.path.contains(&within));
    own.map(|entry| format!("{} {} by {}", entry.method, entry.path, entry.user_agent)).collect()
}

async fn unchanging(app: &App) -> Result<(Option<i64>, Option<BTreeMap<String, String>>)> {
    let deployment = app.deployment().await?;
    let annotations =
        deployment.metadata.annotations.map(|all| all.into_iter().filter(|(key, _)| key.starts_with("lastgood.dev/")).collect());
    Ok((deployment.metadata.generation, annotations))
}
