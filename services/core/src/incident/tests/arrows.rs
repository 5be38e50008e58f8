//! Each arrow of the workflow.

use super::*;

#[test]
fn an_intent_that_follows_itself_is_one_attempt() {
    let case = Case::default().must(&to_planned()).must(&[start(1)]);
    let fact = case.log.last().unwrap().clone();
    let again = evolve(case.state.clone(), &Recorded { sequence: 9, at: case.now, fact });
    assert_eq!(again.attempts.len(), 1);
}

#[test]
fn no_attempt_begins_after_the_write_was_seen() {
    let deployed = Command::ReportDeployed(v1::PreviousVersionDeployed { attempt: 1, ..Default::default() });
    let mut case = Case::default().must(&to_planned()).must(&[start(1), deployed]);
    assert!(matches!(case.run(&start(2)), Err(Refusal::Illegal { phase: Phase::Acting, .. })));
}

/// The plan of `to_planned`, with a template whose image was recorded.
fn plan_with_images() -> Command {
    let Command::Plan(mut made) = plan() else { unreachable!("it makes a plan") };
    let template = serde_json::json!({"spec": {"containers": [{"name": "web", "image": "web:v1"}]}});
    made.template_json = template.to_string().into_bytes();
    let image = v1::ContainerImage { container: "web".into(), image: "web:v1".into(), digest: "sha256:a".into() };
    made.to =
        Some(v1::Version { template_hash: crate::template::hash(&template), images: vec![image], ..v1::Version::default() });
    Command::Plan(made)
}

fn image_moved(attempt: u32) -> Command {
    let image = v1::MovedImage { container: "web".into(), recorded: "sha256:a".into(), ..v1::MovedImage::default() };
    Command::ReportImageMoved(v1::ImageMoved {
        attempt,
        template_hash: "tagged".into(),
        workload_revision: 3,
        images: vec![image],
    })
}

#[test]
fn an_image_that_moved_is_put_back_once_more_by_its_digest() {
    let deployed = |attempt| Command::ReportDeployed(v1::PreviousVersionDeployed { attempt, ..Default::default() });
    let to_planned = [&to_planned()[..3], &[plan_with_images()]].concat();
    let mut case = Case::default().must(&to_planned);
    assert!(matches!(case.run(&image_moved(0)), Err(Refusal::Illegal { phase: Phase::Planned, .. })), "nothing was put back yet");
    case = case.must(&[start(1), deployed(1)]);
    let nothing = Command::ReportImageMoved(v1::ImageMoved { attempt: 1, template_hash: "tagged".into(), ..Default::default() });
    assert!(matches!(case.run(&nothing), Err(Refusal::Invalid { field: "images", .. })));
    assert_eq!(case.run(&image_moved(1)).unwrap(), ["image_moved"]);
    assert_eq!(case.run(&image_moved(1)), Err(Refusal::AlreadySo));
    let (_, plan) = case.state.plan.clone().unwrap();
    assert!(String::from_utf8(plan.template_json).unwrap().contains("web@sha256:a"));
    // What another replica still sees of the first write is no report of the second.
    assert_eq!(case.run(&deployed(1)), Err(Refusal::WrongAttempt { given: 1, expected: 2 }));
    assert!(matches!(case.run(&start(2)), Err(Refusal::Invalid { field: "template_hash", .. })), "it replaces the tagged one");
    let Command::StartAttempt(mut second) = start(2) else { unreachable!("it makes an intent") };
    second.template_hash = "tagged".into();
    let mut case = case.must(&[Command::StartAttempt(second), deployed(2)]);
    assert!(matches!(case.run(&start(3)), Err(Refusal::Illegal { .. })), "no third write");
}

