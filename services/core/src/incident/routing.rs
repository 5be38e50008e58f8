//! Where messages go by the policy that was in force, and who is called after whom until somebody acknowledges.
//!
//! Guarantees: where the policy said nothing, nothing is different; what no route fits goes the usual way; a page that says that nobody
//! acknowledged goes where the one before it went only if a route says so by that reason. Must not: know what a receiver's name stands for;
//! the notifier does.

use std::time::Duration;

use contracts::v1::{self, Audience, NotificationRequested, NotificationsRouted, Urgency};
use contracts::{Fact, FailureReason};
use jiff::{SignedDuration, Timestamp};

use super::deadlines::after;
use super::follow::request;
use super::state::Incident;
use crate::text::length;

/// Names the receivers of a notification that is asked for now, by the policy.
pub(super) fn route(state: &Incident, fact: &mut Fact) {
    let (Some(said), Fact::NotificationRequested(asked)) = (&state.routed, fact) else { return };
    if !asked.receivers.is_empty() {
        // A step of the escalation says itself who is called.
        return;
    }
    if let Some(route) = said.routes.iter().find(|route| fits(route, asked)) {
        asked.receivers.clone_from(&route.receivers);
    }
    // A route takes nobody out of the escalation: whom it calls at once is called at once.
    if is_on_call_page(asked) && !is_escalation(asked) {
        let at_once = || said.escalation.iter().filter(|step| wait(step).is_zero());
        for receiver in at_once().flat_map(|step| &step.receivers) {
            if !asked.receivers.contains(receiver) {
                asked.receivers.push(receiver.clone());
            }
        }
        asked.audience_too = !asked.receivers.is_empty() && at_once().any(|step| step.audience() == Audience::OnCall);
    }
}

fn fits(route: &v1::NotificationRoute, asked: &NotificationRequested) -> bool {
    let urgency = route.urgencies.is_empty() || route.urgencies.contains(&asked.urgency);
    let named = asked.reason.split('.').any(|code| route.reasons.iter().any(|reason| reason == code));
    // Whoever did not acknowledge is not who has to be called next.
    urgency && (named || (route.reasons.is_empty() && !is_escalation(asked)))
}

fn is_escalation(asked: &NotificationRequested) -> bool {
    asked.reason.split('.').next() == Some(FailureReason::Unacknowledged.code())
}

fn is_on_call_page(asked: &NotificationRequested) -> bool {
    asked.audience() == Audience::OnCall && asked.urgency() == Urgency::Page
}

fn wait(step: &v1::EscalationStep) -> Duration {
    contracts::time::duration_from_proto(step.after.as_ref()).unwrap_or_default()
}

/// The notifications of an end, and the same to the team lead for each page, where the escalation calls the team lead at once.
pub(super) fn with_at_once(state: &Incident, mut notices: Vec<NotificationRequested>) -> Vec<NotificationRequested> {
    let calls_lead = |said: &NotificationsRouted| {
        said.escalation.iter().any(|step| wait(step).is_zero() && step.audience() == Audience::TeamLead)
    };
    if state.routed.as_ref().is_some_and(calls_lead) {
        let to_lead =
            |page: &NotificationRequested| NotificationRequested { audience: Audience::TeamLead.into(), ..page.clone() };
        let more: Vec<_> = notices.iter().filter(|notice| is_on_call_page(notice)).map(to_lead).collect();
        notices.extend(more);
    }
    notices
}

/// Whether the policy says who is called after whom.
pub(super) fn escalates(state: &Incident) -> bool {
    state.routed.as_ref().is_some_and(|said| !said.escalation.is_empty())
}

/// When the next one is called, of a page that was asked for then; `None` where nobody is left to call.
pub(super) fn next_call(state: &Incident, page: Timestamp) -> Option<Timestamp> {
    uncalled(state).map(|(wait, _)| after(page, wait)).next()
}

/// The calls that are due by now.
pub(super) fn due(state: &Incident, now: Timestamp) -> Vec<NotificationRequested> {
    let Some(page) = super::deadlines::awaits_acknowledgement(state) else { return Vec::new() };
    uncalled(state).take_while(|(wait, _)| after(page, *wait) <= now).map(|(_, call)| call).collect()
}

/// The calls of the escalation that come after the page and have not been asked for, each with how long after it.
fn uncalled(state: &Incident) -> impl Iterator<Item = (Duration, NotificationRequested)> {
    let steps = state.routed.iter().flat_map(|said| &said.escalation);
    let later = steps.map(|step| (wait(step), step)).filter(|(wait, _)| !wait.is_zero());
    later
        .enumerate()
        .map(|(before, (wait, step))| (wait, call(before, wait, step)))
        .filter(|(_, call)| state.notice(call.audience(), &call.reason).is_none())
}

/// What is asked for in a step that comes after the page and after so many others that do.
fn call(before: usize, wait: Duration, step: &v1::EscalationStep) -> NotificationRequested {
    // Receivers without an audience stand for whoever comes after the on-call.
    let audience = if step.audience() == Audience::OnCall { Audience::OnCall } else { Audience::TeamLead };
    let code = FailureReason::Unacknowledged.code();
    let reason = if before == 0 { code.to_owned() } else { format!("{code}.{}", before + 1) };
    let waited = length(SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX));
    let summary = format!("Nobody acknowledged the page within {waited}");
    let asked = request(audience, Urgency::Page, &reason, summary, &FailureReason::Unacknowledged.runbook());
    let audience_too = !step.receivers.is_empty() && step.audience() != Audience::Unspecified;
    NotificationRequested { receivers: step.receivers.clone(), audience_too, ..asked }
}
