//! Where messages go by the policy, and who is called after whom.

use contracts::time::duration_to_proto;
use contracts::v1::{EscalationStep, NotificationRequested, NotificationRoute, NotificationsRouted};

use super::*;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn to(reasons: &[&str], urgencies: &[Urgency], receivers: &[&str]) -> NotificationRoute {
    let urgencies = urgencies.iter().map(|urgency| (*urgency).into()).collect();
    NotificationRoute { reasons: names(reasons), urgencies, receivers: names(receivers) }
}

fn step(after: u64, audience: Audience, receivers: &[&str]) -> EscalationStep {
    let after = Some(duration_to_proto(std::time::Duration::from_secs(after)));
    EscalationStep { after, audience: audience.into(), receivers: names(receivers) }
}

fn routed(routes: &[NotificationRoute], escalation: &[EscalationStep]) -> Command {
    Command::Route(NotificationsRouted { routes: routes.to_vec(), escalation: escalation.to_vec() })
}

/// Calls the on-call, after five minutes the receiver `shop`, after ten the team lead and the receiver `boss`.
pub(super) fn three_steps() -> Command {
    let last = step(600, Audience::TeamLead, &["boss"]);
    routed(&[], &[step(0, Audience::OnCall, &[]), step(300, Audience::Unspecified, &["shop"]), last])
}

fn asked(case: &Case) -> Vec<NotificationRequested> {
    let all = case.log.iter();
    all.filter_map(|fact| if let Fact::NotificationRequested(asked) = fact { Some(asked.clone()) } else { None }).collect()
}

fn halted_on(said: Command) -> Case {
    Case::default().must(&[open(), said, halt()])
}

/// Of the last notification: receivers, and whether its audience is told as well.
fn last(case: &Case) -> (Vec<String>, bool) {
    let asked = asked(case).pop().unwrap();
    (asked.receivers, asked.audience_too)
}

const ESCALATE: Command = Command::PassDeadline(DeadlineKind::Escalate);

#[test]
fn the_first_route_that_fits_names_the_receivers_and_what_none_fits_goes_the_usual_way() {
    let page = [Urgency::Page];
    for (routes, receivers) in [
        (vec![to(&["mass_failure"], &[], &["a"]), to(&[], &[], &["b"])], &["a"][..]),
        (vec![to(&["frozen"], &page, &["a"]), to(&[], &page, &["b", "c"])], &["b", "c"]),
        (vec![to(&["frozen"], &[], &["a"]), to(&["mass_failure"], &[Urgency::Inform], &["b"])], &[]),
        (vec![to(&["halted"], &[], &["a"])], &["a"]),
    ] {
        assert_eq!(last(&halted_on(routed(&routes, &[]))), (names(receivers), false), "{routes:?}");
    }
    assert_eq!(last(&Case::default().must(&[open(), halt()])), (Vec::new(), false));
}

#[test]
fn what_is_said_of_routes_is_said_once_and_before_the_decision() {
    let said = || routed(&[to(&[], &[], &["a"])], &[]);
    assert!(matches!(Case::default().run(&said()), Err(Refusal::Illegal { .. })));
    let mut case = Case::default().must(&[open()]);
    assert_eq!(case.run(&said()).unwrap(), ["notifications_routed"]);
    assert_eq!(case.run(&routed(&[], &[])), Err(Refusal::AlreadySo));
    let mut planned = Case::default().must(&to_planned());
    assert!(matches!(planned.run(&said()), Err(Refusal::Illegal { .. })));
}

#[test]
fn a_route_for_everything_does_not_send_the_call_for_help_to_who_did_not_answer() {
    let passed = Command::PassDeadline(DeadlineKind::Acknowledge);
    let everything = halted_on(routed(&[to(&[], &[], &["a"])], &[])).later(900).must(std::slice::from_ref(&passed));
    assert_eq!(last(&everything), (Vec::new(), false));
    let named = routed(&[to(&[], &[Urgency::Inform], &["a"]), to(&["unacknowledged"], &[], &["b"])], &[]);
    assert_eq!(last(&halted_on(named).later(900).must(&[passed])), (names(&["b"]), false));
}

