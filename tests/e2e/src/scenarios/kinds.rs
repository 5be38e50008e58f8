//! StatefulSets and DaemonSets, on a real cluster only: put back, by their own means, and left to their owners.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contracts::v1::Outcome;
use contracts::{Fact, IncidentSubject};
use serde_json::json;
use testbed::app::{App, AppKind, AppOptions};
use testbed::real_cluster::image;
use testbed::wait;
use testbed::world::World;

use crate::expect::{ROLLOUT, SOON, break_with, closes, count, in_order, opens, proved, proved_again, runs, serves};

/// A kubelet of 1.20 may take a minute to let a pod go that was given any time to end, and here nothing takes its place before.
const MINUTES: Duration = Duration::from_mins(5);

fn of(kind: AppKind) -> AppOptions {
    AppOptions { kind, grace: 0, ..AppOptions::default() }
}

/// An image that doesn't exist: the second pod of the StatefulSet never starts, and its controller waits for it.
pub async fn a_stateful_set_with_a_bad_image_is_put_back(world: &World) -> Result<()> {
    detected(world, "sts-image", "v2-unpullable", of(AppKind::StatefulSet)).await
}

/// The same on each node.
pub async fn a_daemon_set_with_a_bad_image_is_put_back(world: &World) -> Result<()> {
    detected(world, "ds-image", "v2-unpullable", of(AppKind::DaemonSet)).await
}

/// kubernetes#67250: the controller waits for a pod that crashes for ever, whatever the template says by then.
pub async fn a_stuck_stateful_set_that_crashes_is_put_back(world: &World) -> Result<()> {
    // Its pods take their time to go, as anybody's would.
    detected(world, "sts-crash", "v2-crashing", AppOptions { replicas: 3, grace: 1, ..of(AppKind::StatefulSet) }).await
}

/// The same with a pod that runs and never gets ready; the only sign of it is time.
pub async fn a_stuck_stateful_set_that_is_never_ready_is_put_back(world: &World) -> Result<()> {
    detected(world, "sts-unready", "v2-never-ready", of(AppKind::StatefulSet)).await
}

/// The only pod is the broken one: nothing serves until it has been replaced.
pub async fn a_stuck_stateful_set_of_one_is_put_back(world: &World) -> Result<()> {
    detected(world, "sts-one", "v2-crashing", AppOptions { replicas: 1, ..of(AppKind::StatefulSet) }).await
}

/// A DaemonSet whose pods crash.
pub async fn a_daemon_set_that_crashes_is_put_back(world: &World) -> Result<()> {
    detected(world, "ds-crash", "v2-crashing", of(AppKind::DaemonSet)).await
}

async fn detected(world: &World, name: &str, tag: &str, options: AppOptions) -> Result<()> {
    let app = proved(world, name, options).await?;
    break_with(&app, tag).await?;
    let incident = world.journal.wait_incident(&app.namespace, &app.name, 0, MINUTES).await?;
    let opening = world.journal.wait_fact(incident.incident, "anomaly_detected", SOON).await?;
    let Fact::AnomalyDetected(opening) = opening.fact else { unreachable!("asked for by type") };
    ensure!(opening.trigger.is_some_and(|trigger| trigger.source == "rollout"), "the detector tells of it");
    world.journal.wait_fact(incident.incident, "incident_closed", MINUTES).await?;
    closes(world, &incident, Outcome::Completed).await?;
    is_back(world, &app, &incident).await?;
    let kind = app.kind().label();
    let description = world.kubectl(&["describe", kind, &app.name, "-n", &app.namespace]).await?;
    ensure!(description.contains("RolledBack"), "`kubectl describe` shows no event:\n{description}");
    Ok(())
}

/// `v1` runs in every pod, serves, and one attempt did it.
async fn is_back(world: &World, app: &App, incident: &IncidentSubject) -> Result<()> {
    in_order(world, incident, &["rollback_started", "previous_version_deployed", "pods_ready", "traffic_shifted", "mitigated"])?;
    ensure!(count(world, incident, "rollback_started") == 1, "one attempt");
    runs(app, "v1").await?;
    every_pod_runs(app, "v1").await?;
    serves(app, "v1").await?;
    let workload = app.workload().await?;
    let owners = workload["metadata"]["managedFields"].to_string();
    ensure!(!owners.contains("\"lastgood\""), "a field is ours still: {owners}");
    Ok(())
}

