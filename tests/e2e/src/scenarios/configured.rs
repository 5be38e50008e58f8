//! Incidents about configuration: what a version ran with comes back with it, and nobody's live ConfigMap is touched.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contracts::Fact;
use contracts::v1::Outcome;
use kube::ResourceExt as _;
use serde_json::Value;
use testbed::app::{App, AppKind, AppOptions};
use testbed::world::{SERVICES, World};

use crate::expect::{ROLLOUT, SOON, closes, in_order, opens, proved, proved_again, runs, serves};

/// A value that must not be seen anywhere outside the cluster.
const PLANTED: &str = "correct-horse-battery-staple-4711";
/// The same as the API server stores it.
const PLANTED_STORED: &str = "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBsZS00NzEx";
/// A kubelet brings a changed ConfigMap into a running pod within a minute and a half.
const MOUNTED: Duration = Duration::from_mins(3);

fn options() -> AppOptions {
    let pair = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
    AppOptions { config: pair("behaviour", "healthy"), secret: pair("DB_PASSWORD", PLANTED), ..AppOptions::default() }
}

/// The name of the ConfigMap that the pods are made with.
async fn mounted(app: &App) -> Result<String> {
    let workload = app.workload().await?;
    let name = workload.pointer("/spec/template/spec/volumes/0/configMap/name").and_then(Value::as_str);
    Ok(name.context("no ConfigMap is mounted")?.to_owned())
}

/// A ConfigMap is edited, nothing is rolled out, and the running pods go bad: the alert is held against the edit, the content that worked
/// comes back through a copy, and the owner's next apply leaves no reference to it. No value of the Secret leaves the cluster.
pub async fn a_bad_config_map_edit_is_put_right(world: &World) -> Result<()> {
    let app = proved(world, "configured", options()).await?;
    let load = world.load(&app).await?;
    app.edit_config("behaviour", "failing").await?;
    let opened = world.journal.wait_incident(&app.namespace, &app.name, 0, MOUNTED).await;
    let incident = match opened {
        Ok(incident) => incident,
        Err(error) => return Err(error.context(world.alerting(&app, &load).await)),
    };
    closes(world, &incident, Outcome::Completed).await?;
    in_order(world, &incident, &["previous_version_found", "rollback_planned", "rollback_started", "verification_passed"])?;

    let copy = mounted(&app).await?;
    ensure!(copy.starts_with(&format!("{}-lastgood-", app.config_name())), "the pods are made with {copy}");
    let live = app.config_maps().get(&app.config_name()).await?;
    ensure!(live.data.unwrap_or_default()["behaviour"] == "failing", "the live ConfigMap was edited by lastgood");
    let kept = app.config_maps().get(&copy).await?;
    ensure!(kept.immutable == Some(true) && kept.labels().contains_key("lastgood.dev/snapshot"), "{kept:?}");
    runs(&app, "v1").await?;
    serves(&app, "v1").await?;
    let planned = world.journal.wait_fact(incident.incident, "rollback_planned", SOON).await?;
    let Fact::RollbackPlanned(planned) = planned.fact else { unreachable!("asked for by type") };
    let diff = planned.plan.map(|plan| plan.diff).unwrap_or_default();
    ensure!(diff.contains("configured-config[behaviour]: failing → healthy"), "the plan's difference: {diff}");

    // The owner fixes the ConfigMap and applies the next version.
    app.edit_config("behaviour", "healthy").await?;
    let manifest = world.dir().join("next.json");
    std::fs::write(&manifest, app.manifest("v3").to_string()).context("the next manifest")?;
    let manifest = manifest.display().to_string();
    world.kubectl(&["apply", "--validate=false", "-f", &manifest]).await?;
    app.available(ROLLOUT).await?;
    ensure!(mounted(&app).await? == app.config_name(), "a reference to the copy is left");
    proved_again(world, &app, 2).await?;
    nothing_leaked(world).await
}

/// A new image that came with a ConfigMap change goes back to both as they were.
pub async fn image_and_config_map_go_back_together(world: &World) -> Result<()> {
    go_back_together(world, "together", options()).await
}

/// The same of a StatefulSet.
pub async fn image_and_config_map_of_a_stateful_set_go_back_together(world: &World) -> Result<()> {
    go_back_together(world, "sts-together", AppOptions { kind: AppKind::StatefulSet, grace: 0, ..options() }).await
}

async fn go_back_together(world: &World, name: &str, options: AppOptions) -> Result<()> {
    let app = proved(world, name, options).await?;
    // Together, so that neither alone stands long enough to be good.
    tokio::try_join!(app.edit_config("mode", "new"), app.roll_out("v2-failing"))?;
    app.available(ROLLOUT).await?;
    world.raise(&app, "Errors").await?;
    let incident = opens(world, &app).await?;
    world.journal.wait_fact(incident.incident, "mitigated", ROLLOUT).await?;
    world.resolve(&app, "Errors").await?;
    closes(world, &incident, Outcome::Completed).await?;
    runs(&app, "v1").await?;
    let kept = app.config_maps().get(&mounted(&app).await?).await?;
    let data = kept.data.unwrap_or_default();
    ensure!(!data.contains_key("mode") && data["behaviour"] == "healthy", "restored with {data:?}");
    serves(&app, "v1").await
}

/// Greps everything that left: what NATS stores, what the services log and measure, what pager, chat and webhooks received.
async fn nothing_leaked(world: &World) -> Result<()> {
    let mut told = Vec::new();
    for name in SERVICES {
        told.push((format!("metrics of {name}"), world.service(name)?.metrics().await?.into_bytes()));
    }
    let received = [world.pagerduty.render(), world.slack.render(), world.webhook.render()];
    told.extend(received.into_iter().map(|text| ("what was sent".to_owned(), text.into_bytes())));
    let kinds = [world.pagerduty.received(), world.slack.received(), world.webhook.received()];
    told.extend(kinds.into_iter().map(|all| ("what was sent".to_owned(), format!("{all:?}").into_bytes())));
    let before = told.len();
    files(world.nats.dir(), &mut told)?;
    files(world.dir(), &mut told)?;
    ensure!(told.len() > before + SERVICES.len(), "the store and the logs were not found");
    let fingerprinted = told.iter().any(|(_, bytes)| holds(bytes, "configured-secret"));
    ensure!(fingerprinted, "the Secret is not on the ledger at all: nothing was proved");
    for (place, bytes) in &told {
        ensure!(!holds(bytes, PLANTED) && !holds(bytes, PLANTED_STORED), "{place} holds the Secret's value");
    }
    Ok(())
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn files(dir: &Path, told: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, told)?;
        } else if let Some(bytes) = read(&path)? {
            told.push((path.display().to_string(), bytes));
        }
    }
    Ok(())
}

/// A file that goes while it is listed was a temporary one.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}
