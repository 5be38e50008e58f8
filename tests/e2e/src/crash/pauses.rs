//! An executor that stands still (SIGSTOP) at the worst moments, and goes on when the world is another one.
//!
//! Guarantees: it never acts on what it knew before (S4), as the cluster's journal shows. Must not: rely on how it notices.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contracts::IncidentSubject;
use contracts::v1::Outcome;
use lastgood_core::incident::Phase;
use testbed::app::App;
use testbed::proxy::http::{HttpTrap, Part};
use testbed::proxy::nats::{Moment, Trap};
use testbed::real_cluster::image;
use testbed::small_play::{Alarm, PATIENCE};
use testbed::small_world::{Instance, SmallWorld, SmallWorldOptions};
use testbed::wait;

use super::courses::{Left, broken, fact};
use super::ending::template_writes;
use super::run::{end, finish};
use super::writes::trap;

/// It stands still with its write on the way; another one finishes the rollback; a person deploys the bad version again on purpose; then the
/// old write arrives.
pub async fn a_write_that_arrives_after_everything() -> Result<()> {
    overtaken(Stop::At(trap("PUT", false, Part::Request))).await
}

/// The same, but it stands still with the workload just read and the intent stored: it would write now.
pub async fn a_read_that_is_stale_when_it_is_used() -> Result<()> {
    overtaken(Stop::ReadAfterIntent).await
}

/// The same, before the intent: the dry run's answer comes when all is over.
pub async fn a_dry_run_that_is_answered_after_everything() -> Result<()> {
    overtaken(Stop::At(trap("PUT", true, Part::Answer))).await
}

/// The same, with the intent stored and not known to be.
pub async fn an_intent_whose_answer_comes_after_everything() -> Result<()> {
    overtaken(Stop::Intent).await
}

/// The write is accepted, the one who made it stands still and does not know.
pub async fn a_write_whose_answer_comes_after_everything() -> Result<()> {
    overtaken(Stop::At(trap("PUT", false, Part::Answer))).await
}

/// One executor alone stands still between intent and write, and a person deploys before it goes on.
pub async fn a_person_deploys_between_intent_and_write() -> Result<()> {
    superseded(Stop::Intent).await
}

/// The same with the write on its way.
pub async fn a_person_deploys_while_the_write_is_on_its_way() -> Result<()> {
    superseded(Stop::At(trap("PUT", false, Part::Request))).await
}

/// The same with the workload just read.
pub async fn a_person_deploys_between_the_read_and_the_write() -> Result<()> {
    superseded(Stop::ReadAfterIntent).await
}

/// Where it stands still.
#[derive(Clone)]
enum Stop {
    /// At this request or its answer.
    At(HttpTrap),
    /// When the intent is stored, before it hears so.
    Intent,
    /// When the intent is stored and the workload was read once more.
    ReadAfterIntent,
}

impl Stop {
    fn arm(&self, executor: &Instance) -> Result<()> {
        match self {
            Self::At(trap) => executor.api()?.arm(trap.clone()),
            Self::Intent | Self::ReadAfterIntent => {
                executor.nats()?.arm(Trap { event_type: "rollback_started".to_owned(), nth: 1, moment: Moment::After });
            }
        }
        Ok(())
    }

    fn disarm(executor: &Instance) -> Result<()> {
        executor.nats()?.disarm();
        executor.api()?.disarm();
        executor.nats()?.proxy().release();
        executor.api()?.proxy().release();
        Ok(())
    }

    /// Waits until it is there.
    async fn reached(&self, executor: &Instance) -> Result<()> {
        match self {
            Self::At(_) => executor.api()?.sprung(PATIENCE).await?,
            Self::Intent => executor.nats()?.sprung(PATIENCE).await?,
            Self::ReadAfterIntent => {
                executor.nats()?.sprung(PATIENCE).await?;
                executor.api()?.arm(trap("GET", false, Part::Answer));
                executor.nats()?.proxy().release();
                executor.api()?.sprung(PATIENCE).await?;
            }
        }
        Ok(())
    }
}

