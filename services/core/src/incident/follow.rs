//! What a decision implies: the facts that must come in the same append, so that no crash can leave an incident half told.
//!
//! Guarantees: an ending asks for its notification at once; a missing version halts; a passed verification mitigates; what is told
//! and acknowledged closes. Must not: decide anything new; it only draws conclusions.

use contracts::v1::{self, Audience, Outcome, Urgency};
use contracts::{DeadlineKind, Fact, FailureReason, HaltReason};
use jiff::Timestamp;

use super::deadlines::{after, awaits_acknowledgement};
use super::evolve::apply;
use super::routing::{route, with_at_once};
use super::state::{Incident, Phase};
use super::waiting::{APPROVAL, approval_asked, resolved_meanwhile};

/// The reason of the notification that all is well again: an incident that asks for it has completed.
pub(super) const COMPLETED: &str = "completed";

/// The facts, and everything that follows from them.
pub(super) fn complete(state: &Incident, mut facts: Vec<Fact>, now: Timestamp) -> Vec<Fact> {
    let mut after_them = state.clone();
    for fact in &mut facts {
        route(&after_them, fact);
        apply(&mut after_them, now, fact);
    }
    while let Some(mut next) = implied(&after_them) {
        route(&after_them, &mut next);
        apply(&mut after_them, now, &next);
        facts.push(next);
    }
    facts
}

/// A halt with nothing to say about what would have been done.
pub(super) fn halted(reason: HaltReason, detail: String) -> Fact {
    v1::RollbackHalted { reason: reason.code().to_owned(), detail, would_do: String::new() }.into()
}

fn implied(state: &Incident) -> Option<Fact> {
    match state.phase() {
        Phase::TargetMissing => {
            let considered = state.missing.as_ref().map(|missing| missing.considered.join("; ")).unwrap_or_default();
            Some(halted(HaltReason::PreviousVersionMissing, considered))
        }
        Phase::AwaitingApproval | Phase::InGrace if state.is_quiet() => Some(resolved_meanwhile(state)),
        Phase::AwaitingApproval if state.notice(Audience::OnCall, APPROVAL).is_none() => Some(approval_asked(state).into()),
        Phase::Verifying if state.verification_passed.is_some() => Some(v1::Mitigated {}.into()),
        Phase::Ended(outcome) => Some(match unasked(state, outcome) {
            Some(request) => request.into(),
            None if may_close(state) => {
                v1::IncidentClosed { outcome: outcome.into(), reason: ending_reason(state, outcome) }.into()
            }
            None => return None,
        }),
        Phase::Closed(_) => {
            let told = state.notice(Audience::TeamLead, FailureReason::FiringAfterClose.code()).is_some();
            (state.joined_after_close && !state.is_quiet() && !told).then(|| firing_after_close(state).into())
        }
        _ => None,
    }
}

fn unasked(state: &Incident, outcome: Outcome) -> Option<v1::NotificationRequested> {
    let unacknowledged = state.deadlines_passed.contains(&DeadlineKind::Acknowledge) && awaits_acknowledgement(state).is_some();
    let escalation = unacknowledged.then(|| {
        let summary = "Nobody acknowledged the page to the on-call engineer".to_owned();
        request(Audience::TeamLead, Urgency::Page, FailureReason::Unacknowledged.code(), summary, "unacknowledged")
    });
    with_at_once(state, ending_notices(state, outcome))
        .into_iter()
        .chain(escalation)
        .find(|wanted| state.notice(wanted.audience(), &wanted.reason).is_none())
}

fn ending_notices(state: &Incident, outcome: Outcome) -> Vec<v1::NotificationRequested> {
    let reason = ending_reason(state, outcome);
    let runbook = reason.replace('_', "-");
    let detail = ending_detail(state);
    let on_call = |urgency, prefix: &str, summary: &str| {
        let key = if reason == prefix { reason.clone() } else { format!("{prefix}.{reason}") };
        let summary = if detail.is_empty() { summary.to_owned() } else { format!("{summary}: {detail}") };
        request(Audience::OnCall, urgency, &key, summary, &runbook)
    };
    let escalate =
        |notice: &v1::NotificationRequested| v1::NotificationRequested { audience: Audience::TeamLead.into(), ..notice.clone() };
    match outcome {
        Outcome::Completed => {
            let summary = if state.is_requested() {
                "The version that was asked for is back, and verified"
            } else {
                "The last good version is back, verified, and the alert has resolved"
            };
            vec![v1::NotificationRequested { runbook: String::new(), ..on_call(Urgency::Inform, COMPLETED, summary) }]
        }
        Outcome::Superseded => vec![on_call(Urgency::Inform, "superseded", "Somebody changed the workload; theirs wins")],
        Outcome::Halted => {
            // A trial that changes nothing, and an alert that no rollout explains, have nothing to get a person up for:
            // Alertmanager pages for the alert itself. Nor has what is over, or the person who asked for it.
            let reason = state.halt_reason();
            let informs = state.is_requested()
                || matches!(
                    reason,
                    Some(HaltReason::ObserveMode | HaltReason::NoRecentChange | HaltReason::ResolvedBeforeAction)
                );
            let urgency = if informs { Urgency::Inform } else { Urgency::Page };
            vec![on_call(urgency, "halted", "Nothing was rolled back")]
        }
        Outcome::RollbackFailed => vec![on_call(Urgency::Page, "failed", "The rollback did not become healthy")],
        Outcome::VerificationFailed => {
            let notice = on_call(Urgency::Page, "verification_failed", "The previous version runs, but its verification failed");
            vec![escalate(&notice), notice]
        }
        Outcome::Unresolved | Outcome::Unspecified => {
            let notice = on_call(Urgency::Page, "unresolved", "The previous version is verified, but the incident did not end");
            vec![escalate(&notice), notice]
        }
    }
}

