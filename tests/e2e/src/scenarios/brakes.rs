//! The cluster-wide brakes. Each of these stops everybody, so they run one at a time in a world of their own.

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use testbed::app::AppOptions;
use testbed::world::World;

use crate::expect::{SOON, break_with, closes, opens, proved, runs};
use crate::scenarios::halted::halts;
use contracts::v1::Outcome;

/// The pause switch stops all automatic action, and it goes on after it is taken back.
pub async fn the_pause_switch(world: &World) -> Result<()> {
    let app = proved(world, "paused", AppOptions::default()).await?;
    break_with(&app, "v2-failing").await?;
    world.pause("an exercise").await?;
    world.raise(&app, "Errors").await?;
    let incident = halts(world, &app, "paused").await?;
    let detail = world.journal.state(incident.incident).halted.context("halted")?.detail;
    ensure!(detail.contains("an exercise"), "it says why: {detail}");
    runs(&app, "v2-failing").await?;
    world.unpause("the exercise is over").await?;
    let other = proved(world, "unpaused", AppOptions::default()).await?;
    break_with(&other, "v2-failing").await?;
    world.raise(&other, "Errors").await?;
    let incident = opens(world, &other).await?;
    world.journal.wait_fact(incident.incident, "mitigated", crate::expect::ROLLOUT).await?;
    world.resolve(&other, "Errors").await?;
    closes(world, &incident, Outcome::Completed).await
}

/// Many workloads fail at once: that is not one bad deploy, so the later ones are left to people.
pub async fn a_mass_failure(world: &World) -> Result<()> {
    let limit = world.mass_failure_limit();
    let apps = try_join_all((0..limit + 2).map(|n| async move {
        let app = proved(world, &format!("many-{n}"), AppOptions { replicas: 1, ..AppOptions::default() }).await?;
        break_with(&app, "v2-failing").await?;
        anyhow::Ok(app)
    }))
    .await?;
    world.raise_all(&apps, "Errors").await?;
    let mut halted = 0;
    for app in &apps {
        let incident = world.journal.wait_incident(&app.namespace, &app.name, 0, SOON).await?;
        let state = world.journal.wait_decided(incident.incident, SOON).await?;
        halted += usize::from(state.halted.is_some_and(|halted| halted.reason == "mass_failure"));
    }
    ensure!(halted >= 2, "{halted} of {} were held back", apps.len());
    Ok(())
}