/// Messages that an executor has handled so far, by its own count.
async fn handled(executor: &Instance) -> Result<f64> {
    let metrics = executor.service.metrics().await?;
    let counts = metrics.lines().filter(|line| line.starts_with("lastgood_messages_total") && line.contains("executor"));
    Ok(counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
}

/// Lets it go on, and waits until it is done with what it had in hand.
async fn goes_on(executor: &Instance, before: f64) -> Result<()> {
    executor.service.process().resume();
    executor.api()?.proxy().release();
    executor.nats()?.proxy().release();
    let probe = || async {
        let now = handled(executor).await.map_err(|error| format!("{error:#}"))?;
        if now > before { Ok(()) } else { Err(format!("{now} messages handled, {before} before")) }
    };
    Ok(wait::until("the executor being done with what it had in hand", PATIENCE, probe).await?)
}

async fn overtaken(stop: Stop) -> Result<()> {
    let world = SmallWorld::start(SmallWorldOptions { replicas: 2, ..SmallWorldOptions::default() }).await?;
    let ran = async {
        let executors = [world.replica("executor", 0)?, world.replica("executor", 1)?];
        let (app, alarm) = broken(&world).await?;
        for executor in executors {
            stop.arm(executor)?;
        }
        world.raise(&alarm).await?;
        let incident = world.opens(&app, 0).await?;
        let (slow, other) = tokio::select! {
            reached = stop.reached(executors[0]) => reached.map(|()| (executors[0], executors[1]))?,
            reached = stop.reached(executors[1]) => reached.map(|()| (executors[1], executors[0]))?,
        };
        let before = handled(slow).await?;
        slow.service.process().pause();
        Stop::disarm(other)?;
        fact(&world, &incident, "old_resources_cleaned").await?;
        world.resolve(&alarm).await?;
        fact(&world, &incident, "incident_closed").await?;
        // Whatever became of it, on purpose.
        app.roll_out("v2-failing").await?;
        app.available(PATIENCE).await?;
        let log = world.journal.entries().len();
        goes_on(slow, before).await?;
        let left = left_alone(&world, &app, &incident, alarm, "v2-failing").await?;
        ensure!(template_writes(&world.cluster.journal(), &left.app).len() == 1, "the template was changed more than once");
        let said: Vec<_> = world.journal.entries()[log..].iter().map(|entry| entry.subject.clone()).collect();
        ensure!(!said.iter().any(|subject| subject.contains(".incident.")), "it spoke of a closed incident: {said:?}");
        Ok(())
    };
    finish(&world, ran.await)?;
    world.stop().await;
    Ok(())
}

async fn superseded(stop: Stop) -> Result<()> {
    let world = SmallWorld::start(SmallWorldOptions::default()).await?;
    let ran = async {
        let executor = world.of("executor")?;
        let (app, alarm) = broken(&world).await?;
        stop.arm(executor)?;
        world.raise(&alarm).await?;
        let incident = world.opens(&app, 0).await?;
        stop.reached(executor).await?;
        let before = handled(executor).await?;
        executor.service.process().pause();
        app.roll_out("v3").await?;
        goes_on(executor, before).await?;
        fact(&world, &incident, "incident_closed").await?;
        let state = world.journal.state(incident.incident);
        ensure!(state.phase() == Phase::Closed(Outcome::Superseded), "it ended as {:?}", state.phase());
        let left = left_alone(&world, &app, &incident, alarm, "v3").await?;
        let writes = template_writes(&world.cluster.journal(), &left.app);
        ensure!(writes.is_empty(), "it wrote over {:?}", writes.iter().map(|(_, image)| image).collect::<Vec<_>>());
        Ok(())
    };
    finish(&world, ran.await)?;
    world.stop().await;
    Ok(())
}

/// That the person's version stays, now and when everything has been handled.
async fn left_alone(world: &SmallWorld, app: &App, incident: &IncidentSubject, alarm: Alarm, tag: &str) -> Result<Left> {
    let left = Left { app: app.clone(), incident: Some(incident.clone()), alarms: vec![alarm] };
    let ending = end(world, &left).await?;
    ensure!(ending.given_up == 0, "{} messages were given up", ending.given_up);
    let now = app.image().await?;
    ensure!(now == image(tag), "the person's {tag} was replaced by {now}");
    app.available(Duration::from_secs(30)).await.context("the person's version")?;
    Ok(left)
}
