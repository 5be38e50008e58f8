//! Worlds that nobody can tell apart are one world: what no later step reads is forgotten.
//!
//! Each rule says why nobody reads it. Guarantees: two worlds that are made alike have the same future, as far as promises go. Must not:
//! forget what one service does between two steps of another.

use lastgood_core::incident::Phase;
use orchestrator::resume::is_undecided;

use super::system::{System, key};
use super::world::{Act, At, Hand, INCIDENTS, Wakes, World};

impl System {
    /// The one that stands for all that are like it.
    pub(super) fn make_alike(&self, world: &mut World) {
        self.forget_messages(world);
        for hand in world.executors.iter_mut().flatten() {
            self.forget_reads(hand);
        }
        self.forget_edits(world);
        // Replicas are alike: which of them has what in hand makes no difference.
        world.executors.sort_unstable_by_key(|hand| std::cmp::Reverse(hand.map(|hand| key(&hand))));
        world.orchestrators.sort_unstable_by_key(|case| std::cmp::Reverse(case.map(|case| key(&case))));
        if !self.ledger_is_read(world) {
            world.ledger = self.blank;
        } else if !self.scenario.ledger_lags {
            self.ledger_keeps_up(world);
        }
    }

    /// Messages that nothing comes of but their acknowledgement, whenever they are taken: what made them so never changes back.
    fn forget_messages(&self, world: &mut World) {
        for index in 0..INCIDENTS {
            let incident = self.book.fold(world.log.incidents[index]);
            if matches!(incident.phase(), Phase::Ended(_) | Phase::Closed(_)) {
                world.wakes[index] = Wakes::default();
            }
            // Once decided, always decided.
            world.undecided[index] &= is_undecided(&incident);
        }
        for (alert, index) in (0_u8..).zip(0..self.scenario.alerts) {
            // Once disposed of, always disposed of: what its incident makes of an alert that goes on is a step of its own.
            if !self.is_new(world, alert) {
                let known = &mut world.alerts[index];
                (known.notified, known.repeats_left) = (false, 0);
            }
        }
    }

    /// What an executor has read and will read again before it uses it, or will not use.
    fn forget_reads(&self, hand: &mut Hand) {
        let begun = || self.book.fold(hand.fold).attempt() > 0;
        match hand.at {
            // The workload comes next; whether the log has moved is only asked after an intent.
            At::LogRead => {
                hand.moved &= begun();
                hand.live = None;
            }
            At::Finishing => (hand.moved, hand.live) = (false, None),
            // A conflict leads back to the log as it was read.
            At::About(Act::Write(_)) => hand.moved &= begun(),
            // These are decided by the log's latest fold, whatever was read; afterwards everything is read again, or nothing.
            At::About(Act::Supersede(_) | Act::Halt(_) | Act::GiveUp(_) | Act::CleanUp | Act::TellStatus) => {
                (hand.moved, hand.live, hand.fold) = (false, None, self.nothing);
            }
            // Whatever these lead to reads the log first, or appends to its latest.
            At::WorkloadRead | At::About(Act::Intend(_) | Act::Watch | Act::Annotate) | At::Watching => hand.moved = false,
        }
    }

    /// The edits that an incident's plan knew are compared by its supersession and its writes; after its end nobody supersedes it, and only
    /// an executor that has it in hand may still write.
    fn forget_edits(&self, world: &mut World) {
        for (incident, index) in (0_u8..).zip(0..INCIDENTS) {
            let ended = matches!(self.book.fold(world.log.incidents[index]).phase(), Phase::Ended(_) | Phase::Closed(_));
            if ended && !world.executors.iter().flatten().any(|hand| hand.incident == incident) {
                world.ghost.edits[index] = 0;
            }
        }
    }

    /// Whether anybody will still read the ledger: who hears a new alert, or resumes an undecided incident. Who has read it holds what it read.
    pub(super) fn ledger_is_read(&self, world: &World) -> bool {
        self.is_alert_new(world) || world.undecided.contains(&true)
    }

    /// Whether anybody will still look at the workload, or at the pause switch: an executor with something in hand, or yet to come, and the
    /// orchestrators as above; a verifier while it verifies. Where none does, a person's change makes no difference.
    pub(super) fn workload_is_read(&self, world: &World) -> bool {
        let ended = |phase| matches!(phase, Phase::Absent | Phase::Ended(_) | Phase::Closed(_));
        self.is_alert_new(world)
            || world.executors.iter().any(Option::is_some)
            || world.orchestrators.iter().any(Option::is_some)
            || world.log.incidents.iter().any(|fold| !ended(self.book.fold(*fold).phase()))
    }

    /// Whether an alert has no disposition yet, begun or not.
    fn is_alert_new(&self, world: &World) -> bool {
        (0_u8..).zip(0..self.scenario.alerts).any(|(alert, _)| self.is_new(world, alert))
    }

    fn ledger_keeps_up(&self, world: &mut World) {
        for incident in 0..world.log.opened {
            if self.unmarked(world, incident) {
                self.marks(world, incident);
            }
        }
        if self.unwatched(world) {
            self.watches(world);
        }
    }
}
