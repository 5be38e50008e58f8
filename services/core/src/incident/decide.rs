//! `decide(state, command, now) -> facts | refusal`.
//!
//! Guarantees: the facts, applied in order, lead to a legal state; what they imply is among them (`follow`). Must not: do I/O, read a
//! clock, or accept a command twice: the second time it is `AlreadySo`.

use std::collections::BTreeSet;

use contracts::v1::{self, Action};
use contracts::{DeadlineKind, Fact, FailureReason, HaltReason};
use jiff::Timestamp;

use super::attempt::{image_moved, report, start};
use super::command::{Command, Refusal};
use super::deadlines::pending_deadlines;
use super::follow::{self, halted};
use super::routing;
use super::state::{Incident, Phase};
use super::waiting::{approve, ends_wait, on_freeze, on_silence, would_do};
use crate::image::by_digests;
use crate::template::hash;

/// The facts that a command makes of this state, all of which belong into one atomic append.
pub fn decide(state: &Incident, command: &Command, now: Timestamp) -> Result<Vec<Fact>, Refusal> {
    let facts = direct(state, command, now)?;
    if matches!(command, Command::GiveUp { .. }) {
        // Conclusions are drawn from whole logs only.
        return Ok(facts);
    }
    Ok(follow::complete(state, facts, now))
}

