//! Runs a way, left alone or with a kill in it, and looks at what it has come to.
//!
//! Guarantees: a world of its own for each run, which ends with it; a failure comes with the services' last warnings. Must not: repeat a run
//! to get it green.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::journal::Entry;
use testbed::small_play::PATIENCE;
use testbed::small_world::SmallWorld;
use tokio::sync::OnceCell;

use super::courses::{COURSES, Course, Left};
use super::ending::Ending;
use super::matrix::Kill;
use super::promises;

/// How long a killed service stays away.
const AWAY: Duration = Duration::from_millis(200);

/// What an undisturbed run has come to, and its log.
#[derive(Debug, Clone)]
pub struct Undisturbed {
    /// The end.
    pub ending: Ending,
    /// The log.
    pub log: Vec<Entry>,
}

/// Runs a way and leaves it alone.
pub async fn undisturbed(course: &Course) -> Result<Undisturbed> {
    let world = SmallWorld::start(course.options()).await?;
    let ran = async {
        let left = (course.script)(&world).await?;
        let ending = end(&world, &left).await?;
        ensure!(ending.given_up == 0, "{} messages were given up", ending.given_up);
        Ok(Undisturbed { ending, log: world.journal.entries().to_vec() })
    };
    let ran = finish(&world, ran.await).with_context(|| format!("`{}`, left alone", course.name))?;
    world.stop().await;
    Ok(ran)
}

/// What the good way comes to when it is left alone, found out once a process.
pub async fn good_ending() -> Result<Ending> {
    static ENDING: OnceCell<Ending> = OnceCell::const_new();
    let run = || Box::pin(async { anyhow::Ok(undisturbed(&COURSES[0]).await?.ending) });
    Ok(ENDING.get_or_try_init(run).await?.clone())
}

/// Runs a way with a kill in it, and compares.
pub async fn killed(kill: &Kill, undisturbed: &Ending) -> Result<()> {
    let world = SmallWorld::start(kill.course.options()).await?;
    let victim = kill.victim.as_str();
    let ran = async {
        let proxy = world.of(&kill.append.service)?.nats()?;
        proxy.arm(kill.trap());
        let killing = async {
            proxy.sprung(PATIENCE).await?;
            world.of(victim)?.service.kill().await?;
            if !kill.is_of_writer() {
                // Who wrote it goes on at once, while the other one is away.
                proxy.proxy().release();
            }
            tokio::time::sleep(AWAY).await;
            world.of(victim)?.service.restart().await?;
            anyhow::Ok(())
        };
        let (left, ()) = tokio::try_join!((kill.course.script)(&world), killing)?;
        let ending = end(&world, &left).await?;
        let differences = ending.differences(undisturbed, victim);
        ensure!(differences.is_empty(), "the end is another one:\n  {}", differences.join("\n  "));
        Ok(())
    };
    finish(&world, ran.await)?;
    world.stop().await;
    Ok(())
}

/// Waits until nothing is under way, checks the promises and says what it has come to.
pub async fn end(world: &SmallWorld, left: &Left) -> Result<Ending> {
    world.settles().await?;
    let (log, writes) = (world.journal.entries(), world.cluster.journal());
    let broken = promises::broken(&log, &writes, &left.app, &left.alarms);
    ensure!(broken.is_empty(), "promises were broken:\n  {}", broken.join("\n  "));
    Ending::of(world, left).await
}

/// Adds the services' last words to a failure.
pub fn finish<T>(world: &SmallWorld, ran: Result<T>) -> Result<T> {
    ran.map_err(|error| {
        let logs = world.keep_logs().map(|path| format!("\nlogs: {}", path.display())).unwrap_or_default();
        let entries = world.journal.entries();
        let lines: Vec<_> = entries.iter().map(|entry| format!("  {} {} {}", entry.at, entry.source, entry.subject)).collect();
        let facts = lines.join("\n");
        error.context(format!("{}\nthe log:\n{facts}{logs}", world.epilogue()))
    })
}
