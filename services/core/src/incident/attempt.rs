//! The executor's part of a decision: the intent of an attempt, and what is seen of its write.
//!
//! Guarantees: an attempt names what it replaces, and no other begins once something was seen to move; what is reported is of the attempt
//! that counts. Must not: take a report of a write that is to be replaced.

use contracts::{Fact, v1};
use jiff::Timestamp;

use super::command::{Command, Refusal};
use super::decide::one;
use super::moved::by_digest;
use super::state::{Incident, Phase};
use super::waiting::not_after;

pub(super) fn start(state: &Incident, intent: &v1::RollbackStarted, now: Timestamp) -> Result<Vec<Fact>, Refusal> {
    let phase = state.phase();
    // Once something was seen to move, the write was made; another would be the second, over whatever somebody did since.
    if !matches!(phase, Phase::Planned | Phase::Acting) || state.progress.any() {
        return Err(Refusal::Illegal { command: "start attempt", phase });
    }
    let Some((_, plan)) = &state.plan else { return Err(Refusal::Illegal { command: "start attempt", phase }) };
    if state.attempts.last().is_some_and(|last| last.intent == *intent) {
        return Err(Refusal::AlreadySo);
    }
    if intent.attempt != state.attempt() + 1 {
        return Err(Refusal::WrongAttempt { given: intent.attempt, expected: state.attempt() + 1 });
    }
    let not_after = not_after(state).unwrap_or(now);
    if phase == Phase::Planned && now > not_after {
        return Err(Refusal::PlanExpired { not_after });
    }
    if intent.workload_uid != plan.workload_uid {
        return Err(Refusal::Invalid { field: "workload_uid", reason: "is not the planned workload's; it was recreated".into() });
    }
    if state.replaces().is_some_and(|replaced| replaced != intent.template_hash) {
        return Err(Refusal::Invalid {
            field: "template_hash",
            reason: "is not the planned one; somebody changed the template".into(),
        });
    }
    one(intent.clone())
}

pub(super) fn report(state: &Incident, command: &Command) -> Result<Vec<Fact>, Refusal> {
    let phase = state.phase();
    let progress = &state.progress;
    let (given, known, fact): (u32, bool, Fact) = match command {
        Command::ReportBadPodsDown(f) => (f.attempt, progress.bad_pods_down.is_some(), (*f).into()),
        Command::ReportDeployed(f) => (f.attempt, progress.deployed.is_some(), f.clone().into()),
        Command::ReportPodsReady(f) => (f.attempt, progress.pods_ready.is_some(), (*f).into()),
        Command::ReportTrafficShifted(f) => (f.attempt, progress.traffic_shifted.is_some(), f.clone().into()),
        _ => return Err(Refusal::Illegal { command: command.name(), phase }),
    };
    if known {
        return Err(Refusal::AlreadySo);
    }
    if !matches!(phase, Phase::Acting | Phase::Verifying | Phase::Mitigated) {
        return Err(Refusal::Illegal { command: command.name(), phase });
    }
    // What is seen of a write that is to be replaced says nothing of the one that replaces it.
    let expected = state.attempt().max(state.moved.as_ref().map_or(0, |moved| moved.attempt + 1));
    if given != expected {
        return Err(Refusal::WrongAttempt { given, expected });
    }
    if matches!(command, Command::ReportTrafficShifted(_)) && (progress.deployed.is_none() || progress.pods_ready.is_none()) {
        return Err(Refusal::Illegal { command: command.name(), phase });
    }
    Ok(vec![fact])
}

/// Once: what is named by its digest can't move.
pub(super) fn image_moved(state: &Incident, fact: &v1::ImageMoved, command: &'static str) -> Result<Vec<Fact>, Refusal> {
    let phase = state.phase();
    if state.moved.is_some() {
        return Err(Refusal::AlreadySo);
    }
    let Some((_, plan)) = state.plan.as_ref().filter(|_| phase == Phase::Acting) else {
        return Err(Refusal::Illegal { command, phase });
    };
    if fact.attempt != state.attempt() {
        return Err(Refusal::WrongAttempt { given: fact.attempt, expected: state.attempt() });
    }
    if by_digest(plan, fact).is_none() || fact.template_hash.is_empty() {
        return Err(Refusal::Invalid { field: "images", reason: "name none that the plan could name by its digest".into() });
    }
    one(fact.clone())
}