fn direct(state: &Incident, command: &Command, now: Timestamp) -> Result<Vec<Fact>, Refusal> {
    let phase = state.phase();
    let illegal = || Err(Refusal::Illegal { command: command.name(), phase });
    match command {
        Command::Open(fact) => match phase {
            Phase::Absent => one(fact.clone()),
            _ => Err(Refusal::AlreadySo),
        },
        Command::GiveUp { detail } => give_up(state, detail),
        // Given up with its opening damaged: that the team lead was told is recorded all the same.
        Command::RecordDelivery { .. } | Command::RecordUndelivered(_) if state.closed.is_some() => {
            record_delivery(state, command)
        }
        _ if phase == Phase::Absent => illegal(),
        Command::Escalate { reason, detail } => follow::escalation(state, *reason, detail).map_or(Err(Refusal::AlreadySo), one),
        Command::Route(fact) => match phase {
            _ if state.routed.is_some() => Err(Refusal::AlreadySo),
            Phase::Detected | Phase::Identified | Phase::TargetFound => one(fact.clone()),
            _ => illegal(),
        },
        Command::IdentifyCurrent(_) | Command::FindPrevious(_) | Command::MissPrevious(_) => prepare(state, command),
        Command::Plan(plan) => plan_it(state, plan, None, command.name()),
        Command::PlanToApprove(plan, request) => plan_it(state, plan, Some(request), command.name()),
        Command::Halt { reason, detail, would_do } => halt(state, *reason, detail, would_do, command.name()),
        Command::StartAttempt(intent) => start(state, intent, now),
        Command::ReportBadPodsDown(_)
        | Command::ReportDeployed(_)
        | Command::ReportPodsReady(_)
        | Command::ReportTrafficShifted(_) => report(state, command),
        Command::ReportImageMoved(fact) => image_moved(state, fact, command.name()),
        Command::Fail(fact) => match phase {
            Phase::Acting => one(fact.clone()),
            _ if state.failed.is_some() => Err(Refusal::AlreadySo),
            _ => illegal(),
        },
        Command::RecordCheck(_) | Command::PassVerification | Command::FailVerification(_) => verify(state, command),
        Command::UpdateStatus(_) | Command::CleanUp(_) => tidy(state, command),
        Command::JoinAlerts(occurrences) => join(state, occurrences),
        Command::ResolveAlert(fact) => resolve(state, fact),
        Command::ResolveAlerts(facts) => resolve_all(state, facts),
        Command::StillFiring { fingerprint } => {
            follow::still_firing(state, fingerprint, now).map_or(Err(Refusal::AlreadySo), one)
        }
        Command::Supersede(fact) => match phase {
            _ if state.superseded.is_some() => Err(Refusal::AlreadySo),
            Phase::Ended(_) | Phase::Closed(_) => illegal(),
            _ => one(fact.clone()),
        },
        Command::PassDeadline(kind) => pass_deadline(state, *kind, now, None),
        Command::PassDeadlineFrozen(kind, why) => pass_deadline(state, *kind, now, Some(why)),
        Command::Announce(fact) => announce(state, fact),
        Command::RecordDelivery { .. } | Command::RecordUndelivered(_) => record_delivery(state, command),
        Command::PersonAct(fact) => person(state, fact, now, command.name()),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it ends the arms of `decide`, which can refuse")]
pub(super) fn one(fact: impl Into<Fact>) -> Result<Vec<Fact>, Refusal> {
    Ok(vec![fact.into()])
}

/// What the state misses is not known, not even whether it was opened; closing is right in every phase but after the close.
fn give_up(state: &Incident, detail: &str) -> Result<Vec<Fact>, Refusal> {
    let reason = FailureReason::DeadLetter;
    let mut facts: Vec<Fact> = follow::escalation(state, reason, detail).map(Fact::from).into_iter().collect();
    if state.closed.is_none() {
        facts.push(v1::IncidentClosed { outcome: v1::Outcome::Unspecified.into(), reason: reason.code().to_owned() }.into());
    }
    if facts.is_empty() { Err(Refusal::AlreadySo) } else { Ok(facts) }
}

fn prepare(state: &Incident, command: &Command) -> Result<Vec<Fact>, Refusal> {
    let phase = state.phase();
    match (command, phase) {
        (Command::IdentifyCurrent(fact), Phase::Detected) => one(fact.clone()),
        (Command::FindPrevious(fact), Phase::Identified) => one(fact.clone()),
        (Command::MissPrevious(fact), Phase::Identified) => one(fact.clone()),
        (Command::IdentifyCurrent(_), _) if state.current.is_some() => Err(Refusal::AlreadySo),
        (Command::FindPrevious(_), _) if state.target.is_some() => Err(Refusal::AlreadySo),
        (Command::MissPrevious(_), _) if state.missing.is_some() => Err(Refusal::AlreadySo),
        _ => Err(Refusal::Illegal { command: command.name(), phase }),
    }
}

/// The plan, after what it has to wait for: whoever doesn't know of that must not come to see the plan alone.
fn plan_it(
    state: &Incident,
    plan: &v1::Plan,
    approval: Option<&v1::ApprovalRequested>,
    command: &'static str,
) -> Result<Vec<Fact>, Refusal> {
    let phase = state.phase();
    let invalid = |field, reason: &str| Err(Refusal::Invalid { field, reason: reason.to_owned() });
    match (&plan.from, &plan.to) {
        _ if state.plan.is_some() => return Err(Refusal::AlreadySo),
        _ if phase != Phase::TargetFound => return Err(Refusal::Illegal { command, phase }),
        (Some(from), Some(to)) if from.template_hash == to.template_hash => {
            return invalid("plan.to", "is the version that runs already");
        }
        (Some(from), Some(to)) if names_what_runs(plan, from, to) => {
            return invalid("plan.to", "is, by its images' digests, the version that runs already");
        }
        (Some(_), Some(_)) if plan.not_after.is_none() => return invalid("plan.not_after", "is missing"),
        (Some(_), Some(_)) => {}
        (None, _) => return invalid("plan.from", "is missing"),
        (_, None) => return invalid("plan.to", "is missing"),
    }
    if approval.is_some_and(|asked| asked.within.is_none()) {
        return invalid("within", "is missing: an approval that is waited for without an end");
    }
    let grace =
        plan.grace.filter(|grace| contracts::time::duration_from_proto(Some(grace)).is_some_and(|grace| !grace.is_zero()));
    let mut facts: Vec<Fact> = approval.cloned().map(Fact::from).into_iter().collect();
    facts.extend(grace.map(|grace| Fact::from(v1::GraceBegun { grace: Some(grace) })));
    facts.push(v1::RollbackPlanned { plan: Some(plan.clone()) }.into());
    Ok(facts)
}

/// Whether the version, should its tags have moved, would be restored as the very one that is to be replaced.
fn names_what_runs(plan: &v1::Plan, from: &v1::Version, to: &v1::Version) -> bool {
    let template = serde_json::from_slice(&plan.template_json).ok();
    template.and_then(|template| by_digests(&template, &to.images)).is_some_and(|named| hash(&named) == from.template_hash)
}

fn halt(state: &Incident, reason: HaltReason, detail: &str, would_do: &str, command: &'static str) -> Result<Vec<Fact>, Refusal> {
    let phase = state.phase();
    match phase {
        _ if state.halted.is_some() => return Err(Refusal::AlreadySo),
        Phase::Detected
        | Phase::Identified
        | Phase::TargetFound
        | Phase::TargetMissing
        | Phase::AwaitingApproval
        | Phase::InGrace
        | Phase::Planned => {}
        // After the intent nobody can know that the write was not made: another replica may be about to make it. What is stopped then
        // fails, or the phase's deadline fails it.
        _ => return Err(Refusal::Illegal { command, phase }),
    }
    one(v1::RollbackHalted { reason: reason.code().to_owned(), detail: detail.to_owned(), would_do: would_do.to_owned() })
}

fn verify(state: &Incident, command: &Command) -> Result<Vec<Fact>, Refusal> {
    let phase = state.phase();
    match command {
        Command::RecordCheck(fact) if state.checks.contains_key(&fact.check) => Err(Refusal::AlreadySo),
        Command::PassVerification if state.verification_passed.is_some() => Err(Refusal::AlreadySo),
        Command::FailVerification(_) if state.verification_failed.is_some() => Err(Refusal::AlreadySo),
        _ if phase != Phase::Verifying => Err(Refusal::Illegal { command: command.name(), phase }),
        Command::RecordCheck(fact) => one(fact.clone()),
        Command::FailVerification(fact) => one(fact.clone()),
        Command::PassVerification => {
            let unproved = state.checks.values().find(|check| check.verdict() != v1::Verdict::Passed);
            match unproved {
                Some(check) => Err(Refusal::Invalid { field: "checks", reason: format!("`{}` did not pass", check.check) }),
                None if state.checks.is_empty() => Err(Refusal::Invalid { field: "checks", reason: "no check has run".into() }),
                None => one(v1::VerificationPassed { checks: u32::try_from(state.checks.len()).unwrap_or(u32::MAX) }),
            }
        }
        _ => Err(Refusal::Illegal { command: command.name(), phase }),
    }
}

fn tidy(state: &Incident, command: &Command) -> Result<Vec<Fact>, Refusal> {
    let phase = state.phase();
    match (command, phase) {
        (Command::UpdateStatus(_), _) if state.status_updated => Err(Refusal::AlreadySo),
        (Command::CleanUp(_), _) if state.cleaned => Err(Refusal::AlreadySo),
        (Command::UpdateStatus(fact), Phase::Mitigated) => one(fact.clone()),
        (Command::CleanUp(fact), Phase::Mitigated) if state.status_updated => one(fact.clone()),
        _ => Err(Refusal::Illegal { command: command.name(), phase }),
    }
}

fn join(state: &Incident, occurrences: &[v1::Occurrence]) -> Result<Vec<Fact>, Refusal> {
    // One that had resolved and fires again is news: it has to resolve again before the incident can complete.
    let is_new = |fingerprint: &str| !state.owns(fingerprint) || state.resolved.contains(fingerprint);
    let new: Vec<_> = occurrences.iter().filter(|occurrence| is_new(&occurrence.fingerprint)).cloned().collect();
    if new.is_empty() {
        return Err(Refusal::AlreadySo);
    }
    one(v1::AlertJoined { occurrences: new })
}

fn resolve(state: &Incident, fact: &v1::AlertResolved) -> Result<Vec<Fact>, Refusal> {
    if state.resolved.contains(&fact.fingerprint) {
        return Err(Refusal::AlreadySo);
    }
    if !state.owns(&fact.fingerprint) {
        return Err(Refusal::Invalid { field: "fingerprint", reason: format!("`{}` is not of this incident", fact.fingerprint) });
    }
    one(fact.clone())
}

/// One decision for all, because each decision costs a copy of the state, which an incident of thousands of alerts is large.
fn resolve_all(state: &Incident, facts: &[v1::AlertResolved]) -> Result<Vec<Fact>, Refusal> {
    let mut seen = BTreeSet::new();
    let new = facts.iter().filter(|fact| resolve(state, fact).is_ok() && seen.insert(fact.fingerprint.as_str()));
    let new: Vec<Fact> = new.cloned().map(Fact::from).collect();
    if new.is_empty() { Err(Refusal::AlreadySo) } else { Ok(new) }
}

/// `frozen` says why nothing may be begun now, where a freeze window holds.
fn pass_deadline(state: &Incident, kind: DeadlineKind, now: Timestamp, frozen: Option<&str>) -> Result<Vec<Fact>, Refusal> {
    if state.deadlines_passed.contains(&kind) {
        return Err(Refusal::AlreadySo);
    }
    let due = pending_deadlines(state).into_iter().any(|(pending, at)| pending == kind && at <= now);
    if !due {
        return Err(Refusal::NotDue(kind));
    }
    let mut facts: Vec<Fact> = vec![v1::DeadlinePassed { deadline: kind.code().to_owned() }.into()];
    if let Some(why) = frozen.filter(|_| ends_wait(state, kind)) {
        facts.push(on_freeze(state, why));
        return Ok(facts);
    }
    let detail = || format!("deadline `{kind}` passed");
    match kind {
        DeadlineKind::Decide => facts.push(halted(HaltReason::DecisionTimedOut, detail())),
        DeadlineKind::Start => facts.push(halted(HaltReason::PlanExpired, detail())),
        DeadlineKind::Approve => facts.extend(on_silence(state)),
        DeadlineKind::Rollback => facts.push(
            v1::RollbackFailed {
                attempt: state.attempt(),
                reason: FailureReason::ExecutorSilent.code().to_owned(),
                detail: detail(),
                ..Default::default()
            }
            .into(),
        ),
        DeadlineKind::Verify => facts.push(
            v1::VerificationFailed { reason: FailureReason::VerifierSilent.code().to_owned(), failed_checks: Vec::new() }.into(),
        ),
        DeadlineKind::Escalate => facts.extend(routing::due(state, now).into_iter().map(Fact::from)),
        DeadlineKind::Announce
        | DeadlineKind::Grace
        | DeadlineKind::Resolve
        | DeadlineKind::Acknowledge
        | DeadlineKind::Notify => {}
    }
    Ok(facts)
}

fn announce(state: &Incident, fact: &v1::Announced) -> Result<Vec<Fact>, Refusal> {
    match &state.announced {
        // A thread that could only be opened later replaces the word that there was none yet.
        Some(known) if !known.thread.is_empty() || fact.thread.is_empty() => Err(Refusal::AlreadySo),
        _ => one(fact.clone()),
    }
}

fn record_delivery(state: &Incident, command: &Command) -> Result<Vec<Fact>, Refusal> {
    let (audience, reason, fact): (v1::Audience, &str, Fact) = match command {
        Command::RecordDelivery { audience, reason, channel, dedup_key } => {
            let (reason_, channel, dedup_key) = (reason.clone(), channel.clone(), dedup_key.clone());
            let fact = match audience {
                v1::Audience::TeamLead => v1::Escalated { reason: reason_, channel, dedup_key }.into(),
                _ => v1::OnCallNotified { reason: reason_, channel, dedup_key }.into(),
            };
            (*audience, reason, fact)
        }
        Command::RecordUndelivered(failed) => (failed.audience(), &failed.reason, failed.clone().into()),
        _ => return Err(Refusal::Illegal { command: command.name(), phase: state.phase() }),
    };
    match state.notice(audience, reason) {
        None => Err(Refusal::Invalid { field: "reason", reason: format!("no notification `{reason}` was asked for") }),
        Some(notice) if notice.delivered => Err(Refusal::AlreadySo),
        Some(notice) if notice.settled_at.is_some() && matches!(command, Command::RecordUndelivered(_)) => {
            Err(Refusal::AlreadySo)
        }
        Some(_) => Ok(vec![fact]),
    }
}

fn person(state: &Incident, fact: &v1::PersonActed, now: Timestamp, command: &'static str) -> Result<Vec<Fact>, Refusal> {
    let phase = state.phase();
    let illegal = Err(Refusal::Illegal { command, phase });
    match fact.action() {
        Action::Approve => approve(state, fact, now),
        Action::Acknowledge if phase == Phase::AwaitingApproval => match &state.approval {
            Some(approval) if approval.seen_by.is_some() => Err(Refusal::AlreadySo),
            _ => one(fact.clone()),
        },
        // Also when it was the last thing that the close waited for: whoever lost the answer asks again.
        Action::Acknowledge if state.acknowledged.is_some() => Err(Refusal::AlreadySo),
        // Likewise, whoever said no and lost the answer.
        Action::Decline | Action::Hold | Action::Pause if state.halt_reason() == Some(HaltReason::DeclinedByPerson) => {
            Err(Refusal::AlreadySo)
        }
        _ if matches!(phase, Phase::Closed(_)) => illegal,
        // After the intent the write may have been made: "nothing was rolled back" could be untrue, and nobody would watch it.
        Action::Decline | Action::Hold | Action::Pause if phase == Phase::Acting => illegal,
        Action::Acknowledge => one(fact.clone()),
        Action::Decline | Action::Hold | Action::Pause => {
            let who = format!("{} by {} ({})", fact.action().as_str_name(), fact.who, fact.note);
            let mut facts = halt(state, HaltReason::DeclinedByPerson, &who, &would_do(state), command)?;
            facts.insert(0, fact.clone().into());
            Ok(facts)
        }
        Action::Unspecified => illegal,
    }
}
