//! Every promise holds in every state of every scenario; and the checker notices when the product is broken.
//!
//! Guarantees: a scenario is explored to its end, and each mistake of `Mutation` leads to a counterexample. `LASTGOOD_DEPTH=deep` takes
//! larger bounds. Must not: pass because too little was explored.

use model::check::{Depth, Mutation, Scenario, run};

fn holds(scenario: Scenario, reached: &[&str]) {
    // A clock that is read late and then on time can go around for ever; no real one does.
    let clocks_go_on = !scenario.late;
    let report = run(scenario, None);
    println!("{report}\n  reached: {:?}", report.reached);
    assert!(report.broken.is_empty(), "{report}");
    assert!(!(clocks_go_on && report.circles), "steps can go around in {}", report.scenario);
    for state in reached {
        assert!(report.reached.contains(state), "`{state}` was never reached: {:?}", report.reached);
    }
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

/// Larger than CI affords; that its promise can break is seen below (`ForgetsRolledBackFrom`).
#[test]
#[ignore = "takes minutes; run it with --ignored"]
fn a_second_incident() {
    holds(Scenario::again(Depth::from_env()), &["completed", "a second rollback"]);
}

/// Each mistake, where it shows, and the promise that it breaks.
#[test]
fn every_mistake_is_found() {
    let ci = Depth::Ci;
    let mistakes = [
        (Mutation::WritesBlindly, Scenario::contested(ci), "S4: a person's change is never overwritten"),
        (Mutation::WritesWithoutIntent, Scenario::acting(ci), "S3: before every write"),
        (Mutation::RepeatsTheWrite, Scenario::acting(ci), "S2: a planned rollback changes"),
        (Mutation::IgnoresExpectation, Scenario::opening(ci), "S2: a workload has at most one open incident"),
        (Mutation::ForgetsDispositions, Scenario::resuming(ci), "S1, S6: an occurrence"),
        (Mutation::ForgetsRolledBackFrom, Scenario::again(ci), "S6: never back"),
        (Mutation::TrustsNoData, Scenario::ending(ci), "S7: verification"),
        (Mutation::ClosesUntold, Scenario::ending(ci), "S5: no incident closes"),
        (Mutation::RecordsBeforeSending, Scenario::ending(ci), "S5: what is recorded"),
        (Mutation::EndsTwice, Scenario::deadlines(ci), "the log never tells"),
        (Mutation::LosesTimers, Scenario::deadlines(ci), "S5: from every state"),
        (Mutation::LooksBeforeTheLog, Scenario::acting(ci), "S4: what is called superseded"),
        (Mutation::HaltsAfterIntent, Scenario::deadlines(ci), "S3: what is called halted"),
        (Mutation::TrustsOldRevision, Scenario::deciding(ci), "S4: what is called superseded"),
    ];
    for (mutation, scenario, promise) in mistakes {
        let report = run(scenario, Some(mutation));
        println!("{mutation:?} in {report}");
        let found = report.broken.iter().find(|(broken, _)| broken.starts_with(promise));
        let (_, path) = found.unwrap_or_else(|| panic!("{mutation:?} was not noticed by `{promise}`: {report}"));
        assert!(path.lines().count() > 1, "the path is told: {path}");
    }
}
