//! The executor killed at its write itself, which is no fact: before the API server has it, and after it took it.
//!
//! Guarantees: the end is the undisturbed run's, with one change of the template. Must not: know what the executor remembers.

use anyhow::{Result, ensure};
use testbed::proxy::http::{HttpTrap, Part};
use testbed::small_play::PATIENCE;
use testbed::small_world::SmallWorld;

use super::courses::COURSES;
use super::run::{end, finish, good_ending};

/// The write that changes the workload, or what comes right before it.
#[must_use]
pub fn trap(method: &'static str, dry_run: bool, part: Part) -> HttpTrap {
    HttpTrap { method, path_end: "/deployments/web".to_owned(), dry_run, part }
}

/// Killed with the intent stored and the write on its way: it never arrives.
pub async fn the_executor_killed_right_before_its_write() -> Result<()> {
    killed_at(trap("PUT", false, Part::Request)).await
}

/// Killed when the write was accepted and the executor does not know.
pub async fn the_executor_killed_right_after_its_write() -> Result<()> {
    killed_at(trap("PUT", false, Part::Answer)).await
}

/// Killed when the server would take the write, and nothing is on the log yet.
pub async fn the_executor_killed_after_its_dry_run() -> Result<()> {
    killed_at(trap("PUT", true, Part::Answer)).await
}

async fn killed_at(trap: HttpTrap) -> Result<()> {
    let course = &COURSES[0];
    let wanted = good_ending().await?;
    let world = SmallWorld::start(course.options()).await?;
    let ran = async {
        let executor = world.of("executor")?;
        executor.api()?.arm(trap);
        let killing = async {
            executor.api()?.sprung(PATIENCE).await?;
            world.kill_and_restart("executor").await
        };
        let (left, ()) = tokio::try_join!((course.script)(&world), killing)?;
        let differences = end(&world, &left).await?.differences(&wanted, "executor");
        ensure!(differences.is_empty(), "the end is another one:\n  {}", differences.join("\n  "));
        Ok(())
    };
    finish(&world, ran.await)?;
    world.stop().await;
    Ok(())
}
