//! What is known of an incident, and the phase that follows from it.
//!
//! Guarantees: the phase is derived, never stored, so it can't contradict the facts. Must not: hold anything that is not in a fact.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use contracts::v1::{self, Audience, Outcome, Urgency};
use contracts::{DeadlineKind, Fact, HaltReason};
use jiff::Timestamp;

/// The source of a trigger that is a person's command and no alert: it is over as it is given, and nobody else knows of it.
pub const BY_COMMAND: &str = "command";

/// A fact as the stream stored it.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The stream's sequence.
    pub sequence: u64,
    /// When the stream stored it (UTC): the only clock that decisions know.
    pub at: Timestamp,
    /// What it says.
    pub fact: Fact,
}

/// Where an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No opening fact.
    Absent,
    /// Opened; the current version is being looked up.
    Detected,
    /// The previous version is being looked up.
    Identified,
    /// There is no previous version; halted by the same decision.
    TargetMissing,
    /// The plan is being made.
    TargetFound,
    /// The plan waits for a person's word.
    AwaitingApproval,
    /// The plan waits for its alerts to have gone on for the grace period.
    InGrace,
    /// The executor may start.
    Planned,
    /// The executor is at work.
    Acting,
    /// The previous version serves; smoke tests run.
    Verifying,
    /// Verified; waiting for the triggering alert and the clean-up.
    Mitigated,
    /// How it ends is decided; people are being told.
    Ended(Outcome),
    /// Nothing more will happen, but for late words about notifications.
    Closed(Outcome),
}

/// The opening.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// When.
    pub at: Timestamp,
    /// The alert's occurrence that opened it.
    pub trigger: v1::Occurrence,
    /// The uid of the workload then.
    pub workload_uid: String,
    /// How long each phase may take.
    pub deadlines: v1::Deadlines,
    /// What a person asked for, where it was no alert that opened it.
    pub requested: Option<v1::RollbackRequested>,
}

/// A plan that a person is to say yes or no to.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    /// When that was asked.
    pub asked_at: Timestamp,
    /// What was asked.
    pub request: v1::ApprovalRequested,
    /// Since when the plan may go on: a person approved it, or nobody said anything in time and that counts as a yes.
    pub granted_at: Option<Timestamp>,
    /// The person who approved.
    pub by: Option<v1::PersonActed>,
    /// Who acknowledged the page that asks, while it waited: that is no answer.
    pub seen_by: Option<v1::PersonActed>,
}

/// One attempt at the write, by its intent.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// When the intent was stored.
    pub at: Timestamp,
    /// The intent.
    pub intent: v1::RollbackStarted,
}

/// When each step of the rollback was seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// n11.
    pub bad_pods_down: Option<Timestamp>,
    /// n12.
    pub deployed: Option<Timestamp>,
    /// n13, n14.
    pub pods_ready: Option<Timestamp>,
    /// n15.
    pub traffic_shifted: Option<Timestamp>,
}

impl Progress {
    /// Whether anything at all was seen to happen.
    #[must_use]
    pub const fn any(&self) -> bool {
        self.bad_pods_down.is_some() || self.deployed.is_some() || self.pods_ready.is_some() || self.traffic_shifted.is_some()
    }
}

/// A notification that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// Who.
    pub audience: Audience,
    /// Whether a person has to get up.
    pub urgency: Urgency,
    /// The request itself.
    pub request: v1::NotificationRequested,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// When it was delivered, or finally not; `None` while it is under way.
    pub settled_at: Option<Timestamp>,
    /// Whether it reached somebody.
    pub delivered: bool,
}

/// The end.
#[derive(Debug, Clone, PartialEq)]
pub struct Closed {
    /// When.
    pub at: Timestamp,
    /// How.
    pub outcome: Outcome,
    /// The code behind the outcome.
    pub reason: String,
}

