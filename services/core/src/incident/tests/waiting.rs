//! Plans that wait: for a person's word, for their grace period, for both.

use contracts::time::duration_to_proto;
use contracts::v1::OnTimeout;

use super::*;

#[expect(clippy::unnecessary_wraps, reason = "as the messages' fields are")]
fn seconds(count: u64) -> Option<prost_types::Duration> {
    Some(duration_to_proto(std::time::Duration::from_secs(count)))
}

fn with_grace(count: u64) -> Box<v1::Plan> {
    let Command::Plan(plan) = plan() else { unreachable!() };
    Box::new(v1::Plan { grace: seconds(count), ..*plan })
}

pub(super) fn asking(within: u64, on_timeout: OnTimeout, grace: u64) -> Command {
    let request = v1::ApprovalRequested { within: seconds(within), on_timeout: on_timeout.into(), would_do: "roll back".into() };
    Command::PlanToApprove(with_grace(grace), request)
}

fn planned_by(command: Command) -> Case {
    let mut commands = to_planned();
    commands.pop();
    Case::default().must(&commands).must(&[command])
}

fn act(action: Action) -> Command {
    Command::PersonAct(v1::PersonActed { action: action.into(), who: "ann".into(), ..Default::default() })
}

fn approve() -> Command {
    act(Action::Approve)
}

fn halted_by(case: &Case) -> &str {
    case.state.halted.as_ref().map_or("not halted", |halted| halted.reason.as_str())
}

#[test]
fn nobody_begins_before_a_person_says_yes() {
    let mut case = planned_by(asking(600, OnTimeout::Halt, 0));
    let facts: Vec<_> = case.log[3..].iter().map(Fact::event_type).collect();
    assert_eq!(facts, ["approval_requested", "rollback_planned", "notification_requested"]);
    let notice = case.state.notice(Audience::OnCall, APPROVAL).unwrap();
    assert_eq!((notice.urgency, notice.request.runbook.as_str()), (Urgency::Page, "approval"));
    assert!(notice.request.summary.contains("roll back"));
    assert!(matches!(case.run(&start(1)), Err(Refusal::Illegal { phase: Phase::AwaitingApproval, .. })));
    // Whenever the yes comes, the time to begin counts from it, and not from the plan.
    case = case.later(500);
    assert_eq!(case.run(&approve()).unwrap(), ["person_acted"]);
    assert_eq!(case.run(&approve()), Err(Refusal::AlreadySo));
    assert_eq!(case.state.phase(), Phase::Planned);
    assert_eq!(not_after(&case.state), Some(case.now + SignedDuration::from_secs(120)));
    assert_eq!(case.clone().later(120).run(&Command::PassDeadline(DeadlineKind::Start)).unwrap()[0], "deadline_passed");
    assert!(matches!(case.clone().later(121).run(&start(1)), Err(Refusal::PlanExpired { .. })));
    assert_eq!(case.run(&start(1)).unwrap(), ["rollback_started"]);
    assert_eq!(case.run(&approve()), Err(Refusal::AlreadySo), "also later");
}

#[test]
fn silence_halts_and_pages_or_is_a_yes_where_the_policy_says_so() {
    let passed = Command::PassDeadline(DeadlineKind::Approve);
    let mut case = planned_by(asking(600, OnTimeout::Halt, 0)).later(599);
    assert_eq!(case.run(&passed), Err(Refusal::NotDue(DeadlineKind::Approve)));
    case = case.later(1);
    assert!(matches!(case.run(&approve()), Err(Refusal::ApprovalOver { .. })), "its timer is about to fire");
    assert_eq!(case.run(&passed).unwrap(), ["deadline_passed", "rollback_halted", "notification_requested"]);
    assert_eq!(halted_by(&case), "approval_timed_out");
    assert_eq!(case.state.halted.as_ref().unwrap().would_do, "roll back");
    let notice = case.state.notice(Audience::OnCall, "halted.approval_timed_out").unwrap();
    assert_eq!(notice.urgency, Urgency::Page);
    assert!(matches!(case.run(&approve()), Err(Refusal::NothingToApprove { .. })));

    let mut case = planned_by(asking(600, OnTimeout::Proceed, 0)).later(600);
    assert_eq!(case.run(&passed).unwrap(), ["deadline_passed"]);
    assert_eq!(case.run(&start(1)).unwrap(), ["rollback_started"]);
    // Whatever a newer binary may have written there, it is no yes.
    let mut unknown = planned_by(asking(600, OnTimeout::Unspecified, 0)).later(600);
    unknown.run(&passed).unwrap();
    assert_eq!(halted_by(&unknown), "approval_timed_out");
}

