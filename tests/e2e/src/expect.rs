//! Steps and expectations that several scenarios share.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contracts::v1::Outcome;
use contracts::{IncidentSubject, LedgerFact};
use lastgood_core::incident::Phase;
use testbed::app::{App, AppOptions};
use testbed::world::World;

/// Long enough for a busy machine, short enough to fail a hung test.
pub const SOON: Duration = Duration::from_mins(1);
/// For what takes a rollout or two.
pub const ROLLOUT: Duration = Duration::from_mins(2);

/// An application whose version `v1` has proved itself to lastgood.
pub async fn proved(world: &World, name: &str, options: AppOptions) -> Result<App> {
    let app = world.app(name, options).await?;
    app.deploy("v1").await?;
    app.available(ROLLOUT).await?;
    proved_again(world, &app, 1).await?;
    Ok(app)
}

/// Waits until the ledger has seen this many versions of it stand as long as they have to.
pub async fn proved_again(world: &World, app: &App, versions: usize) -> Result<()> {
    let soaked = |fact: &LedgerFact| matches!(fact, LedgerFact::VersionSoaked(_));
    world.journal.wait_ledger_count(&app.namespace, &app.name, "version_soaked", ROLLOUT, versions, soaked).await
}

/// Rolls a bad version out and waits until it is what runs, as far as that version ever gets.
pub async fn break_with(app: &App, tag: &str) -> Result<()> {
    app.roll_out(tag).await?;
    if !tag.ends_with("never-ready") && !tag.ends_with("crashing") && !tag.ends_with("unpullable") {
        app.available(ROLLOUT).await?;
    }
    Ok(())
}

/// Waits until the incident is closed, and that it ended so.
pub async fn closes(world: &World, incident: &IncidentSubject, outcome: Outcome) -> Result<()> {
    world.journal.wait_fact(incident.incident, "incident_closed", ROLLOUT).await?;
    let state = world.journal.state(incident.incident);
    ensure!(state.phase() == Phase::Closed(outcome), "{incident} closed as {:?}, not {outcome:?}", state.phase());
    Ok(())
}

/// The incident that this alert opens.
pub async fn opens(world: &World, app: &App) -> Result<IncidentSubject> {
    world.journal.wait_incident(&app.namespace, &app.name, 0, SOON).await
}

/// That these facts are on the incident in this order (others may lie between).
pub fn in_order(world: &World, incident: &IncidentSubject, wanted: &[&str]) -> Result<()> {
    let facts = world.journal.event_types(incident.incident);
    let mut rest = facts.iter();
    for event_type in wanted {
        ensure!(rest.any(|fact| fact == event_type), "`{event_type}` is missing, or not in its place: {facts:?}");
    }
    Ok(())
}

/// How many facts of this type are on the incident.
#[must_use]
pub fn count(world: &World, incident: &IncidentSubject, event_type: &str) -> usize {
    world.journal.event_types(incident.incident).iter().filter(|fact| **fact == event_type).count()
}

/// That its pods run this tag.
pub async fn runs(app: &App, tag: &str) -> Result<()> {
    let image = app.image().await?;
    ensure!(image == testbed::real_cluster::image(tag), "{}/{} runs {image}, not {tag}", app.namespace, app.name);
    Ok(())
}

/// That its Service answers with this version.
pub async fn serves(app: &App, version: &str) -> Result<()> {
    let url = format!("{}/version", app.url().await?);
    let answer = testbed::wait::until(&format!("{url} answering"), SOON, || testbed::wait::get(&url)).await?;
    let answer: serde_json::Value = serde_json::from_str(&answer).context("the version as JSON")?;
    ensure!(answer["version"] == version, "{url} answers {answer}, not {version}");
    Ok(())
}
