//! The judge: which promise a fact or a write breaks.
//!
//! Guarantees: what is judged is what happened to log and cluster, never what a service knew. Must not: change anything but the record.

use contracts::{DeadlineKind, Fact, FailureReason, v1};
use lastgood_core::incident::Notice;

use super::book::{Decided, FoldId};
use super::cluster;
use super::executor::is_intent;
use super::others::CHECKS;
use super::promises::Promise;
use super::system::System;
use super::world::{Workload, World};

impl System {
    /// Notes that a promise is broken, if it is one that is judged here.
    pub(super) fn breaks(&self, world: &mut World, promise: Promise) {
        world.ghost.broken |= promise.bit() & self.judged;
        world.ghost.left |= self.scenario.leaves.contains(&promise);
    }

    pub(super) fn judge_facts(&self, world: &mut World, incident: u8, decided: &Decided) {
        let index = usize::from(incident);
        let after = self.book.fold(decided.fold);
        if decided.illegal {
            self.breaks(world, Promise::LegalPhases);
        }
        for fact in decided.facts.iter() {
            match fact {
                Fact::AnomalyDetected(_) => {
                    let another = |(other, fold): (usize, &FoldId)| other != index && self.book.fold(*fold).is_open();
                    if world.log.incidents.iter().enumerate().any(another) {
                        self.breaks(world, Promise::OneIncident);
                    }
                }
                Fact::ApprovalRequested(_) => world.ghost.asked |= 1 << incident,
                Fact::PersonActed(f) if f.action() == v1::Action::Approve => world.ghost.approved |= 1 << incident,
                Fact::Superseded(_) => {
                    let edits = world.ghost.edits[index];
                    if world.workload.is_some_and(|there| there.edits == edits) {
                        self.breaks(world, Promise::TrueSupersession);
                    }
                }
                Fact::RollbackHalted(_) if world.ghost.writes[index] > 0 => self.breaks(world, Promise::TrueHalt),
                Fact::VerificationPassed(_) => {
                    let passed =
                        |name: &&str| after.checks.get(*name).is_some_and(|check| check.verdict() == v1::Verdict::Passed);
                    if !CHECKS.iter().all(passed) {
                        self.breaks(world, Promise::NoDataIsNotHealthy);
                    }
                }
                Fact::IncidentClosed(_) => {
                    let given_up = after.deadlines_passed.contains(&DeadlineKind::Notify);
                    // A page that says what goes on after the close is asked for with it.
                    let of_the_end = |notice: &&Notice| notice.request.reason != FailureReason::FiringAfterClose.code();
                    let mut notices = after.notices.values().filter(of_the_end).peekable();
                    let asked = notices.peek().is_some();
                    if !asked || !(notices.all(|notice| notice.settled_at.is_some()) || given_up) {
                        self.breaks(world, Promise::SomebodyIsAsked);
                    }
                }
                _ => {}
            }
        }
        if decided.facts.iter().any(is_intent) {
            self.mark_intent(world, incident);
        }
    }

    /// The version that an intent names is one that was rolled back from.
    fn mark_intent(&self, world: &mut World, incident: u8) {
        let state = self.book.fold(world.log.incidents[usize::from(incident)]);
        if let Some(attempt) = state.attempts.last() {
            world.ghost.rolled_back_from |= 1 << cluster::version_with(&attempt.intent.version);
        }
    }

    /// Judges a write of lastgood that the server accepted over what was there.
    pub(super) fn judge_write(&self, world: &mut World, incident: u8, there: Workload, written: Workload) {
        let index = usize::from(incident);
        let state = self.book.fold(world.log.incidents[index]);
        if there.version != written.version {
            world.ghost.writes[index] += 1;
        }
        if world.ghost.writes[index] > 1 + u8::from(state.moved.is_some()) {
            self.breaks(world, Promise::OneWrite);
        }
        let names = |intent: &v1::RollbackStarted| {
            intent.attempt == u32::from(written.attempt)
                && intent.workload_uid == cluster::uid(there)
                && intent.workload_generation == i64::from(there.generation)
                && intent.template_hash == cluster::hash_of(there.version)
                && intent.target_template_hash == cluster::hash_of(written.version)
        };
        if !state.attempts.iter().any(|attempt| names(&attempt.intent)) {
            self.breaks(world, Promise::IntentFirst);
        }
        if world.ghost.asked & !world.ghost.approved & (1 << incident) != 0 {
            self.breaks(world, Promise::AskedFirst);
        }
        if there.edits != world.ghost.edits[index] {
            self.breaks(world, Promise::NotOverwritten);
        }
        if world.ghost.rolled_back_from & (1 << written.version) != 0 {
            self.breaks(world, Promise::NeverBack);
        }
        if state.halted.is_some() {
            self.breaks(world, Promise::TrueHalt);
        }
        let another = |(other, fold): (usize, &FoldId)| other != index && self.book.fold(*fold).is_open();
        if world.log.incidents.iter().enumerate().any(another) {
            self.breaks(world, Promise::OneActs);
        }
    }

    /// Whether everything that was begun has come to its end: no incident open, no alert without its disposition.
    pub(super) fn is_over(&self, world: &World) -> bool {
        world.log.incidents.iter().all(|fold| !self.book.fold(*fold).is_open())
            && world.alerts.iter().all(|alert| !alert.began || alert.dispositions > 0)
    }
}
