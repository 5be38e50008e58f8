//! Whoever takes one step at a time: timers, verifier, notifier, ledger, alerts, people.
//!
//! Each of them loads, decides and appends in one piece (`Incidents::execute`), which the expectation makes one step. Guarantees: what a
//! verifier or notifier has seen may be stale when it is appended. Must not: conclude what the product does not.

use contracts::v1::{self, Verdict};
use verifier::verdict::{Conclusion, conclude};

use super::action::Action;
use super::cluster;
use super::mutation::Mutation;
use super::order::Order;
use super::person::Person;
use super::promises::Promise;
use super::system::System;
use super::world::World;

/// The checks of the workload: its pods and one smoke test.
pub(super) const CHECKS: [&str; 2] = ["home", "pods"];
/// What a check may come to.
pub(super) const VERDICTS: [Verdict; 3] = [Verdict::Passed, Verdict::Failed, Verdict::NoData];

impl System {
    /// Does one of them; `None` where nothing comes of it.
    pub(super) fn other(&self, world: &mut World, action: Action) -> Option<()> {
        let appended = match action {
            Action::TimerFires { incident, deadline } => self.append(world, incident, Order::Deadline(deadline), true),
            Action::ThreadOpens { incident } => self.append(world, incident, Order::Announce, false),
            Action::CheckFinishes { incident, check, verdict } => {
                self.append(world, incident, Order::Check(CHECKS[check], VERDICTS[verdict]), false)
            }
            Action::VerifierConcludes { incident } => self.concludes(world, incident),
            Action::VerifierSupersedes { incident } => self.append(world, incident, Order::Supersede("template"), false),
            Action::NotifierSends { incident, notice } => self.sends(world, incident, notice),
            Action::NotifierRecords => self.records(world)?,
            Action::NotifierGivesUp { incident, notice } => self.append(world, incident, Order::Untold(notice), false),
            Action::NotifierCrashes => {
                world.crashes_left -= 1;
                world.notifier = None;
                true
            }
            Action::LedgerWatches => self.watches(world),
            Action::LedgerMarks { incident } => self.marks(world, incident),
            Action::AlertBegins { alert } => {
                let known = &mut world.alerts[usize::from(alert)];
                (known.began, known.notified) = (true, true);
                true
            }
            Action::AlertRepeats { alert } => {
                let known = &mut world.alerts[usize::from(alert)];
                known.repeats_left -= 1;
                known.notified = true;
                true
            }
            Action::AlertResolves { alert } => {
                let incident = world.alerts[usize::from(alert)].incident?;
                world.alerts[usize::from(alert)].ended = true;
                self.append(world, incident, Order::Resolve(alert), false);
                true
            }
            Action::AlertGoesOn { alert } => {
                let incident = world.alerts[usize::from(alert)].incident?;
                self.append(world, incident, Order::StillFiring(alert), true)
            }
            Action::PersonActs { person } => self.person_acts(world, person),
            _ => false,
        };
        appended.then_some(())
    }

    fn concludes(&self, world: &mut World, incident: u8) -> bool {
        let state = self.book.fold(world.log.incidents[usize::from(incident)]);
        let verdict = |name: &&str| state.checks.get(*name).map_or(Verdict::NoData, v1::SmokeTestFinished::verdict);
        let mut results: Vec<_> = CHECKS.iter().map(|name| ((*name).to_owned(), verdict(name))).collect();
        if self.book.is(Mutation::TrustsNoData) {
            results
                .iter_mut()
                .filter(|(_, verdict)| *verdict == Verdict::NoData)
                .for_each(|(_, verdict)| *verdict = Verdict::Passed);
        }
        let order = match conclude(&results) {
            Conclusion::Passed { .. } => Order::Pass,
            Conclusion::Failed { reason, .. } => Order::FailVerification(reason.code()),
        };
        self.append(world, incident, order, false)
    }

    fn sends(&self, world: &mut World, incident: u8, notice: u64) -> bool {
        if !self.scenario.sending {
            return self.append(world, incident, Order::Told(notice), false);
        }
        if self.book.is(Mutation::RecordsBeforeSending) {
            return self.record(world, incident, notice);
        }
        let key = notice ^ u64::from(incident);
        let sent = &mut world.ghost.sent;
        if !sent.contains(&key)
            && let Some(free) = sent.iter_mut().find(|sent| **sent == 0)
        {
            *free = key;
        }
        sent.sort_unstable();
        world.notifier = Some((incident, notice));
        true
    }

    fn records(&self, world: &mut World) -> Option<bool> {
        let (incident, notice) = world.notifier.take()?;
        self.record(world, incident, notice);
        Some(true)
    }

    fn record(&self, world: &mut World, incident: u8, notice: u64) -> bool {
        let recorded = self.append(world, incident, Order::Told(notice), false);
        if recorded && !world.ghost.sent.contains(&(notice ^ u64::from(incident))) {
            self.breaks(world, Promise::SentBeforeRecorded);
        }
        recorded
    }

    /// Whether the ledger does not know yet what runs.
    pub(super) fn unwatched(&self, world: &World) -> bool {
        let current = self.book.ledger(world.ledger).current_hash().cloned();
        world.workload.is_some_and(|there| current != Some(cluster::hash_of(there.version)))
    }

    pub(super) fn watches(&self, world: &mut World) -> bool {
        let Some(there) = world.workload else { return false };
        world.ledger = self.book.record(world.ledger, &cluster::observed(there));
        true
    }

    /// Whether an incident's intent is not marked in the ledger yet.
    pub(super) fn unmarked(&self, world: &World, incident: u8) -> bool {
        if self.book.is(Mutation::ForgetsRolledBackFrom) {
            return false;
        }
        let state = self.book.fold(world.log.incidents[usize::from(incident)]);
        let Some(attempt) = state.attempts.first() else { return false };
        let ledger = self.book.ledger(world.ledger);
        ledger.known(&attempt.intent.template_hash).is_none_or(|known| known.rolled_back_from.is_none())
    }

    pub(super) fn marks(&self, world: &mut World, incident: u8) -> bool {
        let state = self.book.fold(world.log.incidents[usize::from(incident)]);
        let Some(attempt) = state.attempts.first() else { return false };
        let version = cluster::version_with(&attempt.intent.template_hash);
        // Before the watch has seen it, it is recorded as the plan knew it.
        if self.book.ledger(world.ledger).known(&attempt.intent.template_hash).is_none() {
            let from = state.plan.as_ref().and_then(|(_, plan)| plan.from.clone());
            let observed = v1::VersionObserved { version: from, ..v1::VersionObserved::default() };
            world.ledger = self.book.record(world.ledger, &observed.into());
        }
        world.ledger = self.book.record(world.ledger, &cluster::rolled_back_from(version, incident));
        true
    }

    fn person_acts(&self, world: &mut World, person: Person) -> bool {
        world.acts_left -= 1;
        let newest = world.log.opened.saturating_sub(1);
        match person {
            Person::SwitchesOff => {
                world.paused = true;
                true
            }
            Person::Approves => self.append(world, newest, Order::Approve, false),
            Person::Declines => self.append(world, newest, Order::Decline, false),
            Person::Acknowledges => self.append(world, newest, Order::Acknowledge, false),
            _ => {
                let Some(after) = world.workload.and_then(|there| cluster::changed(there, person)) else { return false };
                world.workload = after;
                true
            }
        }
    }
}
