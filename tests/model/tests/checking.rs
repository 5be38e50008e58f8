//! Every promise holds in every state of every scenario; and the checker notices when the product is broken.
//!
//! Guarantees: a scenario is explored to its end, and each promise has a mistake of `Mutation` that leads to a counterexample. Whichever
//! test ends last prints a table of them all. `LASTGOOD_DEPTH=deep` takes larger bounds. Must not: pass because too little was explored.

use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use model::check::{Depth, Mutation, Promise, Report, Scenario, hunt, run, table};

/// What was explored so far, by any of the tests.
static EXPLORED: Mutex<Vec<Report>> = Mutex::new(Vec::new());

/// Keeps a report, and prints the table once all are there.
fn keep(report: Report) {
    let mut explored = EXPLORED.lock().unwrap_or_else(PoisonError::into_inner);
    explored.push(report);
    if explored.len() == Scenario::all(Depth::from_env()).len() + mistakes().len() {
        explored.sort_by_key(|report| report.mutation.is_some());
        // Also where the test harness captures what a test prints: how much was explored is a part of the proof.
        let _ = std::io::stderr().write_all(format!("\n{}\n", table(&explored)).as_bytes());
    }
}

fn holds(scenario: Scenario, reached: &[&str]) {
    let report = run(scenario);
    println!("{report}\n  reached: {:?}", report.reached);
    assert!(report.broken.is_empty(), "{report}");
    for state in reached {
        assert!(report.reached.contains(state), "`{state}` was never reached: {:?}", report.reached);
    }
    keep(report);
}

#[test]
fn two_executors_and_a_person() {
    let reached = ["completed", "superseded", "a second attempt", "taken over", "two executors at work"];
    holds(Scenario::acting(Depth::from_env()), &reached);
}

#[test]
fn two_executors_and_a_person_who_changes_it_twice() {
    holds(Scenario::contested(Depth::from_env()), &["completed", "superseded", "two executors at work"]);
}

#[test]
fn deadlines_and_switches() {
    let reached = ["completed", "superseded", "halted", "rollback failed", "unresolved", "the team lead is called"];
    holds(Scenario::deadlines(Depth::from_env()), &reached);
}

#[test]
fn two_orchestrators_and_two_alerts() {
    holds(Scenario::opening(Depth::from_env()), &["halted", "joined"]);
}

#[test]
fn two_alerts_and_the_rollback_of_one() {
    holds(Scenario::overlapping(Depth::from_env()), &["completed", "joined"]);
}

#[test]
fn two_orchestrators_a_crash_and_a_person() {
    holds(Scenario::resuming(Depth::from_env()), &["halted", "superseded"]);
}

#[test]
fn a_decision_and_a_person_who_changes_it_twice() {
    holds(Scenario::deciding(Depth::from_env()), &["completed", "superseded"]);
}

#[test]
fn verifying_finishing_and_telling() {
    let reached = ["completed", "superseded", "verification failed", "unresolved"];
    holds(Scenario::ending(Depth::from_env()), &reached);
}

#[test]
fn a_second_incident() {
    let escalated = "the last good was rolled back from: escalated instead";
    holds(Scenario::again(Depth::from_env()), &["completed", "unresolved", "a second rollback", "joined", escalated]);
}

#[test]
fn an_approval_and_whoever_answers_it() {
    let reached =
        ["completed", "superseded", "halted", "nobody approved in time", "resolved while it waited", "two executors at work"];
    holds(Scenario::asking(Depth::from_env()), &reached);
}

#[test]
fn a_tag_that_moved_two_executors_and_a_person() {
    let reached =
        ["completed", "put back by its digest", "superseded", "a second attempt", "taken over", "two executors at work"];
    holds(Scenario::moved(Depth::from_env()), &reached);
}

/// The one promise that a stopped process can break (runbooks/decisions/0009, "known, and left"); it breaks no other.
#[test]
fn an_executor_that_wakes_up_in_the_next_incident() {
    let reached = ["rollback failed", "superseded", "what is known to break"];
    holds(Scenario::stopped(Depth::from_env()), &reached);
}

/// Each mistake, where it shows, and the promise that it breaks.
fn mistakes() -> Vec<(Mutation, Scenario, Promise)> {
    let ci = Depth::Ci;
    vec![
        (Mutation::WritesBlindly, Scenario::contested(ci), Promise::NotOverwritten),
        (Mutation::WritesWithoutIntent, Scenario::acting(ci), Promise::IntentFirst),
        (Mutation::RepeatsTheWrite, Scenario::acting(ci), Promise::OneWrite),
        (Mutation::IgnoresExpectation, Scenario::opening(ci), Promise::OneIncident),
        (Mutation::IgnoresExpectation, Scenario::overlapping(ci), Promise::OneActs),
        (Mutation::ForgetsDispositions, Scenario::resuming(ci), Promise::OneDisposition),
        (Mutation::ForgetsDispositions, Scenario::again(ci), Promise::OneDisposition),
        (Mutation::ForgetsRolledBackFrom, Scenario::again(ci), Promise::NeverBack),
        (Mutation::TrustsNoData, Scenario::ending(ci), Promise::NoDataIsNotHealthy),
        (Mutation::ClosesUntold, Scenario::ending(ci), Promise::SomebodyIsAsked),
        (Mutation::RecordsBeforeSending, Scenario::ending(ci), Promise::SentBeforeRecorded),
        (Mutation::EndsTwice, Scenario::deadlines(ci), Promise::LegalPhases),
        (Mutation::LosesTimers, Scenario::deadlines(ci), Promise::CanEnd),
        (Mutation::HandsBack, Scenario::deciding(ci), Promise::DoesEnd),
        (Mutation::LooksBeforeTheLog, Scenario::acting(ci), Promise::TrueSupersession),
        (Mutation::HaltsAfterIntent, Scenario::deadlines(ci), Promise::TrueHalt),
        (Mutation::TrustsOldWorkload, Scenario::overlapping(ci), Promise::TrueSupersession),
        (Mutation::ActsUnapproved, Scenario::asking(ci), Promise::AskedFirst),
        (Mutation::RemembersItsWrite, Scenario::moved(ci), Promise::TrueSupersession),
        (Mutation::TrustsOldRevision, Scenario::deciding(ci), Promise::TrueSupersession),
    ]
}

#[test]
fn every_mistake_is_found() {
    for (mutation, scenario, promise) in mistakes() {
        let report = hunt(scenario, mutation, promise);
        println!("{mutation:?} in {report}");
        let path = report.broken.get(promise.words());
        let path = path.unwrap_or_else(|| panic!("{mutation:?} was not noticed by {promise:?}: {report}"));
        assert!(path.lines().count() > 1, "the path is told: {path}");
        keep(report);
    }
}

#[test]
fn every_promise_has_a_mistake_that_breaks_it() {
    let mistakes = mistakes();
    for promise in Promise::ALL {
        assert!(mistakes.iter().any(|(_, _, broken)| *broken == promise), "{promise:?} ({}) has none", promise.words());
    }
}
