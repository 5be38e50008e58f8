//! What a plan waits for before it may be begun: a person's word, and the end of its grace period.
//!
//! Guarantees: while it waits, nobody is free to begin it; each wait has a deadline; alerts that resolve meanwhile end it with nothing changed.
//! Must not: wait for both in turn: the grace period runs while the person is asked, and a yes ends it.

use std::time::Duration;

use contracts::v1::{self, Audience, Urgency};
use contracts::{DeadlineKind, Fact, HaltReason};
use jiff::{SignedDuration, Timestamp};

use super::command::Refusal;
use super::deadlines::after;
use super::follow::request;
use super::state::{Incident, Phase};

const START: Duration = Duration::from_mins(2);

/// The reason of the notification that asks for an approval.
pub const APPROVAL: &str = "approval";

impl Incident {
    /// What the plan waits for before it may be begun; `None` where that is nothing (any more).
    pub(super) fn waiting(&self) -> Option<Phase> {
        let approved = self.approval.as_ref().map(|approval| approval.granted_at.is_some());
        if approved == Some(false) {
            return Some(Phase::AwaitingApproval);
        }
        // Grace lets a machine's decision wait for what may mend itself; a person who says yes says so now.
        let by_person = self.approval.as_ref().is_some_and(|approval| approval.by.is_some());
        let graced = self.grace().is_some() && self.grace_over.is_none() && !by_person;
        graced.then_some(Phase::InGrace)
    }

    /// The plan's grace period, where it has one.
    #[must_use]
    pub fn grace(&self) -> Option<Duration> {
        let (_, plan) = self.plan.as_ref()?;
        contracts::time::duration_from_proto(plan.grace.as_ref()).filter(|grace| !grace.is_zero())
    }

    /// Since when the plan may be begun; `None` while it waits, or where there is none.
    #[must_use]
    pub fn free_since(&self) -> Option<Timestamp> {
        let (planned_at, _) = self.plan.as_ref()?;
        if self.waiting().is_some() {
            return None;
        }
        let granted_at = self.approval.as_ref().and_then(|approval| approval.granted_at);
        let by_person = self.approval.as_ref().is_some_and(|approval| approval.by.is_some());
        let grace_over = self.grace_over.filter(|_| !by_person);
        [Some(*planned_at), granted_at, grace_over].into_iter().flatten().max()
    }
}

/// Until when the plan may be begun; `None` while it waits for an approval or its grace period, or where there is none. After a wait it counts
/// from the wait's end, by the stream's time.
#[must_use]
pub fn not_after(state: &Incident) -> Option<Timestamp> {
    let (planned_at, plan) = state.plan.as_ref()?;
    let free_since = state.free_since()?;
    if free_since > *planned_at {
        return Some(after(free_since, state.allowed(|d| d.start.as_ref(), START)));
    }
    contracts::time::from_proto(plan.not_after.as_ref())
}

/// Until when a person may say yes; `None` where nobody is asked (any more).
#[must_use]
pub fn approvable_until(state: &Incident) -> Option<Timestamp> {
    let approval = state.approval.as_ref().filter(|_| state.phase() == Phase::AwaitingApproval)?;
    let within = contracts::time::duration_from_proto(approval.request.within.as_ref()).unwrap_or_default();
    Some(after(approval.asked_at, within))
}

/// Nothing is left to be put right, and nothing was changed.
pub(super) fn resolved_meanwhile(state: &Incident) -> Fact {
    let waited = if state.phase() == Phase::InGrace { "its grace period was over" } else { "anybody had approved it" };
    let detail = format!("all of its alerts resolved before {waited}");
    v1::RollbackHalted { reason: HaltReason::ResolvedBeforeAction.code().to_owned(), detail, would_do: would_do(state) }.into()
}

/// What the plan that waits would have done.
pub(super) fn would_do(state: &Incident) -> String {
    let asked = state.approval.as_ref().map(|approval| approval.request.would_do.clone());
    asked.or_else(|| state.plan.as_ref().map(|(_, plan)| plan.diff.clone())).unwrap_or_default()
}

pub(super) fn approval_asked(state: &Incident) -> v1::NotificationRequested {
    let would_do = would_do(state);
    let what = would_do.lines().next().unwrap_or("roll back");
    request(Audience::OnCall, Urgency::Page, APPROVAL, format!("Your approval is needed to {what}"), APPROVAL)
}

/// Nobody said yes or no in time. What can't be read as a yes is none.
pub(super) fn on_silence(state: &Incident) -> Option<Fact> {
    let request = &state.approval.as_ref()?.request;
    let within = contracts::time::duration_from_proto(request.within.as_ref()).unwrap_or_default();
    let within = SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX);
    let detail = format!("nobody approved or declined it within {within:#}");
    let reason = HaltReason::ApprovalTimedOut.code().to_owned();
    (request.on_timeout() != v1::OnTimeout::Proceed)
        .then(|| v1::RollbackHalted { reason, detail, would_do: would_do(state) }.into())
}

/// Whether a deadline is the end of what a plan waits for now. Whoever lets it pass asks first whether a freeze window holds
/// ([`Command::PassDeadlineFrozen`](super::Command::PassDeadlineFrozen)): it may have begun since the plan was made.
#[must_use]
pub fn ends_wait(state: &Incident, kind: DeadlineKind) -> bool {
    matches!((state.phase(), kind), (Phase::AwaitingApproval, DeadlineKind::Approve) | (Phase::InGrace, DeadlineKind::Grace))
}

/// What waited may not begin now, and is not begun later either: by then the incident is a person's.
pub(super) fn on_freeze(state: &Incident, why: &str) -> Fact {
    let detail = format!("{why}; it began while the plan waited");
    v1::RollbackHalted { reason: HaltReason::Frozen.code().to_owned(), detail, would_do: would_do(state) }.into()
}

pub(super) fn approve(state: &Incident, fact: &v1::PersonActed, now: Timestamp) -> Result<Vec<Fact>, Refusal> {
    let phase = state.phase();
    match &state.approval {
        Some(approval) if approval.by.is_some() => Err(Refusal::AlreadySo),
        Some(_) if phase == Phase::AwaitingApproval => match approvable_until(state) {
            // Its timer is about to say what becomes of it.
            Some(until) if now >= until => Err(Refusal::ApprovalOver { until }),
            _ => Ok(vec![fact.clone().into()]),
        },
        _ => Err(Refusal::NothingToApprove { phase }),
    }
}
