//! The deadlines of an incident, from its facts alone.
//!
//! Guarantees: every phase before `Closed` has one, so no incident can stay where it is. Must not: set timers; the orchestrator does.

use std::time::Duration;

use contracts::DeadlineKind;
use contracts::v1::{Audience, Outcome, Urgency};
use jiff::{SignedDuration, Timestamp};

use super::routing::{escalates, next_call};
use super::state::{Incident, Notice, Phase};
use super::waiting::{APPROVAL, approvable_until, not_after};

const DECIDE: Duration = Duration::from_mins(1);
const ANNOUNCE: Duration = Duration::from_secs(3);
const ROLLBACK: Duration = Duration::from_mins(10);
const VERIFY: Duration = Duration::from_mins(10);
const RESOLVE: Duration = Duration::from_mins(15);
const ACKNOWLEDGE: Duration = Duration::from_mins(15);
const NOTIFY: Duration = Duration::from_mins(2);

/// The instants at which something has to be decided if nothing else has happened, for each deadline that is pending.
#[must_use]
pub fn pending_deadlines(state: &Incident) -> Vec<(DeadlineKind, Timestamp)> {
    let Some(opened) = &state.opened else { return Vec::new() };
    let mut pending = Vec::new();
    match state.phase() {
        Phase::Detected | Phase::Identified | Phase::TargetFound | Phase::TargetMissing => {
            pending.push((DeadlineKind::Decide, after(opened.at, state.allowed(|d| d.decide.as_ref(), DECIDE))));
        }
        Phase::AwaitingApproval | Phase::InGrace | Phase::Planned => pending.extend(planned(state)),
        Phase::Acting => pending.extend(
            acting_until(state)
                .map(|at| (DeadlineKind::Rollback, backstop(at, state.allowed(|d| d.rollback.as_ref(), ROLLBACK)))),
        ),
        Phase::Verifying => pending.extend(
            verifying_until(state).map(|at| (DeadlineKind::Verify, backstop(at, state.allowed(|d| d.verify.as_ref(), VERIFY)))),
        ),
        Phase::Mitigated => {
            let allowed = state.allowed(|d| d.resolve.as_ref(), RESOLVE);
            pending.extend(state.mitigated_at.map(|at| (DeadlineKind::Resolve, after(at, allowed))));
        }
        Phase::Ended(_) => pending.extend(telling(state)),
        Phase::Absent | Phase::Closed(_) => {}
    }
    pending.retain(|(kind, _)| !state.deadlines_passed.contains(kind));
    pending
}

/// Until when the executor may try; `None` before the first attempt.
#[must_use]
pub fn acting_until(state: &Incident) -> Option<Timestamp> {
    let allowed = state.allowed(|d| d.rollback.as_ref(), ROLLBACK);
    state.attempts.first().map(|attempt| after(attempt.at, allowed))
}

/// Until when the verifier may try; `None` before traffic has shifted.
#[must_use]
pub fn verifying_until(state: &Incident) -> Option<Timestamp> {
    let allowed = state.allowed(|d| d.verify.as_ref(), VERIFY);
    state.progress.traffic_shifted.map(|at| after(at, allowed))
}

fn planned(state: &Incident) -> Vec<(DeadlineKind, Timestamp)> {
    let Some((at, _)) = &state.plan else { return Vec::new() };
    let mut pending = Vec::new();
    if state.free_since().is_some() {
        pending.push((DeadlineKind::Start, not_after(state).unwrap_or(*at)));
    }
    pending.extend(approvable_until(state).map(|at| (DeadlineKind::Approve, at)));
    if state.free_since().is_none() {
        pending.extend(state.grace().map(|grace| (DeadlineKind::Grace, after(*at, grace))));
    }
    if state.announced.is_none() {
        pending.push((DeadlineKind::Announce, after(*at, state.allowed(|d| d.announce.as_ref(), ANNOUNCE))));
    }
    pending
}

fn telling(state: &Incident) -> Vec<(DeadlineKind, Timestamp)> {
    let mut pending = Vec::new();
    if let Some(at) = state.notices.values().filter(|notice| notice.settled_at.is_none()).map(|notice| notice.requested_at).max()
    {
        pending.push((DeadlineKind::Notify, after(at, state.allowed(|d| d.notify.as_ref(), NOTIFY))));
    }
    if let Some(at) = awaits_acknowledgement(state) {
        pending.push(match next_call(state, at) {
            Some(call) => (DeadlineKind::Escalate, call),
            None => (DeadlineKind::Acknowledge, after(at, state.allowed(|d| d.acknowledge.as_ref(), ACKNOWLEDGE))),
        });
    }
    if pending.is_empty() {
        // All is told, and it is not closed: whoever recorded that, with an older binary, did not know that it had ended.
        let last = state.notices.values().map(|notice| notice.requested_at).max();
        pending.extend(last.map(|at| (DeadlineKind::Notify, after(at, state.allowed(|d| d.notify.as_ref(), NOTIFY)))));
    }
    pending
}

/// Since when a page to the on-call waits for somebody to acknowledge it; `None` where none does (any more), or nobody is left to call.
pub(super) fn awaits_acknowledgement(state: &Incident) -> Option<Timestamp> {
    let nothing_changed_and_over = state.ending() == Some(Outcome::Halted) && state.trigger_resolved();
    if state.acknowledged.is_some() || nothing_changed_and_over {
        return None;
    }
    let page = paged(state, Audience::OnCall)?;
    let all_called = if escalates(state) { next_call(state, page).is_none() } else { paged(state, Audience::TeamLead).is_some() };
    (!all_called).then_some(page)
}

fn paged(state: &Incident, audience: Audience) -> Option<Timestamp> {
    // What asks for an approval is answered by an approval, by its deadline, or by what made it moot: never by an acknowledgement.
    let is_page = |notice: &&Notice| notice.urgency == Urgency::Page && notice.request.reason != APPROVAL;
    let pages = state.notices.values().filter(|notice| notice.audience == audience).filter(is_page);
    pages.map(|notice| notice.requested_at).min()
}

pub(super) fn after(at: Timestamp, allowed: Duration) -> Timestamp {
    SignedDuration::try_from(allowed).ok().and_then(|allowed| at.checked_add(allowed).ok()).unwrap_or(Timestamp::MAX)
}

/// A service reports by its own deadline; the orchestrator speaks for it only when it has been silent for a while longer.
fn backstop(at: Timestamp, allowed: Duration) -> Timestamp {
    after(at, (allowed / 10).max(Duration::from_secs(5)))
}