fn ending_reason(state: &Incident, outcome: Outcome) -> String {
    let code = match outcome {
        Outcome::Completed => COMPLETED,
        Outcome::Superseded => FailureReason::Superseded.code(),
        Outcome::Halted => state.halted.as_ref().map_or("halted", |f| f.reason.as_str()),
        Outcome::RollbackFailed => state.failed.as_ref().map_or("failed", |f| f.reason.as_str()),
        Outcome::VerificationFailed => state.verification_failed.as_ref().map_or("verification_failed", |f| f.reason.as_str()),
        Outcome::Unresolved | Outcome::Unspecified if state.fired_at_deadline == Some(false) => {
            FailureReason::CleanupIncomplete.code()
        }
        Outcome::Unresolved | Outcome::Unspecified => FailureReason::AlertStillFiring.code(),
    };
    code.to_owned()
}

fn ending_detail(state: &Incident) -> String {
    if let Some(superseded) = &state.superseded {
        superseded.detail.clone()
    } else if let Some(halted) = &state.halted {
        halted.detail.clone()
    } else if let Some(failed) = &state.failed {
        failed.detail.clone()
    } else if let Some(failed) = &state.verification_failed {
        failed.failed_checks.join(", ")
    } else {
        String::new()
    }
}

fn may_close(state: &Incident) -> bool {
    let given_up_waiting = state.deadlines_passed.contains(&DeadlineKind::Notify);
    let told = state.notices.values().all(|notice| notice.settled_at.is_some()) || given_up_waiting;
    told && awaits_acknowledgement(state).is_none()
}

pub(super) fn request(
    audience: Audience,
    urgency: Urgency,
    reason: &str,
    summary: String,
    runbook: &str,
) -> v1::NotificationRequested {
    v1::NotificationRequested {
        audience: audience.into(),
        urgency: urgency.into(),
        reason: reason.to_owned(),
        summary,
        runbook: runbook.to_owned(),
        ..v1::NotificationRequested::default()
    }
}

fn firing_after_close(state: &Incident) -> v1::NotificationRequested {
    let outcome = state.closed.as_ref().map_or("", |closed| closed.reason.as_str());
    let summary = format!("An alert goes on after its incident was closed ({outcome})");
    let reason = FailureReason::FiringAfterClose;
    request(Audience::TeamLead, Urgency::Page, reason.code(), summary, &reason.runbook())
}

/// The team lead's page for this reason; `None` when it was asked for.
pub(super) fn escalation(state: &Incident, reason: FailureReason, detail: &str) -> Option<v1::NotificationRequested> {
    let told = state.notice(Audience::TeamLead, reason.code()).is_some();
    let summary = format!("lastgood could not process everything about this incident: {detail}");
    (!told).then(|| request(Audience::TeamLead, Urgency::Page, reason.code(), summary, &reason.runbook()))
}

/// The escalation for an alert that outlives its incident; `None` while there is no need for one, or when it was asked for.
pub(super) fn still_firing(state: &Incident, fingerprint: &str, now: Timestamp) -> Option<v1::NotificationRequested> {
    let closed = state.closed.as_ref()?;
    let somebody_knows = !matches!(closed.outcome, Outcome::Completed | Outcome::Superseded);
    let allowed = state.allowed(|d| d.resolve.as_ref(), std::time::Duration::from_mins(15));
    let told = state.notice(Audience::TeamLead, FailureReason::FiringAfterClose.code()).is_some();
    if somebody_knows || told || !state.owns(fingerprint) || now < after(closed.at, allowed) {
        return None;
    }
    Some(firing_after_close(state))
}