#[test]
fn nothing_halts_what_may_have_been_written() {
    let given_up = Command::Halt { reason: HaltReason::Undeliverable, detail: String::new(), would_do: String::new() };
    let paused = Command::Halt { reason: HaltReason::Paused, detail: String::new(), would_do: String::new() };
    let mut case = Case::default().must(&to_planned()).must(&[start(1)]);
    // Not even the executor knows: another replica of it may have written since it looked.
    for command in [given_up, paused, halt()] {
        assert!(matches!(case.run(&command), Err(Refusal::Illegal { phase: Phase::Acting, .. })));
    }
}

#[test]
fn a_person_can_not_call_off_what_may_have_been_written() {
    for action in [Action::Decline, Action::Hold, Action::Pause] {
        let act = Command::PersonAct(v1::PersonActed { action: action.into(), ..Default::default() });
        let mut planned = Case::default().must(&to_planned());
        assert_eq!(planned.clone().must(std::slice::from_ref(&act)).state.phase(), Phase::Ended(Outcome::Halted));
        planned = planned.must(&[start(1)]);
        assert!(matches!(planned.run(&act), Err(Refusal::Illegal { phase: Phase::Acting, .. })), "{action:?}");
    }
}

#[test]
fn the_good_path_ends_completed_and_told() {
    let mut case = Case::default()
        .must(&to_mitigated())
        .must(&[Command::UpdateStatus(v1::StatusUpdated::default()), Command::CleanUp(v1::OldResourcesCleaned::default())]);
    assert_eq!(case.state.phase(), Phase::Mitigated);
    assert_eq!(case.run(&resolved("trigger")).unwrap(), ["alert_resolved", "notification_requested"]);
    assert_eq!(case.state.phase(), Phase::Ended(Outcome::Completed));
    assert_eq!(case.state.notices.values().next().unwrap().urgency, Urgency::Inform);
    assert_eq!(case.run(&delivered(Audience::OnCall, "completed")).unwrap(), ["on_call_notified", "incident_closed"]);
    assert_eq!(case.state.phase(), Phase::Closed(Outcome::Completed));
}

#[test]
fn a_missing_version_halts_pages_and_waits_for_somebody() {
    let mut case = Case::default().must(&[open(), Command::IdentifyCurrent(v1::CurrentVersionIdentified::default())]);
    let missing = Command::MissPrevious(v1::PreviousVersionMissing { considered: vec!["web:v1: never available".into()] });
    assert_eq!(case.run(&missing).unwrap(), ["previous_version_missing", "rollback_halted", "notification_requested"]);
    assert_eq!(case.run(&delivered(Audience::OnCall, "halted.previous_version_missing")).unwrap(), ["on_call_notified"]);
    assert_eq!(case.run(&acknowledge()).unwrap(), ["person_acted", "incident_closed"]);
    assert_eq!(case.state.phase(), Phase::Closed(Outcome::Halted));
    assert_eq!(case.run(&acknowledge()), Err(Refusal::AlreadySo), "whoever lost the answer asks again");
}

#[test]
fn what_nobody_acknowledges_goes_to_the_team_lead() {
    let mut case = Case::default().must(&[open(), halt(), delivered(Audience::OnCall, "halted.mass_failure")]).later(899);
    assert_eq!(case.run(&Command::PassDeadline(DeadlineKind::Acknowledge)), Err(Refusal::NotDue(DeadlineKind::Acknowledge)));
    case = case.later(1);
    assert_eq!(
        case.run(&Command::PassDeadline(DeadlineKind::Acknowledge)).unwrap(),
        ["deadline_passed", "notification_requested"]
    );
    assert_eq!(case.run(&delivered(Audience::TeamLead, "unacknowledged")).unwrap(), ["escalated", "incident_closed"]);
}

#[test]
fn a_halted_incident_whose_alert_resolves_needs_nobody() {
    let mut case = Case::default().must(&[open(), halt(), delivered(Audience::OnCall, "halted.mass_failure")]);
    assert_eq!(case.run(&resolved("trigger")).unwrap(), ["alert_resolved", "incident_closed"]);
}

