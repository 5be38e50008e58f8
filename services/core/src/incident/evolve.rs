//! `evolve(state, fact) -> state`.
//!
//! Guarantees: total; a fact that follows itself changes nothing the second time. Must not: judge; what is on the log happened.

use contracts::v1::{self, Audience, Outcome, Urgency};
use contracts::{DeadlineKind, Fact};
use jiff::Timestamp;

use super::follow::COMPLETED;
use super::moved::by_digest;
use super::state::{Approval, Attempt, Closed, Incident, Notice, Opened, Phase, Progress, Recorded};

/// The state after one more fact.
#[must_use]
pub fn evolve(mut state: Incident, recorded: &Recorded) -> Incident {
    apply(&mut state, recorded.at, &recorded.fact);
    state.last_sequence = state.last_sequence.max(recorded.sequence);
    state
}

pub(super) fn apply(state: &mut Incident, at: Timestamp, fact: &Fact) {
    match fact {
        Fact::AnomalyDetected(f) => open(state, at, f),
        Fact::NotificationsRouted(f) => {
            state.routed.get_or_insert_with(|| f.clone());
        }
        Fact::CurrentVersionIdentified(f) => state.current = Some(f.clone()),
        Fact::PreviousVersionFound(f) => state.target = Some(f.clone()),
        Fact::PreviousVersionMissing(f) => state.missing = Some(f.clone()),
        Fact::ApprovalRequested(f) => {
            state.approval.get_or_insert_with(|| Approval {
                asked_at: at,
                request: f.clone(),
                granted_at: None,
                by: None,
                seen_by: None,
            });
        }
        // How long the plan waits is in the plan; this one keeps binaries away that don't know of it.
        Fact::GraceBegun(_) => {}
        Fact::RollbackPlanned(f) => state.plan = f.plan.clone().map(|plan| (at, plan)),
        Fact::RollbackHalted(f) => state.halted = Some(f.clone()),
        Fact::RollbackStarted(f) => {
            if state.attempts.last().is_none_or(|last| last.intent != *f) {
                state.attempts.push(Attempt { at, intent: f.clone() });
            }
        }
        Fact::BadPodsScaledDown(_) => set_once(&mut state.progress.bad_pods_down, at),
        Fact::PreviousVersionDeployed(_) => set_once(&mut state.progress.deployed, at),
        Fact::ImageMoved(f) => go_by_digest(state, f),
        Fact::PodsReady(_) => set_once(&mut state.progress.pods_ready, at),
        Fact::TrafficShifted(_) => set_once(&mut state.progress.traffic_shifted, at),
        Fact::RollbackFailed(f) => state.failed = Some(f.clone()),
        Fact::SmokeTestFinished(f) => {
            state.checks.insert(f.check.clone(), f.clone());
        }
        Fact::VerificationPassed(_) => set_once(&mut state.verification_passed, at),
        Fact::VerificationFailed(f) => state.verification_failed = Some(f.clone()),
        Fact::Mitigated(_) => set_once(&mut state.mitigated_at, at),
        Fact::StatusUpdated(_) => state.status_updated = true,
        Fact::OldResourcesCleaned(_) => state.cleaned = true,
        Fact::AlertJoined(f) => {
            state.joined_after_close |= state.closed.is_some() || state.completed_at.is_some();
            state.resolved.retain(|resolved| !f.occurrences.iter().any(|occurrence| occurrence.fingerprint == *resolved));
            state.joined.extend(f.occurrences.iter().map(|occurrence| (occurrence.fingerprint.clone(), occurrence.clone())));
        }
        Fact::AlertResolved(f) => {
            state.resolved.insert(f.fingerprint.clone());
        }
        Fact::Superseded(f) => state.superseded = Some(f.clone()),
        Fact::DeadlinePassed(f) => pass(state, at, DeadlineKind::parse(&f.deadline)),
        Fact::NotificationRequested(f) => ask(state, at, f),
        Fact::Announced(f) => state.announced = Some(f.clone()),
        Fact::OnCallNotified(f) => settle(state, at, Audience::OnCall, &f.reason, true),
        Fact::Escalated(f) => settle(state, at, Audience::TeamLead, &f.reason, true),
        Fact::NotificationFailed(f) => settle(state, at, f.audience(), &f.reason, false),
        Fact::PersonActed(f) => person(state, at, f),
        Fact::IncidentClosed(f) => {
            state.closed = Some(Closed {
                at,
                outcome: Outcome::try_from(f.outcome).unwrap_or(Outcome::Unspecified),
                reason: f.reason.clone(),
            });
        }
    }
}

