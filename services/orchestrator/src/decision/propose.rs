//! From a course to commands, and from commands to the facts of one append.
//!
//! Guarantees: pure; the facts of several commands are what core makes of them one after the other, so that a whole decision can be
//! stored at once or not at all. Must not: invent facts; core's `decide` makes them.

use contracts::time::duration_to_proto;
use contracts::{Fact, v1};
use jiff::Timestamp;
use lastgood_core::incident::{Command, Incident, Recorded, Refusal, decide, evolve};
use lastgood_core::policy::ApprovalTimeout;

use crate::plan::{Course, Step, Waits};

/// What several commands came to.
#[derive(Debug, Clone, Default)]
pub struct Proposal {
    /// The facts, in order.
    pub facts: Vec<Fact>,
    /// What core refused, other than "already so".
    pub refused: Vec<Refusal>,
    /// The state after them.
    pub after: Incident,
}

/// Decides the commands one after the other, each on what the ones before made of the incident.
#[must_use]
pub fn fold(state: &Incident, commands: &[Command], now: Timestamp) -> Proposal {
    let mut proposal = Proposal { after: state.clone(), ..Proposal::default() };
    for command in commands {
        match decide(&proposal.after, command, now) {
            Ok(facts) => {
                for fact in facts {
                    let sequence = proposal.after.last_sequence + 1;
                    let recorded = Recorded { sequence, at: now, fact };
                    proposal.after = evolve(proposal.after, &recorded);
                    proposal.facts.push(recorded.fact);
                }
            }
            Err(Refusal::AlreadySo) => {}
            Err(refusal) => proposal.refused.push(refusal),
        }
    }
    proposal
}

/// n2, n3, with further alerts of the same workload.
#[must_use]
pub fn opening(mut occurrences: Vec<v1::Occurrence>, deadlines: v1::Deadlines, workload_uid: &str) -> Vec<Command> {
    if occurrences.is_empty() {
        return Vec::new();
    }
    let trigger = occurrences.remove(0);
    let open = v1::AnomalyDetected {
        trigger: Some(trigger),
        deadlines: Some(deadlines),
        workload_uid: workload_uid.to_owned(),
        requested: None,
    };
    let mut commands = vec![Command::Open(open)];
    if !occurrences.is_empty() {
        commands.push(Command::JoinAlerts(occurrences));
    }
    commands
}

/// n6 to n9 or n10. `planned` is the plan and its words for people, where the course has a target.
#[must_use]
pub fn course_commands(course: &Course, planned: Option<(v1::Plan, String)>) -> Vec<Command> {
    let mut commands = vec![Command::IdentifyCurrent(course.current.clone())];
    match (&course.step, planned) {
        (Step::Halt(reason, detail), _) => {
            commands.push(Command::Halt { reason: *reason, detail: detail.clone(), would_do: String::new() });
        }
        (Step::Missing(considered), _) => {
            commands.push(Command::MissPrevious(v1::PreviousVersionMissing { considered: considered.clone() }));
        }
        (Step::Hold(target, reason, detail), planned) => {
            let would_do = planned.map(|(_, summary)| summary).unwrap_or_default();
            let found = v1::PreviousVersionFound { version: Some(target.version.clone()), evidence: target.evidence.clone() };
            commands.push(Command::FindPrevious(found));
            commands.push(Command::Halt { reason: *reason, detail: detail.clone(), would_do });
        }
        (Step::Roll(target), planned) => {
            let found = v1::PreviousVersionFound { version: Some(target.version.clone()), evidence: target.evidence.clone() };
            commands.push(Command::FindPrevious(found));
            commands.extend(planned.map(|(plan, would_do)| on_terms(&course.waits, plan, would_do)));
        }
    }
    commands
}

/// The plan, and what it waits for.
fn on_terms(waits: &Waits, plan: v1::Plan, would_do: String) -> Command {
    let plan = Box::new(v1::Plan { grace: waits.grace.map(duration_to_proto), ..plan });
    let Some((within, on_timeout)) = waits.approval else { return Command::Plan(plan) };
    let on_timeout = match on_timeout {
        ApprovalTimeout::Halt => v1::OnTimeout::Halt,
        ApprovalTimeout::Proceed => v1::OnTimeout::Proceed,
    };
    let within = Some(duration_to_proto(within));
    Command::PlanToApprove(plan, v1::ApprovalRequested { within, on_timeout: on_timeout.into(), would_do })
}

