//! An incident in whose course a tag turns out to lead elsewhere than it did.

use anyhow::{Context as _, Result, ensure};
use contracts::Fact;
use contracts::v1::Outcome;
use testbed::app::{AppKind, AppOptions};
use testbed::registry::Registry;
use testbed::world::World;

use crate::expect::{ROLLOUT, SOON, break_with, closes, in_order, opens, proved_again, serves};

/// The good version's tag was overwritten after its pods had started: what comes back by it is not what ran, so it is put back once more by the
/// digest that the ledger recorded, and people are told.
pub async fn a_tag_that_moved_comes_back_by_its_digest(world: &World) -> Result<()> {
    comes_back(world, "moved", AppOptions::default()).await
}

/// The same of a StatefulSet.
pub async fn a_tag_of_a_stateful_set_that_moved_comes_back_by_its_digest(world: &World) -> Result<()> {
    comes_back(world, "sts-moved", AppOptions { kind: AppKind::StatefulSet, grace: 0, ..AppOptions::default() }).await
}

async fn comes_back(world: &World, name: &str, options: AppOptions) -> Result<()> {
    let registry = Registry::start(&world.ground).await?;
    for tag in ["v1", "v2-failing", "v3"] {
        registry.push(&world.ground, tag, tag)?;
    }
    let repository = registry.repository().to_owned();
    let app = world.app(name, AppOptions { repository, pull_policy: "Always", ..options }).await?;
    app.deploy("v1").await?;
    app.available(ROLLOUT).await?;
    proved_again(world, &app, 1).await?;
    break_with(&app, "v2-failing").await?;
    registry.push(&world.ground, "v1", "v1-failing")?;
    world.raise(&app, "Errors").await?;
    let incident = opens(world, &app).await?;
    world.journal.wait_fact(incident.incident, "mitigated", ROLLOUT).await?;
    world.resolve(&app, "Errors").await?;
    closes(world, &incident, Outcome::Completed).await?;
    in_order(world, &incident, &["rollback_started", "image_moved", "rollback_started", "pods_ready", "verification_passed"])?;

    let moved = world.journal.wait_fact(incident.incident, "image_moved", SOON).await?;
    let Fact::ImageMoved(moved) = moved.fact else { unreachable!("asked for by type") };
    let image = moved.images.first().context("no image moved")?;
    ensure!(image.image == app.image_of("v1") && image.found != image.recorded, "{image:?}");
    let by_digest = format!("{}@{}", registry.repository(), image.recorded);
    ensure!(app.image().await? == by_digest, "it runs {}, not {by_digest}", app.image().await?);
    serves(&app, "v1").await?;
    let (_, replies) = world.thread(&incident.incident.to_string())?;
    let told = format!("{replies:?}");
    ensure!(
        told.contains("Not the image that ran before") && told.contains("by digest"),
        "the thread says nothing of it: {told}"
    );

    // The owner's next apply leaves no digest behind.
    let manifest = world.dir().join("moved.json");
    std::fs::write(&manifest, app.manifest("v3").to_string()).context("the next manifest")?;
    world.kubectl(&["apply", "--validate=false", "-f", &manifest.display().to_string()]).await?;
    app.available(ROLLOUT).await?;
    ensure!(app.image().await? == app.image_of("v3"), "it runs {}", app.image().await?);
    serves(&app, "v3").await
}
