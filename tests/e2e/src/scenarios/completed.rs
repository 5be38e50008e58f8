//! Incidents that end well: the last good version is back, proved, and the alert has resolved.

use anyhow::{Context as _, Result, ensure};
use contracts::v1::Outcome;
use contracts::{Fact, LedgerFact};
use testbed::app::{App, AppOptions};
use testbed::real_cluster::image;
use testbed::world::World;

use crate::expect::{self, ROLLOUT, SOON, break_with, closes, count, in_order, opens, proved, runs, serves};

/// The workflow's good path, in its order.
const GOOD_PATH: &[&str] = &[
    "anomaly_detected",
    "current_version_identified",
    "previous_version_found",
    "rollback_planned",
    "rollback_started",
    "previous_version_deployed",
    "pods_ready",
    "traffic_shifted",
    "smoke_test_finished",
    "verification_passed",
    "mitigated",
    "status_updated",
    "old_resources_cleaned",
    "notification_requested",
    "on_call_notified",
    "incident_closed",
];

/// A version that passes readiness and serves errors: Prometheus sees it, Alertmanager tells, lastgood puts `v1` back.
pub async fn a_version_that_serves_errors_is_put_right(world: &World) -> Result<()> {
    let app = proved(world, "checkout", AppOptions::default()).await?;
    let load = world.load(&app).await?;
    break_with(&app, "v2-failing").await?;
    let incident = match opens(world, &app).await {
        Ok(incident) => incident,
        Err(error) => return Err(error.context(world.alerting(&app, &load).await)),
    };
    closes(world, &incident, Outcome::Completed).await?;
    in_order(world, &incident, GOOD_PATH)?;
    in_order(world, &incident, &["rollback_started", "bad_pods_scaled_down", "verification_passed"])?;
    in_order(world, &incident, &["announced", "rollback_started"])?;
    runs(&app, "v1").await?;
    serves(&app, "v1").await?;

    let description = world.kubectl(&["describe", "deployment", &app.name, "-n", &app.namespace]).await?;
    ensure!(
        description.contains(&incident.incident.to_string()),
        "`kubectl describe` does not name the incident:\n{description}"
    );
    ensure!(description.contains("RolledBack"), "`kubectl describe` shows no event:\n{description}");

    let id = incident.incident.to_string();
    ensure!(world.pages(&id).is_empty(), "a success pages nobody: {:?}", world.pages(&id));
    ensure!(world.changes(&id) == 1, "one change event tells of it, not {}", world.changes(&id));
    let (parent, replies) = world.thread(&id)?;
    ensure!(parent.versions.len() > 1, "the thread's first message is edited as facts arrive");
    ensure!(!replies.is_empty(), "the thread has replies");
    let opened = parent.versions[0].0;
    let started = world.journal.wait_fact(incident.incident, "rollback_started", SOON).await?.at;
    ensure!(opened <= started, "the thread opened at {opened}, after the first write's intent at {started}");
    Ok(())
}

/// A version whose pods crash: no alert rule is needed, the detector sees it.
pub async fn a_crash_loop_is_detected_and_put_right(world: &World) -> Result<()> {
    detected(world, "crashes", "v2-crashing", AppOptions::default()).await
}

/// A version whose image does not exist.
pub async fn an_image_that_cannot_be_pulled_is_put_right(world: &World) -> Result<()> {
    detected(world, "unpullable", "v2-unpullable", AppOptions::default()).await
}

/// A version that never becomes ready: its rollout runs into its progress deadline.
pub async fn a_rollout_that_does_not_progress_is_put_right(world: &World) -> Result<()> {
    // Long enough for a healthy version's pods to start, which takes a real kubelet some seconds.
    let progress_deadline = if world.ground.simulated().is_some() { 5 } else { 25 };
    let options = AppOptions { progress_deadline, ..AppOptions::default() };
    detected(world, "stuck", "v2-never-ready", options).await
}

async fn detected(world: &World, name: &str, tag: &str, options: AppOptions) -> Result<()> {
    let app = proved(world, name, options).await?;
    break_with(&app, tag).await?;
    let incident = opens(world, &app).await?;
    let opening = world.journal.wait_fact(incident.incident, "anomaly_detected", SOON).await?;
    let Fact::AnomalyDetected(opening) = opening.fact else { unreachable!("asked for by type") };
    ensure!(opening.trigger.is_some_and(|trigger| trigger.source == "rollout"), "the detector tells of it");
    closes(world, &incident, Outcome::Completed).await?;
    runs(&app, "v1").await?;
    serves(&app, "v1").await
}