#[test]
fn observing_informs_without_a_page() {
    let observe = Command::Halt { reason: HaltReason::ObserveMode, detail: String::new(), would_do: "v2 → v1".into() };
    let mut case = Case::default().must(&[open(), observe]);
    assert_eq!(case.state.notices.values().next().unwrap().urgency, Urgency::Inform);
    assert_eq!(case.run(&delivered(Audience::OnCall, "halted.observe_mode")).unwrap(), ["on_call_notified", "incident_closed"]);
}

#[test]
fn a_failed_rollback_pages_the_on_call() {
    let mut case = Case::default().must(&to_planned()).must(&[start(1)]);
    assert_eq!(case.run(&fail_rollback()).unwrap(), ["rollback_failed", "notification_requested"]);
    let notice = case.state.notice(Audience::OnCall, "failed.pods_not_ready").unwrap();
    assert_eq!((notice.urgency, notice.request.runbook.as_str()), (Urgency::Page, "pods-not-ready"));
}

#[test]
fn failed_verification_pages_the_team_lead_and_the_on_call() {
    let mut case = Case::default().must(&to_shifted());
    assert_eq!(
        case.run(&fail_verification()).unwrap(),
        ["verification_failed", "notification_requested", "notification_requested"]
    );
    let reason = "verification_failed.smoke_tests_failed";
    case = case.must(&[delivered(Audience::TeamLead, reason)]);
    assert_eq!(case.run(&delivered(Audience::OnCall, reason)).unwrap(), ["on_call_notified", "incident_closed"]);
}

#[test]
fn no_check_and_no_data_never_pass() {
    let mut case = Case::default().must(&to_shifted());
    assert!(matches!(case.run(&Command::PassVerification), Err(Refusal::Invalid { .. })));
    case = case.must(&[check("home", Verdict::Passed), check("errors", Verdict::NoData)]);
    assert!(matches!(case.run(&Command::PassVerification), Err(Refusal::Invalid { .. })));
}

#[test]
fn an_alert_that_goes_on_escalates_at_its_deadline() {
    let mut case = Case::default()
        .must(&to_mitigated())
        .must(&[Command::UpdateStatus(v1::StatusUpdated::default()), Command::CleanUp(v1::OldResourcesCleaned::default())]);
    case = case.later(900);
    let facts = case.run(&Command::PassDeadline(DeadlineKind::Resolve)).unwrap();
    assert_eq!(facts, ["deadline_passed", "notification_requested", "notification_requested"]);
    assert!(case.state.notice(Audience::TeamLead, "unresolved.alert_still_firing").is_some());
}

#[test]
fn a_persons_change_supersedes_until_the_end() {
    for commands in [to_planned(), to_shifted(), to_mitigated()] {
        let mut case = Case::default().must(&commands);
        let facts = case.run(&Command::Supersede(v1::Superseded { what: "template".into(), ..Default::default() })).unwrap();
        assert_eq!(facts, ["superseded", "notification_requested"]);
        assert!(matches!(case.run(&start(2)), Err(Refusal::Illegal { .. })));
        assert_eq!(case.run(&delivered(Audience::OnCall, "superseded")).unwrap(), ["on_call_notified", "incident_closed"]);
    }
}

#[test]
fn attempts_are_numbered_and_an_expired_plan_is_not_begun() {
    let mut case = Case::default().must(&to_planned());
    assert_eq!(case.run(&start(2)), Err(Refusal::WrongAttempt { given: 2, expected: 1 }));
    let mut expired = case.clone().later(121);
    assert!(matches!(expired.run(&start(1)), Err(Refusal::PlanExpired { .. })));
    case = case.must(&[start(1)]).later(121);
    assert_eq!(case.run(&start(1)), Err(Refusal::AlreadySo));
    assert!(case.run(&start(2)).is_ok(), "a later attempt of a begun rollback is not a late start");
}

