//! The ways that an incident can take, as scripts of what people and machines around lastgood do.
//!
//! Guarantees: the same script gives the same facts each time it is left alone; every wait has a deadline; nothing in a script depends on how
//! long a service was away. Must not: look at more than a user could see, but for the log.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contracts::IncidentSubject;
use testbed::app::{App, AppOptions};
use testbed::real_cluster::image;
use testbed::services::Binaries;
use testbed::small_play::{Alarm, PATIENCE};
use testbed::small_world::{SmallWorld, SmallWorldOptions};

/// What a script leaves behind.
#[derive(Clone)]
pub struct Left {
    /// The application.
    pub app: App,
    /// Its incident, where one was opened.
    pub incident: Option<IncidentSubject>,
    /// The alerts that were posted.
    pub alarms: Vec<Alarm>,
}

/// A script as a plain function.
pub type Script = for<'a> fn(&'a SmallWorld) -> Pin<Box<dyn Future<Output = Result<Left>> + Send + 'a>>;

/// One way.
#[derive(Clone, Copy)]
pub struct Course {
    /// Its name.
    pub name: &'static str,
    /// What it needs of the environment.
    pub env: &'static [(&'static str, &'static str)],
    /// Whether the verifier knows a Prometheus.
    pub prometheus: bool,
    /// The script.
    pub script: Script,
}

impl Course {
    /// Its world.
    #[must_use]
    pub fn options(&self) -> SmallWorldOptions {
        SmallWorldOptions { prometheus: self.prometheus, ..SmallWorldOptions::default() }.with_env(self.env)
    }
}

macro_rules! course {
    ($name:ident, $env:expr, $prometheus:expr) => {
        Course { name: stringify!($name), env: $env, prometheus: $prometheus, script: |world| Box::pin($name(world)) }
    };
}

/// An orchestrator that notes after eight seconds that an alert fires on.
const FORGETFUL: &[(&str, &str)] = &[
    ("ORCHESTRATOR__ARCHIVE__AFTER", "16s"),
    ("ORCHESTRATOR__COOLDOWN", "0s"),
    ("ORCHESTRATOR__WINDOW", "0s"),
    ("ORCHESTRATOR__MASS_FAILURE__WINDOW", "0s"),
];

/// A policy that says who is called after whom.
const ESCALATION: &[(&str, &str)] =
    &[("ORCHESTRATOR__POLICIES_FILE", concat!(env!("CARGO_MANIFEST_DIR"), "/policies/escalation.yaml"))];

/// All ways; those whose facts others have too come last.
pub const COURSES: &[Course] = &[
    course!(good, &[], false),
    course!(halted, &[], false),
    course!(unacknowledged, &[("ORCHESTRATOR__DEADLINES__ACKNOWLEDGE", "3s")], false),
    course!(failed, &[("ORCHESTRATOR__DEADLINES__ROLLBACK", "8s")], false),
    course!(verification_failed, &[], false),
    course!(superseded, &[], false),
    // Longer than a service is away, so that the cluster is tidied up by then in any case.
    course!(unresolved, &[("ORCHESTRATOR__DEADLINES__RESOLVE", "9s")], false),
    course!(joined, &[], false),
    course!(dismissed, FORGETFUL, false),
    course!(undelivered, &[("NOTIFIER__GIVE_UP_AFTER", "1s")], false),
    course!(resolved_by_prometheus, &[], true),
    course!(unanswered, &[], false),
    course!(moved, &[], false),
    course!(called, ESCALATION, false),
    course!(approved, &[("ORCHESTRATOR__BUDGETS__CLUSTER_CONCURRENT", "5")], false),
];

/// The usual application, one pod.
#[must_use]
pub fn usual() -> AppOptions {
    AppOptions { replicas: 1, ..AppOptions::default() }
}

/// An application whose `v1` has proved itself and whose `v2` serves errors, and the alert about that.
pub async fn broken(world: &SmallWorld) -> Result<(App, Alarm)> {
    broken_after(world, "v1").await
}

async fn broken_after(world: &SmallWorld, good: &str) -> Result<(App, Alarm)> {
    broken_named(world, "web", good).await
}

/// The same of another name, with this good version.
pub async fn broken_named(world: &SmallWorld, name: &str, good: &str) -> Result<(App, Alarm)> {
    broken_as(world, name, usual(), good).await
}

async fn broken_as(world: &SmallWorld, name: &str, options: AppOptions, good: &str) -> Result<(App, Alarm)> {
    let app = world.app(name, options).await?;
    app.deploy(good).await?;
    world.proved(&app, 1).await?;
    app.roll_out("v2-failing").await?;
    world.proved(&app, 2).await?;
    let alarm = Alarm::about(&app, "Errors");
    Ok((app, alarm))
}

