//! The state of the world, as small as it can be: what is on the log, in the cluster, in each replica's hands, and what has gone wrong.
//!
//! Guarantees: two worlds in which everybody will do the same are equal. Must not: decide anything.

use super::book::{CourseId, FoldId, LedgerId};

/// Most incidents of the one workload.
pub(super) const INCIDENTS: usize = 2;
/// Replicas of the executor and of the orchestrator.
pub(super) const REPLICAS: usize = 2;

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) log: Log,
    /// `None` once it was deleted.
    pub(super) workload: Option<Workload>,
    pub(super) ledger: LedgerId,
    /// Whether the pause switch is on.
    pub(super) paused: bool,
    pub(super) executors: [Option<Hand>; REPLICAS],
    pub(super) orchestrators: [Option<Case>; REPLICAS],
    /// A notification under way: its incident, which, and whether it was sent.
    pub(super) notifier: Option<(u8, u64)>,
    pub(super) alerts: [Alert; INCIDENTS],
    /// What the executors' consumer has not been acknowledged, an incident.
    pub(super) wakes: [Wakes; INCIDENTS],
    /// The openings that the orchestrators' `resume` has not acknowledged.
    pub(super) undecided: [bool; INCIDENTS],
    pub(super) crashes_left: u8,
    pub(super) acts_left: u8,
    pub(super) ghost: Ghost,
}

/// The workload's part of the stream. Sequences are left out: the product only asks whether the last one is still the one that it read,
/// and that is with whoever read it (`moved`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Log {
    /// How many incidents were opened.
    pub(super) opened: u8,
    pub(super) incidents: [FoldId; INCIDENTS],
}

/// The Deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Workload {
    pub(super) uid: u8,
    pub(super) generation: u8,
    pub(super) resource_version: u8,
    /// Which template runs: 1 is the good one, 2 the bad one, 3 a person's.
    pub(super) version: u8,
    pub(super) revision: u8,
    pub(super) paused: bool,
    /// The incident that its annotation names, counted from one; 0 for none.
    pub(super) stamp: u8,
    pub(super) attempt: u8,
    /// The version that its annotation names.
    pub(super) stamped: u8,
    /// Not part of the object: how often a person has changed what lastgood must not write over.
    pub(super) edits: u8,
}

/// What wakes the executor, un-acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Wakes(u8);

/// One message that wakes the executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Wake {
    Planned = 1,
    Announced = 2,
    DeadlinePassed = 4,
    Passed = 8,
    PersonActed = 16,
}

impl Wake {
    pub(super) const ALL: [Self; 5] = [Self::Planned, Self::Announced, Self::DeadlinePassed, Self::Passed, Self::PersonActed];
}

impl Wakes {
    pub(super) const fn has(self, wake: Wake) -> bool {
        self.0 & wake as u8 != 0
    }

    pub(super) fn add(&mut self, wake: Wake) {
        self.0 |= wake as u8;
    }

    pub(super) fn acknowledge(&mut self, wake: Wake) {
        self.0 &= !(wake as u8);
    }
}

/// What an executor replica has in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Hand {
    pub(super) incident: u8,
    pub(super) wake: Wake,
    /// The incident as it was last loaded; the empty one before that.
    pub(super) fold: FoldId,
    /// Whether the log has moved on since it was read.
    pub(super) moved: bool,
    /// The workload as it was last read; the outer `None` before that.
    #[expect(clippy::option_option, reason = "not read yet is not the same as read and gone")]
    pub(super) live: Option<Option<Workload>>,
    /// Whether this process saw its own write accepted.
    pub(super) written: bool,
    pub(super) at: At,
}

/// Where an executor stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum At {
    /// The workload was read; the log is to be.
    WorkloadRead,
    /// The log was read; the workload is to be.
    LogRead,
    /// It is about to do this.
    About(Act),
    /// The write is in place.
    Watching,
    /// The end: the workload is to be read.
    Finishing,
}

/// What an executor is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Act {
    Intend(u32),
    Write(u32),
    Watch,
    Supersede(&'static str),
    Halt(&'static str),
    GiveUp(&'static str),
    Annotate,
    TellStatus,
    CleanUp,
}

/// What an orchestrator replica has in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Case {
    /// An alert was heard, and followed to the workload.
    Heard { alert: u8, workload: Workload },
    /// The log and the ledger were read too; after a rollback that is over, the workload is to be read again.
    Settling { alert: u8, workload: Workload, ledger: LedgerId, newest: Option<u8>, fold: FoldId, moved: bool, looks_again: bool },
    /// An undecided incident was loaded; the workload is to be read.
    Resuming { incident: u8, fold: FoldId, ledger: LedgerId },
    /// The decision is made, and to be stored.
    Decided { incident: u8, course: CourseId, edits: u8, alert: Option<u8> },
}

/// An alert, and what the log says about its occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Alert {
    pub(super) began: bool,
    pub(super) ended: bool,
    /// A notification that it fires is not acknowledged.
    pub(super) notified: bool,
    /// How often it may still be told of again.
    pub(super) repeats_left: u8,
    /// The incident of its disposition.
    pub(super) incident: Option<u8>,
    /// Dispositions that the log holds.
    pub(super) dispositions: u8,
}

/// What nobody in the world knows: the record that promises are judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Ghost {
    /// How often each incident's write changed the template.
    pub(super) writes: [u8; INCIDENTS],
    /// A person's edits at the moment that each incident's plan was made from.
    pub(super) edits: [u8; INCIDENTS],
    /// Incidents whose plans a person was asked to approve, as bits.
    pub(super) asked: u8,
    /// Those that one did approve.
    pub(super) approved: u8,
    /// Versions that an intent has named as bad, as bits.
    pub(super) rolled_back_from: u8,
    /// Notifications that went out (their keys).
    pub(super) sent: [u64; 4],
    /// Broken promises, as bits of `Promise`.
    pub(super) broken: u32,
    /// Whether one that the scenario leaves was broken.
    pub(super) left: bool,
}