/// The fold of an incident's facts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Incident {
    /// `None`: no opening fact, so nothing may be done.
    pub opened: Option<Opened>,
    /// What the workload's policy says of who is told; `None` where it says nothing.
    pub routed: Option<v1::NotificationsRouted>,
    /// n6.
    pub current: Option<v1::CurrentVersionIdentified>,
    /// n8 yes.
    pub target: Option<v1::PreviousVersionFound>,
    /// n8 no.
    pub missing: Option<v1::PreviousVersionMissing>,
    /// n9, and when.
    pub plan: Option<(Timestamp, v1::Plan)>,
    /// Whether a person is asked before it, and what came of that.
    pub approval: Option<Approval>,
    /// When its grace period was over.
    pub grace_over: Option<Timestamp>,
    /// n10.
    pub halted: Option<v1::RollbackHalted>,
    /// The intents, oldest first.
    pub attempts: Vec<Attempt>,
    /// A tag that leads elsewhere than it did: from then on `plan` names its images by digest, and `progress` counts anew.
    pub moved: Option<v1::ImageMoved>,
    /// n11 to n15.
    pub progress: Progress,
    /// n16.
    pub failed: Option<v1::RollbackFailed>,
    /// n17, by check.
    pub checks: BTreeMap<String, v1::SmokeTestFinished>,
    /// n18 yes.
    pub verification_passed: Option<Timestamp>,
    /// n18 no.
    pub verification_failed: Option<v1::VerificationFailed>,
    /// When `Mitigated` was stored.
    pub mitigated_at: Option<Timestamp>,
    /// n19.
    pub status_updated: bool,
    /// n20.
    pub cleaned: bool,
    /// Somebody else changed the workload.
    pub superseded: Option<v1::Superseded>,
    /// The occurrences that joined, by fingerprint.
    pub joined: BTreeMap<String, v1::Occurrence>,
    /// Whether one joined after the close, or after it had been decided that all was well: the version that was restored alerts too.
    pub joined_after_close: bool,
    /// The fingerprints that resolved.
    pub resolved: BTreeSet<String>,
    /// Whether the alert that opened it fired when the time for its resolving was up.
    pub fired_at_deadline: Option<bool>,
    /// When it was decided that it has completed, and people were to be told so.
    pub completed_at: Option<Timestamp>,
    /// The deadlines that passed.
    pub deadlines_passed: BTreeSet<DeadlineKind>,
    /// What was asked to be told, by (audience, reason).
    pub notices: BTreeMap<(i32, String), Notice>,
    /// The chat thread, or that there is none.
    pub announced: Option<v1::Announced>,
    /// Who acknowledged.
    pub acknowledged: Option<v1::PersonActed>,
    /// The end.
    pub closed: Option<Closed>,
    /// The sequence of the last fact.
    pub last_sequence: u64,
}

impl Incident {
    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.opened.is_none() {
            return Phase::Absent;
        }
        if let Some(closed) = &self.closed {
            return Phase::Closed(closed.outcome);
        }
        if let Some(outcome) = self.ending() {
            return Phase::Ended(outcome);
        }
        if self.mitigated_at.is_some() {
            Phase::Mitigated
        } else if self.progress.traffic_shifted.is_some() {
            Phase::Verifying
        } else if !self.attempts.is_empty() {
            Phase::Acting
        } else if self.plan.is_some() {
            self.waiting().unwrap_or(Phase::Planned)
        } else if self.target.is_some() {
            Phase::TargetFound
        } else if self.missing.is_some() {
            Phase::TargetMissing
        } else if self.current.is_some() {
            Phase::Identified
        } else {
            Phase::Detected
        }
    }

    /// Whether a person asked for it, and no alert did.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.opened.as_ref().is_some_and(|opened| opened.requested.is_some())
    }

    /// How it ends, once that is decided. What happens afterwards changes nothing about it: an alert that fires again while people are
    /// told is the next thing to hear of, not another end of this one.
    #[must_use]
    pub fn ending(&self) -> Option<Outcome> {
        if self.superseded.is_some() {
            Some(Outcome::Superseded)
        } else if self.halted.is_some() {
            Some(Outcome::Halted)
        } else if self.failed.is_some() {
            Some(Outcome::RollbackFailed)
        } else if self.verification_failed.is_some() {
            Some(Outcome::VerificationFailed)
        } else if self.deadlines_passed.contains(&DeadlineKind::Resolve) {
            Some(Outcome::Unresolved)
        } else if self.completed_at.is_some() || self.is_complete() {
            Some(Outcome::Completed)
        } else {
            None
        }
    }

    fn is_complete(&self) -> bool {
        self.mitigated_at.is_some() && self.status_updated && self.cleaned && self.trigger_resolved()
    }

    /// Whether it has opened and not closed.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.opened.is_some() && self.closed.is_none()
    }

    /// Whether the alert that opened it has resolved.
    #[must_use]
    pub fn trigger_resolved(&self) -> bool {
        self.opened.as_ref().is_some_and(|opened| self.resolved.contains(&opened.trigger.fingerprint))
    }

    /// Whether every alert that belongs to it has resolved.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.trigger_resolved() && self.joined.keys().all(|fingerprint| self.resolved.contains(fingerprint))
    }

    /// Whether this fingerprint opened it or joined it.
    #[must_use]
    pub fn owns(&self, fingerprint: &str) -> bool {
        self.opened.as_ref().is_some_and(|opened| opened.trigger.fingerprint == fingerprint)
            || self.joined.contains_key(fingerprint)
    }

    /// The number of the last attempt; 0 before the first.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempts.last().map_or(0, |attempt| attempt.intent.attempt)
    }

    /// Whether a notification of this (audience, reason) was asked for.
    #[must_use]
    pub fn notice(&self, audience: Audience, reason: &str) -> Option<&Notice> {
        self.notices.get(&(audience as i32, reason.to_owned()))
    }

    /// The halt's reason, where it is one that this binary knows.
    #[must_use]
    pub fn halt_reason(&self) -> Option<HaltReason> {
        self.halted.as_ref().and_then(|halted| HaltReason::parse(&halted.reason))
    }

    /// One of its deadlines' length; `fallback` where the opening fact doesn't say.
    #[must_use]
    pub fn allowed(&self, pick: impl Fn(&v1::Deadlines) -> Option<&prost_types::Duration>, fallback: Duration) -> Duration {
        self.opened.as_ref().and_then(|opened| contracts::time::duration_from_proto(pick(&opened.deadlines))).unwrap_or(fallback)
    }
}
