//! What services ask of an incident, and why it may be refused.
//!
//! Guarantees: a refusal says whether asking again can help. Must not: carry anything that the facts it makes don't need.

use contracts::v1;
use contracts::{DeadlineKind, FailureReason, HaltReason};
use jiff::Timestamp;

use super::state::Phase;

/// One thing to be decided.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a command lives for one decision, and the large one once an incident")]
pub enum Command {
    /// n2, n3. The caller has made sure, by the log's expectation, that no other incident of the workload is open.
    Open(v1::AnomalyDetected),
    /// What the workload's policy says of who is told, before anybody is.
    Route(v1::NotificationsRouted),
    /// n6.
    IdentifyCurrent(v1::CurrentVersionIdentified),
    /// n8 yes.
    FindPrevious(v1::PreviousVersionFound),
    /// n8 no: halts.
    MissPrevious(v1::PreviousVersionMissing),
    /// n9.
    Plan(Box<v1::Plan>),
    /// n9, and a person is to say yes before it is begun.
    PlanToApprove(Box<v1::Plan>, v1::ApprovalRequested),
    /// n10.
    Halt {
        /// Why.
        reason: HaltReason,
        /// For people.
        detail: String,
        /// What would have been done; empty where that is not known.
        would_do: String,
    },
    /// n11: the intent, before the write.
    StartAttempt(v1::RollbackStarted),
    /// n11 seen.
    ReportBadPodsDown(v1::BadPodsScaledDown),
    /// n12 seen.
    ReportDeployed(v1::PreviousVersionDeployed),
    /// The version is back, and its pods run other images than it did.
    ReportImageMoved(v1::ImageMoved),
    /// n13, n14 seen.
    ReportPodsReady(v1::PodsReady),
    /// n15 seen.
    ReportTrafficShifted(v1::TrafficShifted),
    /// n16.
    Fail(v1::RollbackFailed),
    /// n17.
    RecordCheck(v1::SmokeTestFinished),
    /// n18 yes.
    PassVerification,
    /// n18 no.
    FailVerification(v1::VerificationFailed),
    /// n19.
    UpdateStatus(v1::StatusUpdated),
    /// n20.
    CleanUp(v1::OldResourcesCleaned),
    /// More alerts of the same workload. On a closed incident: the version that it restored alerts too, so people are told.
    JoinAlerts(Vec<v1::Occurrence>),
    /// An alert of this incident has resolved.
    ResolveAlert(v1::AlertResolved),
    /// Many have at once; those that are not this incident's, or had resolved, are passed over.
    ResolveAlerts(Vec<v1::AlertResolved>),
    /// An alert of this incident, which is closed, goes on firing.
    StillFiring {
        /// Which.
        fingerprint: String,
    },
    /// People have to look at it, whatever its phase, closed included; the incident itself goes on as it would.
    Escalate {
        /// Why.
        reason: FailureReason,
        /// For people.
        detail: String,
    },
    /// Its log can't be read in full, so nothing can be decided on it any more: the team lead is told, and it is closed.
    GiveUp {
        /// What is wrong, for people.
        detail: String,
    },
    /// Somebody else changed the workload.
    Supersede(v1::Superseded),
    /// A timer fired.
    PassDeadline(DeadlineKind),
    /// A timer fired while a freeze window holds: what it would let begin halts.
    PassDeadlineFrozen(DeadlineKind, String),
    /// The chat thread is open, or there is none.
    Announce(v1::Announced),
    /// A notification was delivered.
    RecordDelivery {
        /// To whom.
        audience: v1::Audience,
        /// Which.
        reason: String,
        /// By what.
        channel: String,
        /// The provider's key.
        dedup_key: String,
    },
    /// A notification could not be delivered, by the fallback neither.
    RecordUndelivered(v1::NotificationFailed),
    /// A person did something.
    PersonAct(v1::PersonActed),
}

impl Command {
    /// Its name, for logs and refusals.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::Route(_) => "route notifications",
            Self::IdentifyCurrent(_) => "identify current version",
            Self::FindPrevious(_) => "find previous version",
            Self::MissPrevious(_) => "miss previous version",
            Self::Plan(_) => "plan",
            Self::PlanToApprove(..) => "plan, and ask for approval",
            Self::Halt { .. } => "halt",
            Self::StartAttempt(_) => "start attempt",
            Self::ReportBadPodsDown(_) => "report bad pods down",
            Self::ReportDeployed(_) => "report previous version deployed",
            Self::ReportImageMoved(_) => "report that an image has moved",
            Self::ReportPodsReady(_) => "report pods ready",
            Self::ReportTrafficShifted(_) => "report traffic shifted",
            Self::Fail(_) => "fail",
            Self::RecordCheck(_) => "record smoke test",
            Self::PassVerification => "pass verification",
            Self::FailVerification(_) => "fail verification",
            Self::UpdateStatus(_) => "update status",
            Self::CleanUp(_) => "clean up",
            Self::JoinAlerts(_) => "join alerts",
            Self::ResolveAlert(_) => "resolve alert",
            Self::ResolveAlerts(_) => "resolve alerts",
            Self::StillFiring { .. } => "note that it still fires",
            Self::Escalate { .. } => "escalate",
            Self::GiveUp { .. } => "give up",
            Self::Supersede(_) => "supersede",
            Self::PassDeadline(_) | Self::PassDeadlineFrozen(..) => "pass deadline",
            Self::Announce(_) => "announce",
            Self::RecordDelivery { .. } => "record delivery",
            Self::RecordUndelivered(_) => "record failed delivery",
            Self::PersonAct(_) => "record a person's act",
        }
    }
}

/// Why a command made no facts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The log says so already: for a redelivered message this is success.
    #[error("the log says so already")]
    AlreadySo,
    /// The incident's phase doesn't allow it; another phase may have overtaken the caller.
    #[error("`{command}` is not possible while the incident is {phase:?}")]
    Illegal {
        /// What was asked.
        command: &'static str,
        /// Where the incident stands.
        phase: Phase,
    },
    /// The plan may not be begun any more.
    #[error("the plan expired at {not_after}")]
    PlanExpired {
        /// The plan's `not_after`.
        not_after: Timestamp,
    },
    /// Nobody asked for the approval.
    #[error("nothing of this incident waits for an approval (it is {phase:?})")]
    NothingToApprove {
        /// Where the incident stands.
        phase: Phase,
    },
    /// It could have been approved until then.
    #[error("it could be approved until {until}; what was planned then may not fit any more")]
    ApprovalOver {
        /// The deadline.
        until: Timestamp,
    },
    /// The command names an attempt that is not the latest.
    #[error("attempt {given} is not the incident's {expected}")]
    WrongAttempt {
        /// What the command says.
        given: u32,
        /// What it should say.
        expected: u32,
    },
    /// The timer fired before its time, or its deadline is not pending.
    #[error("deadline `{0}` is not due")]
    NotDue(DeadlineKind),
    /// The command contradicts the plan.
    #[error("`{field}`: {reason}")]
    Invalid {
        /// Which part.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}