#[test]
fn a_plan_to_the_running_version_is_refused() {
    let mut commands = to_planned();
    commands.pop();
    let mut case = Case::default().must(&commands);
    let Command::Plan(mut same) = plan() else { unreachable!() };
    same.to = same.from.clone();
    assert!(matches!(case.run(&Command::Plan(same)), Err(Refusal::Invalid { field: "plan.to", .. })));
}

#[test]
fn closing_does_not_wait_for_ever_for_a_delivery() {
    let mut case = Case::default().must(&to_planned());
    case.run(&Command::Supersede(v1::Superseded::default())).unwrap();
    case = case.later(120);
    assert_eq!(case.run(&Command::PassDeadline(DeadlineKind::Notify)).unwrap(), ["deadline_passed", "incident_closed"]);
    assert_eq!(
        case.run(&delivered(Audience::OnCall, "superseded")).unwrap(),
        ["on_call_notified"],
        "a late delivery is still recorded"
    );
}

#[test]
fn an_alert_that_outlives_its_incident_escalates_once() {
    let mut case = Case::default().must(&to_planned());
    case = case.must(&[Command::Supersede(v1::Superseded::default()), delivered(Audience::OnCall, "superseded")]);
    let still = Command::StillFiring { fingerprint: "trigger".into() };
    assert_eq!(case.run(&still), Err(Refusal::AlreadySo), "the fix that superseded it needs time to show");
    case = case.later(900);
    assert_eq!(case.run(&still).unwrap(), ["notification_requested"]);
    assert_eq!(case.run(&still), Err(Refusal::AlreadySo));
}

#[test]
fn an_alert_on_the_restored_version_after_the_close_escalates_once() {
    let mut case = Case::default().must(&to_mitigated()).must(&[
        Command::UpdateStatus(v1::StatusUpdated::default()),
        Command::CleanUp(v1::OldResourcesCleaned::default()),
        resolved("trigger"),
        delivered(Audience::OnCall, "completed"),
    ]);
    let joined = Command::JoinAlerts(vec![occurrence("another")]);
    assert_eq!(case.run(&joined).unwrap(), ["alert_joined", "notification_requested"]);
    assert_eq!(case.run(&Command::JoinAlerts(vec![occurrence("third")])).unwrap(), ["alert_joined"]);
}

#[test]
fn an_alert_that_fires_again_has_to_resolve_again() {
    let mut case = Case::default().must(&to_mitigated()).must(&[
        resolved("trigger"),
        Command::JoinAlerts(vec![occurrence("trigger")]),
        Command::UpdateStatus(v1::StatusUpdated::default()),
        Command::CleanUp(v1::OldResourcesCleaned::default()),
    ]);
    assert_eq!(case.state.phase(), Phase::Mitigated);
    assert_eq!(case.run(&resolved("trigger")).unwrap(), ["alert_resolved", "notification_requested"]);
}

#[test]
fn an_alert_that_fires_again_while_people_are_told_changes_no_end() {
    let mut case = Case::default().must(&to_mitigated()).must(&[
        Command::UpdateStatus(v1::StatusUpdated::default()),
        Command::CleanUp(v1::OldResourcesCleaned::default()),
        resolved("trigger"),
        Command::JoinAlerts(vec![occurrence("trigger")]),
    ]);
    assert_eq!(case.state.phase(), Phase::Ended(Outcome::Completed));
    let told = delivered(Audience::OnCall, "completed");
    let mut flapped = case.clone().must(&[resolved("trigger")]);
    assert_eq!(flapped.run(&told).unwrap(), ["on_call_notified", "incident_closed"], "a flap gets no one up");
    assert_eq!(case.run(&told).unwrap(), ["on_call_notified", "incident_closed", "notification_requested"], "what fires does");
}