#[test]
fn a_no_ends_it_with_what_would_have_been_done() {
    for action in [Action::Decline, Action::Hold] {
        let mut case = planned_by(asking(600, OnTimeout::Proceed, 0));
        assert_eq!(case.run(&act(action)).unwrap(), ["person_acted", "rollback_halted", "notification_requested"]);
        assert_eq!(
            (halted_by(&case), case.state.halted.as_ref().unwrap().would_do.as_str()),
            ("declined_by_person", "roll back")
        );
        assert_eq!(case.run(&act(action)), Err(Refusal::AlreadySo));
        assert!(matches!(case.run(&approve()), Err(Refusal::NothingToApprove { .. })));
    }
}

#[test]
fn where_nobody_is_asked_there_is_nothing_to_approve() {
    let mut case = Case::default().must(&to_planned());
    assert_eq!(case.run(&approve()), Err(Refusal::NothingToApprove { phase: Phase::Planned }));
    let mut undecided = Case::default().must(&[open()]);
    assert_eq!(undecided.run(&approve()), Err(Refusal::NothingToApprove { phase: Phase::Detected }));
}

#[test]
fn what_resolves_or_is_changed_while_it_waits_changes_nothing_and_gets_nobody_up() {
    for command in [asking(600, OnTimeout::Halt, 0), Command::Plan(with_grace(60)), asking(600, OnTimeout::Halt, 60)] {
        let waiting = planned_by(command).must(&[Command::JoinAlerts(vec![occurrence("another")])]);
        let mut resolves = waiting.clone();
        assert_eq!(resolves.run(&resolved("trigger")).unwrap(), ["alert_resolved"], "another one goes on");
        assert_eq!(resolves.run(&resolved("another")).unwrap(), ["alert_resolved", "rollback_halted", "notification_requested"]);
        assert_eq!(halted_by(&resolves), "resolved_before_action");
        let notice = resolves.state.notice(Audience::OnCall, "halted.resolved_before_action").unwrap();
        assert_eq!(notice.urgency, Urgency::Inform);
        let mut changed = waiting;
        assert_eq!(
            changed.run(&Command::Supersede(v1::Superseded::default())).unwrap(),
            ["superseded", "notification_requested"]
        );
    }
}

#[test]
fn an_answered_question_waits_for_no_acknowledgement_and_a_later_page_for_one_of_its_own() {
    let told = delivered(Audience::OnCall, APPROVAL);
    let mut case = planned_by(asking(600, OnTimeout::Halt, 0)).must(&[told, acknowledge()]);
    assert_eq!(case.run(&acknowledge()), Err(Refusal::AlreadySo));
    assert_eq!(case.state.phase(), Phase::AwaitingApproval, "an acknowledgement is no answer");
    let mut superseded = case.clone().must(&[Command::Supersede(v1::Superseded::default())]);
    assert_eq!(superseded.run(&delivered(Audience::OnCall, "superseded")).unwrap(), ["on_call_notified", "incident_closed"]);
    case = case.must(&[approve(), start(1), fail_rollback()]);
    assert_eq!(case.run(&delivered(Audience::OnCall, "failed.pods_not_ready")).unwrap(), ["on_call_notified"]);
    case = case.later(900);
    let passed = case.run(&Command::PassDeadline(DeadlineKind::Acknowledge)).unwrap();
    assert_eq!(passed, ["deadline_passed", "notification_requested"], "who saw the question has not seen the failure");
}