async fn every_pod_runs(app: &App, tag: &str) -> Result<()> {
    app.available(ROLLOUT).await?;
    let pods = app.pods().await?;
    ensure!(!pods.is_empty() && pods.iter().all(|(_, runs)| *runs == image(tag)), "not all pods run {tag}: {pods:?}");
    Ok(())
}

/// A version that is ready and serves errors, an alert, and the rollback until it is verified; then the alert resolves.
async fn put_back(world: &World, app: &App) -> Result<IncidentSubject> {
    world.raise(app, "Errors").await?;
    let incident = opens(world, app).await?;
    world.journal.wait_fact(incident.incident, "mitigated", ROLLOUT).await?;
    world.resolve(app, "Errors").await?;
    closes(world, &incident, Outcome::Completed).await?;
    Ok(incident)
}

/// After a rollback the owner's next client-side apply goes in, and leaves nothing of the restored version behind.
pub async fn the_next_apply_to_a_stateful_set_goes_in(world: &World) -> Result<()> {
    next_apply(world, "sts-apply", AppKind::StatefulSet, &[]).await
}

/// So does a server-side one, without force.
pub async fn the_next_server_side_apply_to_a_stateful_set_goes_in(world: &World) -> Result<()> {
    next_apply(world, "sts-ssa", AppKind::StatefulSet, &["--server-side"]).await
}

/// And those to a DaemonSet.
pub async fn the_next_apply_to_a_daemon_set_goes_in(world: &World) -> Result<()> {
    next_apply(world, "ds-apply", AppKind::DaemonSet, &[]).await?;
    next_apply(world, "ds-ssa", AppKind::DaemonSet, &["--server-side"]).await
}

async fn next_apply(world: &World, name: &str, kind: AppKind, arguments: &[&str]) -> Result<()> {
    let app = world.app(name, of(kind)).await?;
    // Each version has something that only it has.
    let manifest = |tag: &str, only: &str| {
        let mut manifest = app.manifest(tag);
        manifest["spec"]["template"]["metadata"]["labels"][only] = json!("x");
        manifest["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": only, "value": "x"}]);
        manifest
    };
    app.serve("v1").await?;
    world.apply(&manifest("v1", "ONLY_V1"), arguments).await?;
    app.available(ROLLOUT).await?;
    proved_again(world, &app, 1).await?;
    world.apply(&manifest("v2-failing", "ONLY_V2"), arguments).await?;
    app.available(ROLLOUT).await?;
    let incident = put_back(world, &app).await?;
    is_back(world, &app, &incident).await?;
    let back = app.workload().await?["spec"]["template"].to_string();
    ensure!(back.contains("ONLY_V1") && !back.contains("ONLY_V2"), "not exactly the first version: {back}");
    world.apply(&manifest("v3", "ONLY_V3"), arguments).await.context("the owner's next apply")?;
    let forward = app.workload().await?["spec"]["template"].to_string();
    let clean = forward.contains("ONLY_V3") && !forward.contains("ONLY_V1") && !forward.contains("ONLY_V2");
    ensure!(clean, "something of an earlier version is left: {forward}");
    every_pod_runs(&app, "v3").await?;
    serves(&app, "v3").await?;
    ensure!(world.journal.incidents(&app.namespace, &app.name).len() == 1, "a healthy deploy opens nothing");
    Ok(())
}

/// Somebody deploys to a StatefulSet in the middle of its rollback: theirs wins, and none of its pods is touched any more.
pub async fn a_persons_change_of_a_stateful_set_wins(world: &World) -> Result<()> {
    persons_change(world, "sts-person", AppOptions { replicas: 3, ..of(AppKind::StatefulSet) }).await
}

/// The same with a DaemonSet, whose pods wait for somebody to delete them.
pub async fn a_persons_change_of_a_daemon_set_wins(world: &World) -> Result<()> {
    persons_change(world, "ds-person", of(AppKind::DaemonSet)).await
}

async fn persons_change(world: &World, name: &str, options: AppOptions) -> Result<()> {
    let app = proved(world, name, options).await?;
    break_with(&app, "v2-failing").await?;
    world.raise(&app, "Errors").await?;
    let incident = opens(world, &app).await?;
    world.wait_written(&app, &incident).await?;
    app.roll_out("v3").await?;
    closes(world, &incident, Outcome::Superseded).await?;
    world.resolve(&app, "Errors").await?;
    every_pod_runs(&app, "v3").await?;
    serves(&app, "v3").await
}

