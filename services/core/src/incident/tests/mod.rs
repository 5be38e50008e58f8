//! The state machine: `arrows` has each arrow of the workflow, `waiting` those of plans that wait, `routing` those of routes and
//! escalations, `properties` any sequence of commands.

mod arrows;
mod properties;
mod routing;
mod waiting;

use super::*;
use contracts::v1::{self, Action, Audience, Outcome, Urgency, Verdict};
use contracts::{DeadlineKind, Fact, FailureReason, HaltReason};
use jiff::{SignedDuration, Timestamp};

/// An incident with a clock that a test moves.
#[derive(Clone, Default)]
struct Case {
    state: Incident,
    now: Timestamp,
    log: Vec<Fact>,
}

impl Case {
    fn run(&mut self, command: &Command) -> Result<Vec<&'static str>, Refusal> {
        let facts = decide(&self.state, command, self.now)?;
        let names = facts.iter().map(Fact::event_type).collect();
        for fact in facts {
            let sequence = self.state.last_sequence + 1;
            self.state = evolve(self.state.clone(), &Recorded { sequence, at: self.now, fact: fact.clone() });
            self.log.push(fact);
        }
        Ok(names)
    }

    fn must(mut self, commands: &[Command]) -> Self {
        for command in commands {
            self.run(command).unwrap_or_else(|refusal| panic!("{}: {refusal}", command.name()));
        }
        self
    }

    fn later(mut self, seconds: i64) -> Self {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        self
    }
}

fn occurrence(fingerprint: &str) -> v1::Occurrence {
    v1::Occurrence { fingerprint: fingerprint.into(), ..Default::default() }
}

fn version(hash: &str) -> v1::Version {
    v1::Version { template_hash: hash.into(), ..Default::default() }
}

fn open() -> Command {
    Command::Open(v1::AnomalyDetected { trigger: Some(occurrence("trigger")), workload_uid: "uid".into(), ..Default::default() })
}

fn plan() -> Command {
    Command::Plan(Box::new(v1::Plan {
        from: Some(version("bad")),
        to: Some(version("good")),
        workload_uid: "uid".into(),
        not_after: Some(contracts::time::to_proto(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(120))),
        ..Default::default()
    }))
}

fn start(attempt: u32) -> Command {
    Command::StartAttempt(v1::RollbackStarted {
        attempt,
        workload_uid: "uid".into(),
        workload_generation: i64::from(attempt),
        template_hash: "bad".into(),
        target_template_hash: "good".into(),
        ..v1::RollbackStarted::default()
    })
}

fn check(name: &str, verdict: Verdict) -> Command {
    Command::RecordCheck(v1::SmokeTestFinished { check: name.into(), verdict: verdict.into(), ..Default::default() })
}

fn resolved(fingerprint: &str) -> Command {
    Command::ResolveAlert(v1::AlertResolved { fingerprint: fingerprint.into(), ..Default::default() })
}

fn delivered(audience: Audience, reason: &str) -> Command {
    Command::RecordDelivery { audience, reason: reason.into(), channel: "test".into(), dedup_key: "k".into() }
}

fn acknowledge() -> Command {
    Command::PersonAct(v1::PersonActed { action: Action::Acknowledge.into(), who: "sam".into(), ..Default::default() })
}

fn halt() -> Command {
    Command::Halt { reason: HaltReason::MassFailure, detail: "12 workloads".into(), would_do: String::new() }
}

fn fail_rollback() -> Command {
    Command::Fail(v1::RollbackFailed { attempt: 1, reason: "pods_not_ready".into(), ..Default::default() })
}

fn fail_verification() -> Command {
    Command::FailVerification(v1::VerificationFailed { reason: "smoke_tests_failed".into(), failed_checks: vec!["home".into()] })
}

fn to_planned() -> Vec<Command> {
    vec![
        open(),
        Command::IdentifyCurrent(v1::CurrentVersionIdentified::default()),
        Command::FindPrevious(v1::PreviousVersionFound::default()),
        plan(),
    ]
}

fn to_shifted() -> Vec<Command> {
    let mut commands = to_planned();
    commands.extend([
        start(1),
        Command::ReportDeployed(v1::PreviousVersionDeployed { attempt: 1, ..Default::default() }),
        Command::ReportBadPodsDown(v1::BadPodsScaledDown { attempt: 1, pods: 3 }),
        Command::ReportPodsReady(v1::PodsReady { attempt: 1, ready: 3, desired: 3 }),
        Command::ReportTrafficShifted(v1::TrafficShifted { attempt: 1, services: vec![] }),
    ]);
    commands
}

fn to_mitigated() -> Vec<Command> {
    let mut commands = to_shifted();
    commands.extend([check("home", Verdict::Passed), Command::PassVerification]);
    commands
}