/// Two alerts of one workload are one incident.
pub async fn a_second_alert_joins(world: &World) -> Result<()> {
    let app = proved(world, "joined", AppOptions { replicas: 4, ..AppOptions::default() }).await?;
    break_with(&app, "v2-failing").await?;
    world.raise(&app, "Errors").await?;
    let incident = opens(world, &app).await?;
    world.raise(&app, "Latency").await?;
    world.journal.wait_fact(incident.incident, "alert_joined", SOON).await?;
    world.journal.wait_fact(incident.incident, "mitigated", ROLLOUT).await?;
    world.resolve(&app, "Latency").await?;
    world.resolve(&app, "Errors").await?;
    closes(world, &incident, Outcome::Completed).await?;
    ensure!(world.journal.incidents(&app.namespace, &app.name).len() == 1, "one incident for both alerts");
    ensure!(count(world, &incident, "rollback_started") == 1, "one attempt");
    Ok(())
}

/// A Service that pins the version's label is switched, and has a ready endpoint at every moment.
pub async fn a_pinned_service_is_switched_without_a_gap(world: &World) -> Result<()> {
    let app = world.app("pinned", AppOptions { pinned_service: true, replicas: 3, ..AppOptions::default() }).await?;
    app.deploy("v1").await?;
    app.available(ROLLOUT).await?;
    expect::proved_again(world, &app, 1).await?;
    break_with(&app, "v2-failing").await?;
    app.pin("v2-failing").await?;
    serves(&app, "v2").await?;
    let watch = world.watch_endpoints(&app).await?;
    world.raise(&app, "Errors").await?;
    let incident = opens(world, &app).await?;
    world.journal.wait_fact(incident.incident, "mitigated", ROLLOUT).await?;
    let fewest = watch.fewest_ready();
    ensure!(fewest > 0, "the Service had a moment without a ready endpoint");
    world.resolve(&app, "Errors").await?;
    closes(world, &incident, Outcome::Completed).await?;
    let service = app.services().get(&app.name).await?;
    let selector = service.spec.and_then(|spec| spec.selector).unwrap_or_default();
    ensure!(selector.get("version").map(String::as_str) == Some("v1"), "the Service selects {selector:?}");
    serves(&app, "v1").await
}

/// After a rollback the owner rolls a healthy version out: it goes through, and opens nothing.
pub async fn the_owners_next_deploy_is_left_alone(world: &World) -> Result<()> {
    let app = proved(world, "forward", AppOptions::default()).await?;
    break_with(&app, "v2-failing").await?;
    world.raise(&app, "Errors").await?;
    let incident = opens(world, &app).await?;
    world.journal.wait_fact(incident.incident, "mitigated", ROLLOUT).await?;
    world.resolve(&app, "Errors").await?;
    closes(world, &incident, Outcome::Completed).await?;
    app.roll_out("v3").await?;
    app.available(ROLLOUT).await?;
    runs(&app, "v3").await?;
    serves(&app, "v3").await?;
    ensure!(world.journal.incidents(&app.namespace, &app.name).len() == 1, "a healthy deploy opens nothing");
    Ok(())
}

/// The version before the bad one never became ready: the one before that has proved itself, and is what comes back.
pub async fn the_good_version_before_an_unproved_one_comes_back(world: &World) -> Result<()> {
    let app = proved(world, "second", AppOptions::default()).await?;
    break_with(&app, "v2-never-ready").await?;
    let observed = |fact: &LedgerFact| matches!(fact, LedgerFact::VersionObserved(_));
    world.journal.wait_ledger_count(&app.namespace, &app.name, "version_observed", ROLLOUT, 2, observed).await?;
    break_with(&app, "v2-failing").await?;
    raised_and_put_right(world, &app).await
}

/// Somebody deleted the ReplicaSets that an undo would need: the ledger knows what ran.
pub async fn a_history_that_somebody_deleted_comes_back(world: &World) -> Result<()> {
    let app = proved(world, "pruned", AppOptions::default()).await?;
    break_with(&app, "v2-failing").await?;
    let sets = world.kubectl(&["get", "replicasets", "-n", &app.namespace, "-o", "json"]).await?;
    let sets: serde_json::Value = serde_json::from_str(&sets)?;
    let runs_v1 = |set: &&serde_json::Value| set["spec"]["template"]["spec"]["containers"][0]["image"] == image("v1");
    let old = sets["items"].as_array().into_iter().flatten().find(runs_v1).context("a ReplicaSet of v1")?;
    let name = old["metadata"]["name"].as_str().unwrap_or_default();
    world.kubectl(&["delete", "replicaset", name, "-n", &app.namespace]).await?;
    raised_and_put_right(world, &app).await
}

async fn raised_and_put_right(world: &World, app: &App) -> Result<()> {
    world.raise(app, "Errors").await?;
    let incident = opens(world, app).await?;
    world.journal.wait_fact(incident.incident, "mitigated", ROLLOUT).await?;
    world.resolve(app, "Errors").await?;
    closes(world, &incident, Outcome::Completed).await?;
    runs(app, "v1").await?;
    serves(app, "v1").await
}