/// Somebody puts the bad version back on purpose, by `kubectl replace` of what there was before: not even our annotations are left.
pub async fn the_bad_version_of_a_stateful_set_put_back_on_purpose_wins(world: &World) -> Result<()> {
    let app = proved(world, "sts-purpose", AppOptions { replicas: 3, ..of(AppKind::StatefulSet) }).await?;
    break_with(&app, "v2-failing").await?;
    world.raise(&app, "Errors").await?;
    let incident = opens(world, &app).await?;
    world.wait_written(&app, &incident).await?;
    app.replace("v2-failing").await?;
    closes(world, &incident, Outcome::Superseded).await?;
    world.resolve(&app, "Errors").await?;
    every_pod_runs(&app, "v2-failing").await
}

/// `OnDelete`: nobody but lastgood replaces the pods, one at a time.
pub async fn a_stateful_set_that_updates_on_delete_is_put_back(world: &World) -> Result<()> {
    on_delete(world, "sts-on-delete", AppOptions { replicas: 3, ..of(AppKind::StatefulSet) }).await
}

/// The same with a DaemonSet.
pub async fn a_daemon_set_that_updates_on_delete_is_put_back(world: &World) -> Result<()> {
    on_delete(world, "ds-on-delete", of(AppKind::DaemonSet)).await
}

async fn on_delete(world: &World, name: &str, options: AppOptions) -> Result<()> {
    let app = proved(world, name, AppOptions { update_strategy: Some(json!({"type": "OnDelete"})), ..options }).await?;
    app.roll_out("v2-failing").await?;
    for (pod, _) in app.pods().await? {
        app.delete_pod(&pod).await?;
    }
    every_pod_runs(&app, "v2-failing").await?;
    let incident = put_back(world, &app).await?;
    let plan = world.journal.state(incident.incident).plan.context("a plan")?.1;
    ensure!(plan.diff.contains("OnDelete"), "the plan says how: {}", plan.diff);
    is_back(world, &app, &incident).await
}

/// Only the pods from the partition on follow; the others are left as they are.
pub async fn a_partition_is_respected(world: &World) -> Result<()> {
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}});
    let options = AppOptions { replicas: 3, update_strategy: Some(strategy), ..of(AppKind::StatefulSet) };
    let app = proved(world, "sts-partition", options).await?;
    break_with(&app, "v2-failing").await?;
    // The owner keeps the lower two, by now of the bad version.
    app.patch(&json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}}})).await?;
    let incident = put_back(world, &app).await?;
    let plan = world.journal.state(incident.incident).plan.context("a plan")?.1;
    ensure!(plan.diff.contains("only pods from ordinal 2 on follow"), "the plan says so: {}", plan.diff);
    let (bad, good) = (image("v2-failing"), image("v1"));
    let expected = [(0, &bad), (1, &bad), (2, &good)].map(|(n, image)| (format!("{}-{n}", app.name), image.clone()));
    let probe = || async {
        let pods = app.pods().await.map_err(|error| format!("{error:#}"))?;
        if pods == expected { Ok(()) } else { Err(format!("{pods:?}")) }
    };
    wait::until("only the last pod followed", Duration::from_secs(10), probe).await?;
    Ok(())
}

/// What keeps a Deployment safe keeps these: nothing is done to one that did not opt in, or that another controller keeps.
pub async fn the_brakes_hold_for_every_kind(world: &World) -> Result<()> {
    for (name, kind) in [("sts-observed", AppKind::StatefulSet), ("ds-observed", AppKind::DaemonSet)] {
        let app = proved(world, name, AppOptions { mode: None, ..of(kind) }).await?;
        break_with(&app, "v2-failing").await?;
        world.raise(&app, "Errors").await?;
        let incident = super::halted::halts(world, &app, "observe_mode").await?;
        let halted = world.journal.state(incident.incident).halted.context("halted")?;
        ensure!(halted.would_do.contains("v1"), "it says what it would do: {:?}", halted.would_do);
        closes(world, &incident, Outcome::Halted).await?;
        every_pod_runs(&app, "v2-failing").await?;
        world.resolve(&app, "Errors").await?;
    }
    let annotation = ("argocd.argoproj.io/tracking-id".to_owned(), "shop:apps/StatefulSet:shop/managed".to_owned());
    let app = proved(world, "sts-managed", AppOptions { annotations: [annotation].into(), ..of(AppKind::StatefulSet) }).await?;
    break_with(&app, "v2-failing").await?;
    world.raise(&app, "Errors").await?;
    super::halted::halts(world, &app, "managed_elsewhere").await?;
    every_pod_runs(&app, "v2-failing").await
}
