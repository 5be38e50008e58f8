//! What is explored: where it begins, who takes part, and how much may go wrong.
//!
//! Guarantees: each default scenario is small enough to be explored to its end in CI. Must not: leave a bound unsaid.

use super::person::Person;
use super::promises::Promise;

/// Where a scenario begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The bad version runs, the alert fires, nothing is on the log.
    Alert,
    /// An incident is planned and its thread is open.
    Planned,
    /// An executor was stopped just before its write, and its incident was ended by its deadlines and closed.
    Stopped,
    /// The write is in place and traffic has shifted.
    Shifted,
    /// Verified and tidied up: the incident only waits for its alert to resolve.
    Closing,
}

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What CI affords.
    Ci,
    /// Larger bounds, by hand.
    Deep,
}

impl Depth {
    /// `LASTGOOD_DEPTH=deep` asks for the larger bounds.
    #[must_use]
    pub fn from_env() -> Self {
        if std::env::var("LASTGOOD_DEPTH").is_ok_and(|depth| depth == "deep") { Self::Deep } else { Self::Ci }
    }
}

/// The bounds of one exploration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a bound of its own")]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Where it begins.
    pub start: Start,
    /// Replicas of the executor that take part, at most two.
    pub executors: usize,
    /// Replicas of the orchestrator that take part, at most two.
    pub orchestrators: usize,
    /// How many alerts there are, at most two: each may open one incident.
    pub alerts: usize,
    /// Whether the second alert begins, and a person acts, only once the first alert's incident is closed.
    pub in_turn: bool,
    /// How often each alert may be told of again.
    pub repeats: u8,
    /// How often any process may crash, or the answer to a write or an append be lost.
    pub crashes: u8,
    /// How often a person acts.
    pub acts: u8,
    /// What a person may do.
    pub person: &'static [Person],
    /// Whether clocks may run late: the services' own deadlines, and the timers of phases that somebody works on.
    pub late: bool,
    /// Whether what an incident waits for may take longer than its deadline, on clocks that are on time: its alert's end, and the report of an
    /// executor that was stopped.
    pub outlasts: bool,
    /// Whether verifications may fail or see nothing.
    pub verdicts: bool,
    /// Whether sending and recording a notification are two steps, and sending may fail.
    pub sending: bool,
    /// Whether people are told of an end only once no executor is at work (one incident alone): the two don't touch each other.
    pub telling_waits: bool,
    /// Whether everything from the write to where an incident only waits for its alert is one step (one executor, nobody who changes the
    /// workload): others can only tell that the incident is open and its version back, and both are so before and after each part of it.
    pub swift: bool,
    /// Whether the ledger's watch and marks may lag behind.
    pub ledger_lags: bool,
    /// Whether a person is asked before a rollback.
    pub asks: bool,
    /// Whether the pause switch is on from the beginning: what opens is halted by its decision.
    pub paused: bool,
    /// Whether the good version's tag leads to another image since.
    pub tag_moved: bool,
    /// Whether the bad version had proved itself before it went bad.
    pub bad_was_good: bool,
    /// What is known to break here, and left (runbooks/decisions/0009): everything else is judged.
    pub leaves: &'static [Promise],
}

impl Scenario {
    const BARE: Self = Self {
        name: "",
        start: Start::Alert,
        executors: 1,
        orchestrators: 1,
        alerts: 1,
        in_turn: false,
        repeats: 0,
        crashes: 0,
        acts: 0,
        person: &[],
        late: false,
        outlasts: false,
        verdicts: false,
        sending: false,
        telling_waits: false,
        swift: false,
        ledger_lags: false,
        asks: false,
        paused: false,
        tag_moved: false,
        bad_was_good: false,
        leaves: &[],
    };

    /// Everything that is explored at this depth.
    #[must_use]
    pub fn all(depth: Depth) -> Vec<Self> {
        let all = [
            Self::acting,
            Self::contested,
            Self::deadlines,
            Self::opening,
            Self::overlapping,
            Self::resuming,
            Self::deciding,
            Self::ending,
            Self::again,
            Self::stopped,
            Self::asking,
            Self::moved,
        ];
        all.map(|scenario| scenario(depth)).into()
    }

    /// Two executors on one planned incident, and a person who changes the workload.
    #[must_use]
    pub fn acting(depth: Depth) -> Self {
        use Person::{Deletes, DeploysBadAgain, FixesForward, PausesRollout, Recreates, RollsBack, Scales};
        Self {
            name: "two executors and a person",
            start: Start::Planned,
            executors: 2,
            crashes: 1,
            acts: if depth == Depth::Deep { 2 } else { 1 },
            person: &[FixesForward, RollsBack, DeploysBadAgain, Scales, PausesRollout, Recreates, Deletes],
            telling_waits: true,
            ..Self::BARE
        }
    }

    /// The same with a person who changes the workload there and back.
    #[must_use]
    pub fn contested(depth: Depth) -> Self {
        Self {
            name: "two executors and a person who changes it twice",
            start: Start::Planned,
            executors: 2,
            crashes: u8::from(depth == Depth::Deep),
            acts: if depth == Depth::Deep { 3 } else { 2 },
            person: &[Person::FixesForward, Person::DeploysBadAgain],
            telling_waits: true,
            ..Self::BARE
        }
    }