#[test]
fn nothing_begins_within_the_grace_period() {
    let mut case = planned_by(Command::Plan(with_grace(60)));
    assert_eq!(case.log[3..].iter().map(Fact::event_type).collect::<Vec<_>>(), ["grace_begun", "rollback_planned"]);
    assert!(matches!(case.run(&start(1)), Err(Refusal::Illegal { phase: Phase::InGrace, .. })));
    case = case.later(60);
    assert!(matches!(case.run(&start(1)), Err(Refusal::Illegal { .. })), "not before the log says that it is over");
    assert_eq!(case.run(&Command::PassDeadline(DeadlineKind::Grace)).unwrap(), ["deadline_passed"]);
    assert_eq!(not_after(&case.state), Some(case.now + SignedDuration::from_secs(120)));
    assert_eq!(case.run(&start(1)).unwrap(), ["rollback_started"]);
}

#[test]
fn the_grace_period_runs_while_a_person_is_asked_and_a_yes_ends_it() {
    let both = asking(600, OnTimeout::Proceed, 3600);
    let kinds = |case: &Case| pending_deadlines(&case.state).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    let mut case = planned_by(both);
    assert_eq!(kinds(&case), [DeadlineKind::Approve, DeadlineKind::Grace, DeadlineKind::Announce]);
    let mut by_person = case.clone();
    by_person.run(&approve()).unwrap();
    assert_eq!(by_person.state.phase(), Phase::Planned);
    case = case.later(600);
    case.run(&Command::PassDeadline(DeadlineKind::Approve)).unwrap();
    assert_eq!(case.state.phase(), Phase::InGrace, "silence does not end it");
}

#[test]
fn a_wait_without_an_end_is_refused() {
    let Command::PlanToApprove(plan, request) = asking(1, OnTimeout::Halt, 0) else { unreachable!() };
    let endless = Command::PlanToApprove(plan, v1::ApprovalRequested { within: None, ..request });
    let mut commands = to_planned();
    commands.pop();
    let mut case = Case::default().must(&commands);
    assert!(matches!(case.run(&endless), Err(Refusal::Invalid { field: "within", .. })));
}

#[test]
fn what_a_person_asked_for_waits_for_no_alert_and_gets_nobody_up_where_it_halts() {
    let Command::Open(fact) = open() else { unreachable!() };
    let requested = Some(v1::RollbackRequested { who: "ann".into(), ..Default::default() });
    let asked = Command::Open(v1::AnomalyDetected { requested, ..fact });
    let mut case = Case::default().must(&[asked, resolved("trigger"), halt()]);
    assert_eq!(case.state.notices.values().next().unwrap().urgency, Urgency::Inform);
    assert_eq!(case.run(&delivered(Audience::OnCall, "halted.mass_failure")).unwrap(), ["on_call_notified", "incident_closed"]);
}

#[test]
fn what_would_begin_in_a_freeze_window_halts_and_says_which() {
    let frozen = |kind| Command::PassDeadlineFrozen(kind, "peak season, until Monday".into());
    let halts = ["deadline_passed", "rollback_halted", "notification_requested"];
    let mut graced = planned_by(Command::Plan(with_grace(60)));
    assert!(matches!(graced.run(&frozen(DeadlineKind::Grace)), Err(Refusal::NotDue(_))), "it may be over by then");
    graced = graced.later(60);
    assert_eq!(graced.run(&frozen(DeadlineKind::Grace)).unwrap(), halts);
    let halted = graced.state.halted.as_ref().unwrap();
    assert_eq!(halted.reason, "frozen");
    assert!(halted.detail.starts_with("peak season, until Monday"), "{halted:?}");
    assert!(graced.run(&start(1)).is_err());
    // Silence is no yes to a rollback in a freeze window, and no other end either.
    for on_timeout in [OnTimeout::Proceed, OnTimeout::Halt] {
        let mut asked = planned_by(asking(600, on_timeout, 0)).later(600);
        assert_eq!(asked.run(&frozen(DeadlineKind::Approve)).unwrap(), halts);
        assert_eq!(halted_by(&asked), "frozen");
    }
    // A grace period that is over while a person is still asked lets nothing begin.
    let mut both = planned_by(asking(600, OnTimeout::Halt, 60)).later(60);
    assert_eq!(both.run(&frozen(DeadlineKind::Grace)).unwrap(), ["deadline_passed"]);
    assert_eq!(both.state.phase(), Phase::AwaitingApproval);
}
