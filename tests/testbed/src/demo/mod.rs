//! `cargo demo`: four stories of a bad deployment, told live in the terminal on real parts.
//!
//! Guarantees: every alert is raised by Prometheus' rule on real requests and told by Alertmanager; it ends by itself (each step has
//! a deadline, and so has the whole), with success only if every story ended as it should; Ctrl-C ends everything that it started.
//! Must not: install anything system-wide, or leave namespaces on a real cluster.

pub mod follow;
pub mod look;
pub mod stage;
pub mod steps;
pub mod stories;
pub mod told;
pub mod users;
pub mod verdict;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use self::follow::Follow;
use self::look::Tone;
use self::stage::Stage;
use self::stories::{BAD, STORIES, Story};
use self::verdict::{Row, table};
use crate::services::Binaries;
use crate::tools;
use crate::world::{SERVICES, World, WorldOptions};

/// How long all stories together may take; on a real cluster, starting containers takes its time.
const STORIES_WITHIN: (Duration, Duration) = (Duration::from_mins(10), Duration::from_mins(20));
/// How long the world may take to come up; a real cluster is given images first.
const WORLD_WITHIN: (Duration, Duration) = (Duration::from_mins(3), Duration::from_mins(30));
/// How long lastgood waits for somebody to acknowledge a page.
const ACKNOWLEDGE: &str = "8s";
/// How long the end may take.
const END_WITHIN: Duration = Duration::from_mins(1);
/// The exit status after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// What the command line says.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// The one story to tell; `None` tells all.
    pub story: Option<usize>,
    /// The real cluster to run on; `None`: the simulated one.
    pub kubeconfig: Option<PathBuf>,
    /// Whether everything stays up until Ctrl-C.
    pub keep: bool,
}

/// Runs the demo.
pub async fn run(options: DemoOptions) -> Result<ExitCode> {
    let stage = Stage::open();
    let stories: Vec<_> = STORIES.iter().filter(|story| options.story.is_none_or(|number| number == story.number)).collect();
    ensure!(!stories.is_empty(), "there is no story {}; there are 1 to {}", options.story.unwrap_or(0), STORIES.len());
    if let Some(kubeconfig) = &options.kubeconfig {
        ensure!(kubeconfig.is_file(), "there is no kubeconfig {}", kubeconfig.display());
    }
    let mut stop = Stop::listen()?;
    stage.title("lastgood: put the last good version back");
    let world = tokio::select! {
        world = set_up(stage, &options) => world?,
        () = stop.asked() => return Ok(interrupted(stage)),
    };
    let follow = Follow::new(&world, stage);
    let within = pick(STORIES_WITHIN, &options);
    let rows = tokio::select! {
        rows = tokio::time::timeout(within, tell(&follow, &stories)) => rows.ok(),
        () = stop.asked() => {
            end(stage, &options, &follow).await;
            world.stop().await;
            return Ok(interrupted(stage));
        }
    };
    let code = conclude(stage, rows.as_deref(), within, &world);
    if options.keep {
        addresses(stage, &world);
        stop.asked().await;
    }
    end(stage, &options, &follow).await;
    // A service that does not end in time is killed with the world.
    let _ = tokio::time::timeout(END_WITHIN, world.stop()).await;
    Ok(code)
}

const fn rollback_within(options: &DemoOptions) -> &'static str {
    if options.kubeconfig.is_some() { "45s" } else { "20s" }
}

fn pick((simulated, real): (Duration, Duration), options: &DemoOptions) -> Duration {
    if options.kubeconfig.is_some() { real } else { simulated }
}

fn interrupted(stage: Stage) -> ExitCode {
    stage.say(Tone::Bad, "Interrupted; everything that was started has been ended.");
    ExitCode::from(INTERRUPTED)
}

/// Fetches and builds what is missing, and brings the world up.
async fn set_up(stage: Stage, options: &DemoOptions) -> Result<World> {
    stage.say(Tone::Plain, "Setting up. The first time, tools are fetched and the services are built, which takes some minutes.");
    stage.long("nats-server", tools::nats_server()).await.context("nats-server")?;
    stage.long("Prometheus", tools::prometheus()).await.context("Prometheus")?;
    stage.long("Alertmanager", tools::alertmanager()).await.context("Alertmanager")?;
    stage.long("building lastgood's services", Binaries::build()).await.context("building the services")?;
    let cluster = if options.kubeconfig.is_some() { "a real cluster" } else { "a simulated cluster" };
    let what = format!("starting everything, on {cluster}");
    let within = pick(WORLD_WITHIN, options);
    let starting = async {
        let started = tokio::time::timeout(within, World::start(world_options(options))).await;
        started.with_context(|| format!("not up within {within:?}"))?
    };
    let world = Box::pin(stage.long(&what, starting)).await?;
    let rollback = rollback_within(options);
    let note = format!("Deadlines are short, for watching: {rollback} for a rollback, {ACKNOWLEDGE} to acknowledge a page.");
    stage.say(Tone::Quiet, &note);
    Ok(world)
}

