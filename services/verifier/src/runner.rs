//! Runs one check to its verdict: look, try, count, wait; until it is decided or time is over.
//!
//! Guarantees: it looks anew before each try; it ends at its deadline whatever hangs; its evidence is what was seen last.
//! Must not: outlive somebody's change of the workload: that ends it at once without a verdict.

use std::time::Duration;

use contracts::v1::{self, SmokeTestFinished, Verdict, WorkloadRef};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::checks::pods::{self, Watch};
use crate::checks::{EVIDENCE, Scene, Tools, Try};
use crate::definitions::Definition;
use crate::eyes::{Eyes, NoLook};
use crate::tally::{Outcome, Tally};
use crate::text::excerpt;

/// Somebody changed the workload while it was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed(pub v1::Superseded);

/// How the pods are watched.
#[derive(Debug, Clone, Copy)]
pub struct Stabilisation {
    /// For how long all has to stay well.
    pub window: Duration,
    /// From one look to the next.
    pub every: Duration,
}

/// Runs a smoke test.
pub async fn smoke_test(
    definition: &Definition,
    workload: &WorkloadRef,
    tools: &Tools,
    eyes: &dyn Eyes,
    until: Instant,
) -> Result<SmokeTestFinished, Changed> {
    let finished = |verdict: Verdict, evidence: String, tries: u32| SmokeTestFinished {
        check: definition.name.clone(),
        kind: definition.kind.to_owned(),
        verdict: verdict.into(),
        evidence: excerpt(&evidence, EVIDENCE),
        tries,
    };
    if let Some(why) = definition.probe.impossible(tools) {
        return Ok(finished(Verdict::NoData, why.to_owned(), 0));
    }
    let pace = definition.pace;
    let mut tally = Tally::new(pace.passes, pace.retries);
    let mut last = "nothing was tried".to_owned();
    loop {
        let started = Instant::now();
        if started >= until {
            let evidence = format!("not decided in time ({} of {} passes in a row); {last}", tally.in_a_row(), pace.passes);
            return Ok(finished(tally.without_pass(), evidence, tally.tries()));
        }
        let tried = timeout_at(until, one_try(definition, workload, tools, eyes)).await;
        let tried = tried.unwrap_or_else(|_| Ok(Try::new(Outcome::NoData, "time was over before it was seen")))?;
        last = tried.evidence;
        if let Some(verdict) = tally.add(tried.outcome) {
            let evidence = match verdict {
                Verdict::Passed => format!("{} passes in a row; {last}", tally.in_a_row()),
                _ => last,
            };
            return Ok(finished(verdict, evidence, tally.tries()));
        }
        sleep_until(until.min(started + pace.interval)).await;
    }
}

async fn one_try(definition: &Definition, workload: &WorkloadRef, tools: &Tools, eyes: &dyn Eyes) -> Result<Try, Changed> {
    match eyes.look().await {
        Ok(sight) => {
            let scene = Scene { tools, workload, sight: &sight, timeout: definition.pace.timeout };
            Ok(definition.probe.try_once(&scene).await)
        }
        Err(NoLook::Unseen(why)) => Ok(Try::new(Outcome::NoData, why)),
        Err(NoLook::Changed(what)) => Err(Changed(what)),
    }
}

/// Watches the pods over the stabilisation window. `smoke_tests` is how many there are, for the evidence.
pub async fn pods(
    stabilisation: Stabilisation,
    smoke_tests: usize,
    eyes: &dyn Eyes,
    until: Instant,
) -> Result<SmokeTestFinished, Changed> {
    let began = Instant::now();
    let mut watch = Watch::new(stabilisation.window);
    let verdict = loop {
        let started = Instant::now();
        if started >= until {
            break watch.without_pass();
        }
        match timeout_at(until, eyes.look()).await {
            Ok(Ok(sight)) => {
                if let Some(verdict) = watch.look(began.elapsed(), &sight) {
                    break verdict;
                }
            }
            Ok(Err(NoLook::Changed(what))) => return Err(Changed(what)),
            Ok(Err(NoLook::Unseen(why))) => watch.unseen(&why),
            Err(_) => watch.unseen("the cluster did not answer in time"),
        }
        sleep_until(until.min(started + stabilisation.every)).await;
    };
    let none = if smoke_tests == 0 { "; no smoke tests are configured for this workload" } else { "" };
    Ok(SmokeTestFinished {
        check: pods::NAME.to_owned(),
        kind: pods::NAME.to_owned(),
        verdict: verdict.into(),
        evidence: excerpt(&format!("{}{none}", watch.last()), EVIDENCE),
        tries: watch.looks(),
    })
}
