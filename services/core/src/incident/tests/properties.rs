//! What holds after any sequence of commands.

use contracts::v1::OnTimeout;
use proptest::prelude::*;

use super::routing::three_steps;
use super::waiting::asking;
use super::*;

fn in_grace() -> Command {
    let Command::Plan(plan) = plan() else { unreachable!() };
    let grace = Some(contracts::time::duration_to_proto(std::time::Duration::from_mins(5)));
    Command::Plan(Box::new(v1::Plan { grace, ..*plan }))
}

fn any_command() -> impl Strategy<Value = Command> {
    let reason = prop_oneof![
        Just("completed"),
        Just("superseded"),
        Just("halted.mass_failure"),
        Just("failed.pods_not_ready"),
        Just("verification_failed.smoke_tests_failed"),
        Just("unacknowledged"),
        Just("unacknowledged.2"),
        Just("approval"),
        Just("halted.approval_timed_out"),
        Just("halted.resolved_before_action"),
    ];
    let audience = prop_oneof![Just(Audience::OnCall), Just(Audience::TeamLead)];
    let commands: Vec<Command> = to_mitigated()
        .into_iter()
        .chain([
            Command::MissPrevious(v1::PreviousVersionMissing::default()),
            start(2),
            halt(),
            fail_rollback(),
            fail_verification(),
            check("errors", Verdict::NoData),
            Command::UpdateStatus(v1::StatusUpdated::default()),
            Command::CleanUp(v1::OldResourcesCleaned::default()),
            Command::JoinAlerts(vec![occurrence("another")]),
            resolved("trigger"),
            resolved("another"),
            Command::StillFiring { fingerprint: "trigger".into() },
            Command::Supersede(v1::Superseded::default()),
            Command::Announce(v1::Announced { channel: "c".into(), thread: "1".into() }),
            Command::Announce(v1::Announced::default()),
            acknowledge(),
            Command::PersonAct(v1::PersonActed { action: Action::Decline.into(), ..Default::default() }),
            Command::PersonAct(v1::PersonActed { action: Action::Approve.into(), ..Default::default() }),
            three_steps(),
            asking(300, OnTimeout::Halt, 0),
            asking(300, OnTimeout::Proceed, 0),
            asking(300, OnTimeout::Proceed, 400),
            in_grace(),
        ])
        .chain(DeadlineKind::ALL.iter().copied().map(Command::PassDeadline))
        .collect();
    prop_oneof![
        5 => proptest::sample::select(commands),
        1 => (audience, reason).prop_map(|(audience, reason)| delivered(audience, reason)),
    ]
}

/// What must hold of every state that decisions lead to.
fn legal(case: &Case) -> Result<(), TestCaseError> {
    let count = |event_type| case.log.iter().filter(|fact| fact.event_type() == event_type).count();
    prop_assert!(count("incident_closed") <= 1, "closed twice");
    prop_assert!(count("mitigated") <= 1 && count("rollback_planned") <= 1);
    prop_assert!(count("rollback_failed") + count("rollback_halted") + count("superseded") + count("verification_failed") <= 1);
    if case.state.closed.is_some() {
        prop_assert!(count("notification_requested") >= 1, "closed and nobody was to be told");
    }
    if count("rollback_started") > 0 {
        prop_assert!(count("rollback_planned") == 1, "acted without a plan");
    }
    let at = |event_type| case.log.iter().position(|fact| fact.event_type() == event_type);
    let passed = |kind: DeadlineKind| {
        case.log.iter().position(|fact| matches!(fact, Fact::DeadlinePassed(f) if f.deadline == kind.code()))
    };
    let approved = case.log.iter().position(|fact| matches!(fact, Fact::PersonActed(f) if f.action() == Action::Approve));
    if let Some(begun) = at("rollback_started") {
        let by = |position: Option<usize>| position.is_some_and(|position| position < begun);
        let answered = by(approved) || by(passed(DeadlineKind::Approve));
        prop_assert!(at("approval_requested").is_none() || answered, "begun, and nobody had said yes");
        let waited = by(passed(DeadlineKind::Grace)) || by(approved);
        prop_assert!(at("grace_begun").is_none() || waited, "begun within the grace period");
    }
    if count("mitigated") > 0 {
        prop_assert!(count("verification_passed") == 1 && count("traffic_shifted") == 1);
    }
    if case.state.is_open() {
        prop_assert!(!pending_deadlines(&case.state).is_empty(), "open in {:?} with nothing to move it on", case.state.phase());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_commands_leads_to_a_legal_state_and_can_end(
        ahead in 1..4_usize,
        commands in proptest::collection::vec((any_command(), 0..400_i64), 0..40),
    ) {
        let mut case = Case::default();
        let begun: Vec<_> = to_planned().into_iter().take(ahead).map(|command| (command, 0)).collect();
        for (command, seconds) in begun.iter().chain(&commands) {
            case = case.later(*seconds);
            let before = case.state.ending();
            if case.run(command).is_ok() {
                prop_assert!(case.run(command) .is_err() || matches!(command, Command::RecordDelivery { .. }), "{} is accepted twice", command.name());
            }
            legal(&case)?;
            prop_assert!(before.is_none() || case.state.ending() == before, "{} changed the end from {before:?}", command.name());
        }
        // With nobody doing anything any more, the deadlines alone must close it.
        for _ in 0..20 {
            let Some((kind, at)) = pending_deadlines(&case.state).into_iter().min_by_key(|(_, at)| *at) else { break };
            case.now = case.now.max(at);
            case.run(&Command::PassDeadline(kind)).map_err(|refusal| TestCaseError::fail(refusal.to_string()))?;
            legal(&case)?;
        }
        prop_assert!(case.state.closed.is_some(), "stuck in {:?}", case.state.phase());
    }

    #[test]
    fn folding_twice_over_a_redelivered_log_changes_no_phase(commands in proptest::collection::vec(any_command(), 0..30)) {
        let mut case = Case::default().must(&[open()]);
        for command in &commands {
            let _ = case.run(command);
        }
        let refold = case.log.iter().chain(&case.log).fold(Incident::default(), |state, fact| {
            evolve(state, &Recorded { sequence: 1, at: case.now, fact: fact.clone() })
        });
        prop_assert_eq!(refold.phase(), case.state.phase());
    }
}