fn world_options(options: &DemoOptions) -> WorldOptions {
    let mut tags: Vec<_> = STORIES.iter().map(|story| story.first).chain([BAD]).collect();
    tags.sort_unstable();
    tags.dedup();
    // Short, because people watch: what nobody acknowledges, and pods that never get ready.
    let env = [("ACKNOWLEDGE", ACKNOWLEDGE), ("ROLLBACK", rollback_within(options))];
    let env = env.map(|(key, value)| (format!("LASTGOOD_ORCHESTRATOR__DEADLINES__{key}"), value.to_owned()));
    WorldOptions { kubeconfig: options.kubeconfig.clone(), env: BTreeMap::from(env), tags, ..WorldOptions::default() }
}

async fn tell(follow: &Follow<'_>, stories: &[&'static Story]) -> Vec<Row> {
    let mut rows = Vec::new();
    for story in stories {
        rows.push(follow.tell(story).await);
    }
    rows
}

/// The table, and whether all is well.
fn conclude(stage: Stage, rows: Option<&[Row]>, within: Duration, world: &World) -> ExitCode {
    stage.title("What happened");
    let Some(rows) = rows else {
        stage.say(Tone::Bad, &format!("✗ The stories were not told within {within:?}.{}", world.epilogue()));
        return ExitCode::FAILURE;
    };
    stage.lines(table(rows, stage.look));
    stage.say(Tone::Quiet, "Times count from the moment at which Prometheus raised the alert; patched: seen on the cluster.");
    stage.gap();
    let differing: Vec<_> = rows.iter().filter(|row| !row.differences.is_empty()).collect();
    if differing.is_empty() {
        stage.say(Tone::Good, "✓ All ended as they should.");
        return ExitCode::SUCCESS;
    }
    for row in differing {
        for difference in &row.differences {
            stage.say(Tone::Bad, &format!("✗ story {}: {difference}", row.number));
        }
    }
    stage.say(Tone::Quiet, world.epilogue().trim());
    ExitCode::FAILURE
}

/// Where everything is, for `--keep`.
fn addresses(stage: Stage, world: &World) {
    stage.title("Everything keeps running; Ctrl-C ends it");
    let mut all = vec![("Prometheus".to_owned(), world.prometheus.url()), ("Alertmanager".to_owned(), world.alertmanager.url())];
    all.extend(world.peer.iter().map(|peer| ("Alertmanager's peer".to_owned(), peer.url())));
    all.push(("NATS".to_owned(), world.nats.url()));
    all.push(("kubectl".to_owned(), format!("export KUBECONFIG={}", world.ground.kubeconfig().display())));
    all.push(("the pager (recorder)".to_owned(), world.pagerduty.url()));
    all.push(("the chat (recorder)".to_owned(), world.slack.url()));
    all.push(("webhooks (recorder)".to_owned(), world.webhook.url()));
    all.push(("alerts go to".to_owned(), format!("{}/v1/alerts/alertmanager", world.ingest_url())));
    for name in SERVICES {
        if let Ok(service) = world.service(name) {
            all.push((name.to_owned(), format!("{}/metrics, /livez, /readyz", service.admin_url())));
        }
    }
    all.push(("logs".to_owned(), world.dir().display().to_string()));
    stage.lines(all.into_iter().map(|(name, address)| format!("  {name:<22}{address}")));
    stage.say(Tone::Quiet, "The users have gone, so nothing alerts any more.");
}

/// Takes the namespaces off a real cluster; a simulated one ends with the world.
async fn end(stage: Stage, options: &DemoOptions, follow: &Follow<'_>) {
    if options.kubeconfig.is_none() {
        return;
    }
    for app in follow.apps() {
        let removed = tokio::time::timeout(Duration::from_secs(15), app.remove()).await;
        if !matches!(removed, Ok(Ok(()))) {
            stage.say(Tone::Bad, &format!("namespace {} could not be deleted; please do it yourself", app.namespace));
        }
    }
}

/// Ctrl-C and SIGTERM.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> Result<Self> {
        let interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")? })
    }

    async fn asked(&mut self) {
        tokio::select! { _ = self.interrupt.recv() => {}, _ = self.terminate.recv() => {} }
    }
}

#[expect(clippy::disallowed_methods, reason = "the demo plays the world outside, whose clocks are real")]
fn now() -> Timestamp {
    Timestamp::now()
}