#[test]
fn an_alert_that_resolves_after_its_deadline_is_told_of_once() {
    let mut case = Case::default().must(&to_mitigated()).later(15 * 60).must(&[Command::PassDeadline(DeadlineKind::Resolve)]);
    assert_eq!(case.run(&resolved("trigger")).unwrap(), ["alert_resolved"], "the two pages under way say what was so");
    let told = [
        delivered(Audience::OnCall, "unresolved.alert_still_firing"),
        delivered(Audience::TeamLead, "unresolved.alert_still_firing"),
    ];
    let case = case.must(&told);
    assert_eq!(case.state.closed.map(|closed| closed.reason).as_deref(), Some("alert_still_firing"));
}

#[test]
fn many_alerts_resolve_in_one_decision_as_they_would_one_by_one() {
    let joined = Command::JoinAlerts(vec![occurrence("another"), occurrence("third")]);
    let mut case = Case::default().must(&to_mitigated()).must(&[
        joined,
        Command::UpdateStatus(v1::StatusUpdated::default()),
        Command::CleanUp(v1::OldResourcesCleaned::default()),
    ]);
    let of = |fingerprint: &str| v1::AlertResolved { fingerprint: fingerprint.into(), ..v1::AlertResolved::default() };
    let many = Command::ResolveAlerts(["another", "trigger", "another", "stranger", "third"].map(of).to_vec());
    assert_eq!(case.run(&many).unwrap(), ["alert_resolved", "alert_resolved", "alert_resolved", "notification_requested"]);
    assert_eq!(case.run(&many), Err(Refusal::AlreadySo));
}

#[test]
fn every_notification_names_a_code_with_a_runbook_except_success() {
    let mut case = Case::default().must(&[open(), halt()]);
    assert_eq!(case.state.notices.values().next().unwrap().request.runbook, "mass-failure");
    assert_eq!(case.run(&halt()), Err(Refusal::AlreadySo));
}

#[test]
fn a_dead_letter_escalates_once_in_every_phase() {
    let escalate = Command::Escalate { reason: FailureReason::DeadLetter, detail: "message 7".into() };
    assert!(matches!(Case::default().run(&escalate), Err(Refusal::Illegal { .. })), "there is nobody's incident to tell of");
    let closed = Case::default().must(&[open(), Command::GiveUp { detail: "damaged".into() }]);
    assert_eq!(closed.clone().run(&escalate), Err(Refusal::AlreadySo));
    let mut detected = Case::default().must(&[open()]);
    assert_eq!(detected.run(&escalate), Ok(vec!["notification_requested"]));
    assert_eq!(detected.run(&escalate), Err(Refusal::AlreadySo));
    assert_eq!(detected.state.phase(), Phase::Detected, "the incident itself goes on");
    let notice = detected.state.notice(Audience::TeamLead, "dead_letter").unwrap();
    assert_eq!((notice.urgency, notice.request.runbook.as_str()), (Urgency::Page, "dead-letter"));
    assert!(notice.request.summary.ends_with("message 7"));
}

#[test]
fn an_incident_that_can_not_be_read_is_told_of_and_closed() {
    let give_up = Command::GiveUp { detail: "fact 9 is damaged".into() };
    for mut case in [Case::default(), Case::default().must(&[open()])] {
        assert_eq!(case.run(&give_up), Ok(vec!["notification_requested", "incident_closed"]));
        assert_eq!(case.state.closed.as_ref().map(|closed| closed.outcome), Some(Outcome::Unspecified));
        assert_eq!(case.run(&give_up), Err(Refusal::AlreadySo));
        let told = Command::RecordDelivery {
            audience: Audience::TeamLead,
            reason: "dead_letter".into(),
            channel: "pagerduty".into(),
            dedup_key: "k".into(),
        };
        assert_eq!(
            case.run(&told),
            Ok(vec!["escalated"]),
            "closing does not wait for the delivery, and it is recorded all the same"
        );
        let joined = Command::StillFiring { fingerprint: "trigger".into() };
        let mut much_later = case.later(100_000);
        assert_eq!(much_later.run(&joined).unwrap_or_default(), Vec::<&str>::new(), "people know of it");
    }
}