    /// A person who changes the workload there and back around the decision.
    #[must_use]
    pub fn deciding(depth: Depth) -> Self {
        Self {
            name: "a decision and a person who changes it twice",
            crashes: u8::from(depth == Depth::Deep),
            acts: 2,
            person: &[Person::FixesForward, Person::DeploysBadAgain],
            ledger_lags: true,
            ..Self::BARE
        }
    }

    /// Two executors, late clocks, every deadline, the pause switch.
    #[must_use]
    pub fn deadlines(depth: Depth) -> Self {
        Self {
            name: "deadlines and switches",
            start: Start::Planned,
            executors: 2,
            crashes: 1,
            acts: if depth == Depth::Deep { 2 } else { 1 },
            person: &[Person::SwitchesOff, Person::Declines, Person::Scales, Person::FixesForward],
            late: true,
            telling_waits: true,
            ..Self::BARE
        }
    }

    /// Two orchestrators on two alerts of one workload: opening, joining, deciding, opening again.
    #[must_use]
    pub fn opening(depth: Depth) -> Self {
        Self {
            name: "two orchestrators and two alerts",
            executors: usize::from(depth == Depth::Deep),
            orchestrators: 2,
            alerts: 2,
            paused: true,
            repeats: u8::from(depth == Depth::Deep),
            crashes: u8::from(depth == Depth::Deep),
            acts: u8::from(depth == Depth::Deep),
            person: &[Person::FixesForward, Person::Deletes],
            ..Self::BARE
        }
    }

    /// Two alerts of one workload at once, and what opens is planned and acted on: only one incident may.
    #[must_use]
    pub fn overlapping(depth: Depth) -> Self {
        Self {
            name: "two alerts and the rollback of one",
            orchestrators: 2,
            alerts: 2,
            crashes: u8::from(depth == Depth::Deep),
            swift: depth == Depth::Ci,
            ..Self::BARE
        }
    }

    /// From the shifted traffic to the close: verdicts, finishing, telling, acknowledging.
    #[must_use]
    pub fn ending(depth: Depth) -> Self {
        Self {
            name: "verifying, finishing and telling",
            start: Start::Shifted,
            executors: if depth == Depth::Deep { 2 } else { 1 },
            crashes: if depth == Depth::Deep { 2 } else { 1 },
            acts: 1,
            person: &[Person::DeploysBadAgain, Person::Acknowledges],
            late: true,
            verdicts: true,
            sending: true,
            ..Self::BARE
        }
    }

    /// Two orchestrators on one alert that is told of twice, a crash, and a person: the decision is resumed, stale, or not wanted any more.
    #[must_use]
    pub fn resuming(depth: Depth) -> Self {
        Self {
            name: "two orchestrators, a crash and a person",
            executors: usize::from(depth == Depth::Deep),
            orchestrators: 2,
            late: true,
            repeats: 1,
            crashes: 1,
            acts: if depth == Depth::Deep { 2 } else { 1 },
            person: &[Person::FixesForward, Person::Deletes],
            telling_waits: true,
            ..Self::BARE
        }
    }

    /// A second incident of the workload after the first, and what it may go back to; the first one's alert may go on.
    #[must_use]
    pub fn again(depth: Depth) -> Self {
        Self {
            name: "a second incident",
            start: Start::Closing,
            alerts: 2,
            in_turn: true,
            repeats: 1,
            crashes: u8::from(depth == Depth::Deep),
            acts: if depth == Depth::Deep { 2 } else { 1 },
            person: &[Person::FixesForward, Person::DeploysBadAgain, Person::RecreatesGood],
            outlasts: true,
            telling_waits: true,
            ledger_lags: true,
            bad_was_good: true,
            ..Self::BARE
        }
    }

    /// A plan that waits for an approval: people who say yes, no, or deploy, its deadline, and the alert's end, in any order.
    #[must_use]
    pub fn asking(depth: Depth) -> Self {
        Self {
            name: "an approval, two executors and people",
            start: Start::Planned,
            executors: 2,
            crashes: u8::from(depth == Depth::Deep),
            acts: if depth == Depth::Deep { 3 } else { 2 },
            person: &[Person::Approves, Person::Declines, Person::FixesForward],
            asks: true,
            telling_waits: true,
            ..Self::BARE
        }
    }

    /// What comes back is another image than the good version had, so it is put back once more by its digest; with a person between.
    #[must_use]
    pub fn moved(depth: Depth) -> Self {
        Self {
            name: "a tag that moved, two executors and a person",
            start: Start::Planned,
            executors: 2,
            crashes: 1,
            acts: if depth == Depth::Deep { 2 } else { 1 },
            person: &[Person::FixesForward, Person::RollsBack, Person::DeploysBadAgain, Person::Scales],
            tag_moved: true,
            telling_waits: true,
            ..Self::BARE
        }
    }

    /// An executor that was stopped just before its write goes on once its incident is closed and the workload has another.
    #[must_use]
    pub fn stopped(depth: Depth) -> Self {
        Self {
            name: "an executor that wakes up in the next incident",
            start: Start::Stopped,
            executors: 2,
            alerts: 2,
            in_turn: true,
            acts: u8::from(depth == Depth::Deep),
            person: &[Person::FixesForward, Person::DeploysBadAgain],
            outlasts: true,
            // The next incident is then called superseded: its executor can't tell the earlier one's write from a person's.
            leaves: &[Promise::OneActs, Promise::TrueSupersession],
            ..Self::BARE
        }
    }
}