#[test]
fn one_after_the_other_is_called_until_somebody_acknowledges() {
    let told = [delivered(Audience::OnCall, "halted.mass_failure")];
    let mut case = halted_on(three_steps()).must(&told).later(299);
    assert_eq!(pending_deadlines(&case.state), [(DeadlineKind::Escalate, case.now + SignedDuration::from_secs(1))]);
    assert_eq!(case.run(&ESCALATE), Err(Refusal::NotDue(DeadlineKind::Escalate)));
    case = case.later(1);
    assert_eq!(case.run(&ESCALATE).unwrap(), ["deadline_passed", "notification_requested"]);
    assert_eq!(last(&case), (names(&["shop"]), false));
    assert_eq!(case.run(&ESCALATE), Err(Refusal::NotDue(DeadlineKind::Escalate)), "a timer that comes twice calls once");
    case = case.must(&[delivered(Audience::TeamLead, "unacknowledged")]);
    let mut acknowledged = case.clone();
    assert_eq!(acknowledged.run(&acknowledge()).unwrap(), ["person_acted", "incident_closed"], "and nobody else is called");
    case = case.later(300);
    assert_eq!(case.run(&ESCALATE).unwrap(), ["deadline_passed", "notification_requested"]);
    assert_eq!(last(&case), (names(&["boss"]), true));
    assert_eq!(case.run(&delivered(Audience::TeamLead, "unacknowledged.2")).unwrap(), ["escalated", "incident_closed"]);
    assert!(asked(&case)[1..].iter().all(|call| call.runbook == "unacknowledged" && call.urgency() == Urgency::Page));
}

#[test]
fn calls_that_are_due_at_the_same_time_are_made_at_the_same_time() {
    let mut case = halted_on(three_steps()).later(3_600);
    assert_eq!(case.run(&ESCALATE).unwrap(), ["deadline_passed", "notification_requested", "notification_requested"]);
    assert!(!pending_deadlines(&case.state).iter().any(|(kind, _)| *kind == DeadlineKind::Escalate));
}

#[test]
fn the_first_step_is_the_page_itself() {
    let shop = routed(&[], &[step(0, Audience::Unspecified, &["shop"]), step(60, Audience::OnCall, &[])]);
    let case = halted_on(shop);
    assert_eq!(last(&case), (names(&["shop"]), false));
    let on_call = case.later(60).must(&[ESCALATE]);
    assert_eq!(last(&on_call), (Vec::new(), false), "called the usual way, and not by the first step's receivers");
    let both = halted_on(routed(&[], &[step(0, Audience::OnCall, &["shop"])]));
    assert_eq!(last(&both), (names(&["shop"]), true));
    let lead = halted_on(routed(&[], &[step(0, Audience::OnCall, &[]), step(0, Audience::TeamLead, &[])]));
    let audiences: Vec<_> = asked(&lead).iter().map(|asked| (asked.audience(), asked.reason.clone())).collect();
    let reason = || "halted.mass_failure".to_owned();
    assert_eq!(audiences, [(Audience::OnCall, reason()), (Audience::TeamLead, reason())]);
}

#[test]
fn an_escalation_also_runs_where_the_team_lead_was_called_with_the_page() {
    let mut commands = to_shifted();
    commands.insert(1, three_steps());
    commands.push(fail_verification());
    let mut case = Case::default().must(&commands).later(300);
    assert_eq!(case.run(&ESCALATE).unwrap(), ["deadline_passed", "notification_requested"]);
    assert_eq!(last(&case).0, names(&["shop"]));
}

#[test]
fn a_halted_incident_whose_alert_resolves_calls_nobody_else() {
    let mut case = halted_on(three_steps()).must(&[delivered(Audience::OnCall, "halted.mass_failure")]);
    assert_eq!(case.run(&resolved("trigger")).unwrap(), ["alert_resolved", "incident_closed"]);
}

#[test]
fn news_calls_nobody() {
    let observe = Command::Halt { reason: HaltReason::ObserveMode, detail: String::new(), would_do: String::new() };
    let mut case = Case::default().must(&[open(), three_steps(), observe]);
    assert_eq!(last(&case), (Vec::new(), false));
    assert_eq!(case.run(&delivered(Audience::OnCall, "halted.observe_mode")).unwrap(), ["on_call_notified", "incident_closed"]);
}
