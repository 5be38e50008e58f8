//! What is asked of the core: each command small enough to be part of a question, and as the product's services make it.
//!
//! Guarantees: an order and a fold make one command, always the same. Must not: decide whether it is legal; the core does.

use contracts::{DeadlineKind, FailureReason, HaltReason, v1};
use lastgood_core::configuration::id_of;
use lastgood_core::incident::{Command, Incident};

use super::book::{CourseId, notice_key};
use super::cluster;
use super::world::Workload;

/// The reason with which the executor fails what it can't see.
pub(super) const NOT_READY: &str = FailureReason::PodsNotReady.code();

/// A command, small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Order {
    Open { alert: u8, workload: Workload },
    Join(u8),
    Course(CourseId),
    Start { attempt: u32, live: Workload },
    Supersede(&'static str),
    Halt(&'static str),
    Fail(&'static str),
    BadPodsDown,
    Deployed,
    ImageMoved(Workload),
    PodsReady,
    TrafficShifted,
    Check(&'static str, v1::Verdict),
    Pass,
    FailVerification(&'static str),
    UpdateStatus,
    CleanUp,
    Resolve(u8),
    StillFiring(u8),
    Deadline(DeadlineKind),
    Announce,
    Told(u64),
    Untold(u64),
    Acknowledge,
    Approve,
    Decline,
}

/// The command that an order is, but for those that are several.
pub(super) fn command(state: &Incident, order: Order) -> Command {
    let attempt = state.attempt();
    match order {
        Order::Open { .. } | Order::Course(_) => unreachable!("these are several commands"),
        Order::Join(alert) => Command::JoinAlerts(vec![cluster::occurrence(alert)]),
        Order::Start { attempt, live } => Command::StartAttempt(intent(state, attempt, live)),
        Order::Supersede(what) => Command::Supersede(v1::Superseded { what: what.to_owned(), ..v1::Superseded::default() }),
        Order::Halt(reason) => Command::Halt {
            reason: HaltReason::parse(reason).expect("a halt is one that the product named"),
            detail: String::new(),
            would_do: String::new(),
        },
        Order::Fail(reason) => {
            Command::Fail(v1::RollbackFailed { attempt, reason: reason.to_owned(), ..v1::RollbackFailed::default() })
        }
        Order::BadPodsDown => Command::ReportBadPodsDown(v1::BadPodsScaledDown { attempt, pods: 1 }),
        Order::Deployed => {
            Command::ReportDeployed(v1::PreviousVersionDeployed { attempt, ..v1::PreviousVersionDeployed::default() })
        }
        Order::ImageMoved(live) => Command::ReportImageMoved(cluster::moved(attempt, live)),
        Order::PodsReady => Command::ReportPodsReady(v1::PodsReady { attempt, ready: 1, desired: 1 }),
        Order::TrafficShifted => Command::ReportTrafficShifted(v1::TrafficShifted { attempt, services: Vec::new() }),
        Order::Check(check, verdict) => Command::RecordCheck(v1::SmokeTestFinished {
            check: check.to_owned(),
            verdict: verdict.into(),
            ..v1::SmokeTestFinished::default()
        }),
        Order::Pass => Command::PassVerification,
        Order::FailVerification(reason) => {
            Command::FailVerification(v1::VerificationFailed { reason: reason.to_owned(), failed_checks: Vec::new() })
        }
        Order::UpdateStatus => Command::UpdateStatus(v1::StatusUpdated::default()),
        Order::CleanUp => Command::CleanUp(v1::OldResourcesCleaned::default()),
        Order::Resolve(alert) => Command::ResolveAlert(v1::AlertResolved {
            fingerprint: cluster::occurrence(alert).fingerprint,
            ..v1::AlertResolved::default()
        }),
        Order::StillFiring(alert) => Command::StillFiring { fingerprint: cluster::occurrence(alert).fingerprint },
        Order::Deadline(kind) => Command::PassDeadline(kind),
        Order::Announce => Command::Announce(v1::Announced { channel: "chat".into(), thread: "1".into() }),
        Order::Told(_) | Order::Untold(_) => answer_to(state, order),
        Order::Acknowledge => act(v1::Action::Acknowledge),
        Order::Approve => act(v1::Action::Approve),
        Order::Decline => act(v1::Action::Decline),
    }
}

fn act(action: v1::Action) -> Command {
    Command::PersonAct(v1::PersonActed { action: action.into(), who: "ann".into(), ..v1::PersonActed::default() })
}

fn answer_to(state: &Incident, order: Order) -> Command {
    let (Order::Told(wanted) | Order::Untold(wanted)) = order else { unreachable!("only these answer a request") };
    let key = state.notices.keys().find(|key| notice_key(key) == wanted).cloned().unwrap_or_default();
    let audience = v1::Audience::try_from(key.0).unwrap_or(v1::Audience::OnCall);
    if matches!(order, Order::Told(_)) {
        return Command::RecordDelivery { audience, reason: key.1, channel: "chat".into(), dedup_key: String::new() };
    }
    Command::RecordUndelivered(v1::NotificationFailed { audience: key.0, reason: key.1, error: String::new(), owed: false })
}

/// As the executor makes it.
fn intent(state: &Incident, attempt: u32, live: Workload) -> v1::RollbackStarted {
    let plan = state.plan.as_ref().map(|(_, plan)| plan);
    let hash = |version: Option<&v1::Version>| version.map(|version| version.template_hash.clone()).unwrap_or_default();
    v1::RollbackStarted {
        attempt,
        workload_uid: cluster::uid(live),
        workload_generation: i64::from(live.generation),
        template_hash: state.replaces().unwrap_or_default().to_owned(),
        target_template_hash: hash(plan.and_then(|plan| plan.to.as_ref())),
        version: plan.and_then(|plan| plan.from.as_ref()).map(id_of).unwrap_or_default().to_owned(),
    }
}
