//! Every service killed right before and right after each fact is appended, by itself or by another, on every way that an incident can take.
//!
//! What is killed where is read off the logs of the undisturbed runs, which come first. `LASTGOOD_DEPTH=deep` kills every service at every
//! append of every way; otherwise each service at each of its event types once, and one of the others there, in turn. A filter that begins with
//! a way's name runs only that way, in full.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use contracts::{Fact, LedgerFact, OccurrenceFact};
use e2e::crash::courses::{COURSES, Course};
use e2e::crash::ending::Ending;
use e2e::crash::{matrix, run};
use futures::StreamExt as _;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;

/// What no way has: a person's commands, which end with their append, and what a look at a cluster may find besides or puts together anew, each
/// of which is one append as well (`services/orchestrator/tests/flow/soak.rs`).
const ELSEWHERE: [&str; 4] = ["pause_switched", "version_marked", "version_unavailable", "version_kept"];

/// Worlds at once: they mostly wait.
const SIDE_BY_SIDE: usize = 8;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let side_by_side = *arguments.test_threads.get_or_insert(SIDE_BY_SIDE);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => Arc::new(runtime),
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(trials(&arguments, side_by_side, &runtime)) {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("an undisturbed run failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The undisturbed runs, and a trial for each kill that follows from them.
async fn trials(arguments: &Arguments, side_by_side: usize, runtime: &Arc<Runtime>) -> anyhow::Result<Vec<Trial>> {
    let filter = arguments.filter.as_deref().unwrap_or_default();
    let named = |course: &&Course| filter.starts_with(course.name);
    let all = !COURSES.iter().any(|course| named(&course));
    let courses: Vec<Course> = COURSES.iter().filter(|course| all || named(course)).copied().collect();
    let running = courses.iter().map(|course| async move { anyhow::Ok((*course, run::undisturbed(course).await?)) });
    let ran: Vec<_> = futures::stream::iter(running).buffered(side_by_side).collect().await;
    let ran = ran.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let endings: BTreeMap<&str, Arc<Ending>> =
        ran.iter().map(|(course, run)| (course.name, Arc::new(run.ending.clone()))).collect();
    let appends: Vec<_> = ran.iter().map(|(course, run)| (*course, matrix::appends(&run.log))).collect();
    let deep = std::env::var("LASTGOOD_DEPTH").is_ok_and(|depth| depth == "deep") || !all;
    let (kills, covered) = matrix::kills(&appends, deep);
    let mut trials: Vec<Trial> = kills
        .into_iter()
        .map(|kill| {
            let (runtime, ending) = (Arc::clone(runtime), Arc::clone(&endings[kill.course.name]));
            Trial::test(kill.name(), move || {
                runtime.block_on(run::killed(&kill, &ending)).map_err(|error| Failed::from(format!("{error:#}")))
            })
        })
        .collect();
    if all {
        trials.push(Trial::test("every_fact_was_killed_at", move || {
            let killed_at = |event_type: &&&str| covered.iter().any(|(_, event)| event == **event_type);
            let types = Fact::EVENT_TYPES.iter().chain(OccurrenceFact::EVENT_TYPES).chain(LedgerFact::EVENT_TYPES);
            let missing: Vec<_> = types.filter(|event_type| !killed_at(event_type) && !ELSEWHERE.contains(*event_type)).collect();
            if missing.is_empty() { Ok(()) } else { Err(Failed::from(format!("no way has the facts {missing:?}"))) }
        }));
    }
    Ok(trials)
}