#[cfg(test)]
mod tests {
    use contracts::HaltReason;

    use super::*;
    use crate::plan::Target;

    fn version(hash: &str) -> v1::Version {
        v1::Version { template_hash: hash.into(), ..v1::Version::default() }
    }

    fn target() -> Box<Target> {
        Box::new(Target { version: version("one"), evidence: "seen".into(), ..Target::default() })
    }

    fn plan() -> (v1::Plan, String) {
        let not_after = Some(contracts::time::to_proto(Timestamp::MAX));
        let plan = v1::Plan { from: Some(version("two")), to: Some(version("one")), not_after, ..v1::Plan::default() };
        (plan, "roll back".into())
    }

    fn facts(step: Step, planned: Option<(v1::Plan, String)>) -> Vec<&'static str> {
        facts_on(step, planned, Waits::default())
    }

    fn facts_on(step: Step, planned: Option<(v1::Plan, String)>, waits: Waits) -> Vec<&'static str> {
        let course = Course { current: v1::CurrentVersionIdentified::default(), step, waits };
        let occurrence = |fingerprint: &str| v1::Occurrence { fingerprint: fingerprint.into(), ..v1::Occurrence::default() };
        let mut commands = opening(vec![occurrence("a"), occurrence("b")], v1::Deadlines::default(), "u");
        commands.extend(course_commands(&course, planned));
        let proposal = fold(&Incident::default(), &commands, Timestamp::UNIX_EPOCH);
        assert!(proposal.refused.is_empty(), "{:?}", proposal.refused);
        proposal.facts.iter().map(Fact::event_type).collect()
    }

    #[test]
    fn a_whole_decision_is_one_append() {
        let begin = ["anomaly_detected", "alert_joined", "current_version_identified"];
        let hold = Step::Hold(target(), HaltReason::Paused, "paused".into());
        for (step, planned, end) in [
            (Step::Roll(target()), Some(plan()), &["previous_version_found", "rollback_planned"][..]),
            (hold, Some(plan()), &["previous_version_found", "rollback_halted", "notification_requested"]),
            (Step::Missing(vec![]), None, &["previous_version_missing", "rollback_halted", "notification_requested"]),
            (Step::Halt(HaltReason::RolloutPaused, String::new()), None, &["rollback_halted", "notification_requested"]),
        ] {
            let expected: Vec<_> = begin.iter().chain(end).copied().collect();
            assert_eq!(facts(step, planned), expected);
        }
    }

    #[test]
    fn what_a_plan_waits_for_is_stored_with_it_and_before_it() {
        use std::time::Duration;
        let (grace, approval) = (Some(Duration::from_secs(30)), Some((Duration::from_mins(5), ApprovalTimeout::Halt)));
        let after = |waits| facts_on(Step::Roll(target()), Some(plan()), waits)[4..].to_vec();
        assert_eq!(after(Waits { grace, approval: None }), ["grace_begun", "rollback_planned"]);
        let asked = ["approval_requested", "rollback_planned", "notification_requested"];
        assert_eq!(after(Waits { grace: None, approval }), asked);
        let both = ["approval_requested", "grace_begun", "rollback_planned", "notification_requested"];
        assert_eq!(after(Waits { approval, grace }), both);
    }

    #[test]
    fn what_is_so_already_is_passed_over() {
        let occurrence = v1::Occurrence { fingerprint: "a".into(), ..v1::Occurrence::default() };
        let commands = opening(vec![occurrence], v1::Deadlines::default(), "u");
        let first = fold(&Incident::default(), &commands, Timestamp::UNIX_EPOCH);
        let again = fold(&first.after, &commands, Timestamp::UNIX_EPOCH);
        assert!(again.facts.is_empty() && again.refused.is_empty());
    }
}
