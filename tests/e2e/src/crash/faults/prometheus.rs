//! Prometheus is away while a rollback is verified: no data means not healthy (S7).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use contracts::IncidentSubject;
use contracts::v1::Outcome;
use testbed::app::{App, AppOptions};
use testbed::small_play::{Alarm, PATIENCE};
use testbed::small_world::{SmallWorld, SmallWorldOptions};

use super::{completed, ends};
use crate::crash::courses::{Left, fact, usual};
use crate::crash::run::finish;

/// Away until the end: the verification fails, for want of data, and never passes.
pub async fn prometheus_away_until_the_end() -> Result<()> {
    checked(async |world, app, alarm, incident| {
        fact(world, &incident, "incident_closed").await?;
        let failed = world.journal.state(incident.incident).verification_failed.context("a failed verification")?;
        ensure!(failed.failed_checks.iter().any(|check| check.contains("errors")), "failed: {failed:?}");
        world.page(&incident, "team_lead").await?;
        let ending =
            ends(world, &Left { app, incident: Some(incident), alarms: vec![alarm] }, Outcome::VerificationFailed).await?;
        ensure!(!ending.said.contains_key("verification_passed"), "it passed without data: {:?}", ending.said);
        Ok(())
    })
    .await
}

/// Back within the verification's time: it passes then.
pub async fn prometheus_comes_back_in_time() -> Result<()> {
    checked(async |world, app, alarm, incident| {
        world.prometheus.come_back().await?;
        fact(world, &incident, "old_resources_cleaned").await?;
        world.resolve(&alarm).await?;
        fact(world, &incident, "incident_closed").await?;
        completed(world, &Left { app, incident: Some(incident), alarms: vec![alarm] }).await
    })
    .await
}

/// An incident whose verification asks Prometheus, which goes away as the rollback begins.
async fn checked(then: impl AsyncFnOnce(&SmallWorld, App, Alarm, IncidentSubject) -> Result<()>) -> Result<()> {
    let world = SmallWorld::start(SmallWorldOptions { prometheus: true, ..SmallWorldOptions::default() }).await?;
    let ran = async {
        let check =
            "- {name: errors, promql: {query: 'sum(errors)', max: 1}, timeout: 1s, retries: 10, interval: 500ms, passes: 2}";
        let annotations = BTreeMap::from([("lastgood.dev/smoke-tests".to_owned(), check.to_owned())]);
        let app = world.app("web", AppOptions { annotations, ..usual() }).await?;
        world.prometheus.set_value(Some(0.0));
        app.deploy("v1").await?;
        world.proved(&app, 1).await?;
        app.roll_out("v2-failing").await?;
        world.proved(&app, 2).await?;
        world.prometheus.go_down().await;
        let alarm = Alarm::about(&app, "Errors");
        world.raise(&alarm).await?;
        let incident = world.opens(&app, 0).await?;
        world.journal.wait_fact(incident.incident, "traffic_shifted", PATIENCE).await?;
        then(&world, app, alarm, incident).await
    };
    finish(&world, ran.await)?;
    world.stop().await;
    Ok(())
}