fn set_once(slot: &mut Option<Timestamp>, at: Timestamp) {
    slot.get_or_insert(at);
}

fn open(state: &mut Incident, at: Timestamp, fact: &v1::AnomalyDetected) {
    if state.opened.is_none() {
        state.opened = Some(Opened {
            at,
            trigger: fact.trigger.clone().unwrap_or_default(),
            workload_uid: fact.workload_uid.clone(),
            deadlines: fact.deadlines.unwrap_or_default(),
            requested: fact.requested.clone(),
        });
    }
}

fn go_by_digest(state: &mut Incident, fact: &v1::ImageMoved) {
    if state.moved.is_none() {
        if let Some((_, plan)) = &mut state.plan
            && let Some(named) = by_digest(plan, fact)
        {
            *plan = named;
        }
        state.moved = Some(fact.clone());
        state.progress = Progress::default();
    }
}

fn person(state: &mut Incident, at: Timestamp, fact: &v1::PersonActed) {
    let waits = state.phase() == Phase::AwaitingApproval;
    match (fact.action(), &mut state.approval) {
        (v1::Action::Approve, Some(approval)) => {
            approval.granted_at.get_or_insert(at);
            approval.by.get_or_insert_with(|| fact.clone());
        }
        // Whoever has seen the question has not seen how it ends: a later page wants an acknowledgement of its own.
        (v1::Action::Acknowledge, Some(approval)) if waits => approval.seen_by = Some(fact.clone()),
        (v1::Action::Acknowledge, _) => state.acknowledged = Some(fact.clone()),
        _ => {}
    }
}

fn pass(state: &mut Incident, at: Timestamp, deadline: Option<DeadlineKind>) {
    match (deadline, &mut state.approval) {
        (Some(DeadlineKind::Resolve), _) => {
            let fires = !state.trigger_resolved();
            state.fired_at_deadline.get_or_insert(fires);
        }
        (Some(DeadlineKind::Approve), Some(approval)) if approval.request.on_timeout() == v1::OnTimeout::Proceed => {
            approval.granted_at.get_or_insert(at);
        }
        (Some(DeadlineKind::Grace), _) => set_once(&mut state.grace_over, at),
        _ => {}
    }
    // That one comes back for each step; which of them were called, the notifications tell.
    state.deadlines_passed.extend(deadline.filter(|deadline| *deadline != DeadlineKind::Escalate));
}

fn ask(state: &mut Incident, at: Timestamp, fact: &v1::NotificationRequested) {
    if fact.reason == COMPLETED {
        set_once(&mut state.completed_at, at);
    }
    state.notices.entry((fact.audience, fact.reason.clone())).or_insert_with(|| Notice {
        audience: fact.audience(),
        urgency: Urgency::try_from(fact.urgency).unwrap_or(Urgency::Page),
        request: fact.clone(),
        requested_at: at,
        settled_at: None,
        delivered: false,
    });
}

fn settle(state: &mut Incident, at: Timestamp, audience: Audience, reason: &str, delivered: bool) {
    if let Some(notice) = state.notices.get_mut(&(audience as i32, reason.to_owned())) {
        notice.settled_at.get_or_insert(at);
        notice.delivered |= delivered;
    }
}