/// A person is asked, and says yes by the command line before the grace period is over.
async fn approved(world: &SmallWorld) -> Result<Left> {
    let grace = [("lastgood.dev/grace".to_owned(), "5m".to_owned())];
    let mut options = AppOptions { mode: Some("approve"), ..usual() };
    options.annotations.extend(grace);
    let (app, alarm) = broken_as(world, "web", options, "v1").await?;
    world.raise(&alarm).await?;
    let incident = world.opens(&app, 0).await?;
    fact(world, &incident, "on_call_notified").await?;
    let mut command = tokio::process::Command::new(Binaries::build().await?.path("lastgood")?);
    command.env_clear().env("LASTGOOD_NATS__URLS", world.bus.url());
    command.args(["approve", &incident.incident.to_string(), "--who", "ann"]).kill_on_drop(true);
    let said = tokio::time::timeout(PATIENCE, command.output()).await.context("lastgood approve hangs")??;
    ensure!(said.status.success(), "lastgood approve: {}", String::from_utf8_lossy(&said.stderr));
    fact(world, &incident, "old_resources_cleaned").await?;
    world.resolve(&alarm).await?;
    left(world, app, incident, vec![alarm]).await
}

/// Waits for a fact on the incident.
pub async fn fact(world: &SmallWorld, incident: &IncidentSubject, event_type: &str) -> Result<()> {
    world.journal.wait_fact(incident.incident, event_type, PATIENCE).await?;
    Ok(())
}

async fn left(world: &SmallWorld, app: App, incident: IncidentSubject, alarms: Vec<Alarm>) -> Result<Left> {
    fact(world, &incident, "incident_closed").await?;
    Ok(Left { app, incident: Some(incident), alarms })
}

/// Rolled back, verified, resolved.
async fn good(world: &SmallWorld) -> Result<Left> {
    let (app, alarm) = broken(world).await?;
    world.raise(&alarm).await?;
    let incident = world.opens(&app, 0).await?;
    fact(world, &incident, "old_resources_cleaned").await?;
    world.resolve(&alarm).await?;
    left(world, app, incident, vec![alarm]).await
}

/// There is no version to go back to; somebody acknowledges the page.
async fn halted(world: &SmallWorld) -> Result<Left> {
    let (app, alarm) = never_proved(world).await?;
    world.raise(&alarm).await?;
    let incident = world.opens(&app, 0).await?;
    world.page(&incident, "on_call").await?;
    fact(world, &incident, "on_call_notified").await?;
    world.acknowledge(&incident).await?;
    left(world, app, incident, vec![alarm]).await
}

/// The same, and nobody acknowledges: the team lead is paged.
async fn unacknowledged(world: &SmallWorld) -> Result<Left> {
    let (app, alarm) = never_proved(world).await?;
    world.raise(&alarm).await?;
    let incident = world.opens(&app, 0).await?;
    world.page(&incident, "team_lead").await?;
    left(world, app, incident, vec![alarm]).await
}

/// The same, by a policy: the next step of its escalation is called.
async fn called(world: &SmallWorld) -> Result<Left> {
    unacknowledged(world).await
}

/// An application whose only version serves errors, and the alert about that.
pub async fn never_proved(world: &SmallWorld) -> Result<(App, Alarm)> {
    let app = world.app("web", usual()).await?;
    app.deploy("v1-failing").await?;
    world.proved(&app, 1).await?;
    let alarm = Alarm::about(&app, "Errors");
    Ok((app, alarm))
}

/// The last good version can't come back: its image is gone.
async fn failed(world: &SmallWorld) -> Result<Left> {
    let (app, alarm) = broken(world).await?;
    world.cluster.set_pull_ok(&image("v1"), false);
    world.raise(&alarm).await?;
    let incident = world.opens(&app, 0).await?;
    fact(world, &incident, "on_call_notified").await?;
    world.acknowledge(&incident).await?;
    left(world, app, incident, vec![alarm]).await
}

/// The good version's tag leads elsewhere since: what comes back by it is another image, and its digest brings the right one.
async fn moved(world: &SmallWorld) -> Result<Left> {
    let (app, alarm) = broken(world).await?;
    world.cluster.move_tag(&image("v1"), &image("v1-failing"));
    world.raise(&alarm).await?;
    let incident = world.opens(&app, 0).await?;
    fact(world, &incident, "image_moved").await?;
    fact(world, &incident, "old_resources_cleaned").await?;
    world.resolve(&alarm).await?;
    left(world, app, incident, vec![alarm]).await
}

/// It comes back, and its smoke tests fail.
async fn verification_failed(world: &SmallWorld) -> Result<Left> {
    let (app, alarm) = broken_after(world, "v1-unhealthy-smoke").await?;
    world.raise(&alarm).await?;
    let incident = world.opens(&app, 0).await?;
    left(world, app, incident, vec![alarm]).await
}

/// A person deploys in the middle of the rollback.
async fn superseded(world: &SmallWorld) -> Result<Left> {
    let (app, alarm) = broken(world).await?;
    // So that the rollback is in the middle until the person comes, however long anybody is away.
    world.cluster.set_pull_ok(&image("v1"), false);
    world.raise(&alarm).await?;
    let incident = world.opens(&app, 0).await?;
    fact(world, &incident, "previous_version_deployed").await?;
    app.roll_out("v3").await?;
    left(world, app, incident, vec![alarm]).await
}

/// It comes back and is verified, and the alert goes on.
async fn unresolved(world: &SmallWorld) -> Result<Left> {
    let (app, alarm) = broken(world).await?;
    world.raise(&alarm).await?;
    let incident = world.opens(&app, 0).await?;
    left(world, app, incident, vec![alarm]).await
}

/// A second alert about the same workload.
async fn joined(world: &SmallWorld) -> Result<Left> {
    let (app, alarm) = broken(world).await?;
    world.raise(&alarm).await?;
    let incident = world.opens(&app, 0).await?;
    let second = Alarm::about(&app, "Latency");
    world.raise(&second).await?;
    fact(world, &incident, "alert_joined").await?;
    fact(world, &incident, "old_resources_cleaned").await?;
    world.resolve(&second).await?;
    world.journal.wait_occurrence(&second.fingerprint(), "occurrence_resolved", PATIENCE).await?;
    world.resolve(&alarm).await?;
    left(world, app, incident, vec![alarm, second]).await
}

/// An alert that names no workload, that it fires on, and its end.
async fn dismissed(world: &SmallWorld) -> Result<Left> {
    let app = world.app("web", usual()).await?;
    app.deploy("v1").await?;
    world.proved(&app, 1).await?;
    let alarm = Alarm::about_nothing(&app.namespace, "Elsewhere");
    world.raise(&alarm).await?;
    world.journal.wait_occurrence(&alarm.fingerprint(), "occurrence_dismissed", PATIENCE).await?;
    // What is younger is no news.
    tokio::time::sleep(Duration::from_secs(9)).await;
    world.raise(&alarm).await?;
    world.journal.wait_occurrence(&alarm.fingerprint(), "occurrence_repeated", PATIENCE).await?;
    world.resolve(&alarm).await?;
    world.journal.wait_occurrence(&alarm.fingerprint(), "occurrence_resolved", PATIENCE).await?;
    Ok(Left { app, incident: None, alarms: vec![alarm] })
}

/// Nobody can be told: every provider refuses for good.
async fn undelivered(world: &SmallWorld) -> Result<Left> {
    let refuse = testbed::receivers::Fault::Fail { status: 400, retry_after: None };
    world.pagerduty.script(1000, &refuse);
    world.slack.script(1000, &refuse);
    world.webhook.script(1000, &refuse);
    let (app, alarm) = never_proved(world).await?;
    world.raise(&alarm).await?;
    let incident = world.opens(&app, 0).await?;
    fact(world, &incident, "notification_failed").await?;
    world.acknowledge(&incident).await?;
    let left = left(world, app, incident, vec![alarm]).await?;
    ensure!(world.pagerduty.pages().is_empty(), "nobody was to be reached");
    Ok(left)
}

/// Alertmanager says nothing of the alert's end; Prometheus' rules do.
async fn resolved_by_prometheus(world: &SmallWorld) -> Result<Left> {
    let (app, alarm) = broken(world).await?;
    world.prometheus.set_rule("Errors", vec![alarm.labels()]);
    world.raise(&alarm).await?;
    let incident = world.opens(&app, 0).await?;
    fact(world, &incident, "old_resources_cleaned").await?;
    world.prometheus.set_rule("Errors", Vec::new());
    let left = left(world, app, incident, vec![alarm]).await?;
    world.journal.wait_occurrence(&left.alarms[0].fingerprint(), "occurrence_resolved", PATIENCE).await?;
    Ok(left)
}

/// A person is asked, and does not answer in time; the grace period would have gone on.
async fn unanswered(world: &SmallWorld) -> Result<Left> {
    let waits = [("lastgood.dev/approve-within", "3s"), ("lastgood.dev/grace", "10m")];
    let mut options = AppOptions { mode: Some("approve"), ..usual() };
    options.annotations.extend(waits.map(|(name, length)| (name.to_owned(), length.to_owned())));
    let (app, alarm) = broken_as(world, "web", options, "v1").await?;
    world.raise(&alarm).await?;
    let incident = world.opens(&app, 0).await?;
    fact(world, &incident, "rollback_halted").await?;
    world.acknowledge(&incident).await?;
    left(world, app, incident, vec![alarm]).await
}
