//! Whoever takes one step at a time: timers, verifier, notifier, ledger, alerts, people.
//!
//! Each of them loads, decides and appends in one piece (`Incidents::execute`), which the expectation makes one step. Guarantees: what a
//! verifier or notifier has seen may be stale when it is appended. Must not: conclude what the product does not.

use contracts::v1::Verdict;
use lastgood_core::incident::{Phase, pending_deadlines};
use verifier::verdict::{Conclusion, conclude};

use super::action::Action;
use super::book::{Order, notice_key};
use super::cluster;
use super::executor::due;
use super::mutation::Mutation;
use super::promises::Promise;
use super::scenario::{Person, Start};
use super::system::{System, breaks};
use super::world::World;

/// The checks of the workload: its pods and one smoke test.
pub(super) const CHECKS: [&str; 2] = ["home", "pods"];
const VERDICTS: [Verdict; 3] = [Verdict::Passed, Verdict::Failed, Verdict::NoData];

impl System {
    /// What timers, verifier, notifier, ledger and alerts may do.
    pub(super) fn other_actions(&self, world: &World, actions: &mut Vec<Action>) {
        for incident in 0..world.log.opened {
            // How an incident that has ended is told makes no difference to an executor (it refuses both alike), nor the executor to how
            // it is told: where that is all that there is to see, the one waits for the other.
            let phase = self.book.fold(world.log.incidents[usize::from(incident)]).phase();
            if self.scenario.telling_waits && matches!(phase, Phase::Ended(_)) && world.executors.iter().any(Option::is_some) {
                continue;
            }
            self.timer_actions(world, incident, actions);
            self.verifier_actions(world, incident, actions);
            self.notifier_actions(world, incident, actions);
        }
        if world.notifier.is_some() {
            actions.push(Action::NotifierRecords);
            if world.crashes_left > 0 {
                actions.push(Action::NotifierCrashes);
            }
        }
        if self.scenario.ledger_lags {
            self.ledger_actions(world, actions);
        }
        self.alert_actions(world, actions);
        let in_turn = !self.scenario.in_turn || self.is_closed(world, 0);
        if world.acts_left > 0 && in_turn && !self.nobody_looks(world) {
            for person in self.scenario.person {
                if self.may_act(world, *person) {
                    actions.push(Action::PersonActs { person: *person });
                }
            }
        }
    }

    /// Whether nobody will ever look at the workload again, so that a person's change makes no difference.
    fn nobody_looks(&self, world: &World) -> bool {
        let ended = |phase| matches!(phase, Phase::Ended(_) | Phase::Closed(_));
        self.scenario.telling_waits
            && self.scenario.alerts == 1
            && world.executors.iter().all(Option::is_none)
            && ended(self.book.fold(world.log.incidents[0]).phase())
    }

    fn timer_actions(&self, world: &World, incident: u8, actions: &mut Vec<Action>) {
        let state = self.book.fold(world.log.incidents[usize::from(incident)]);
        let phase = state.phase();
        if phase == Phase::Planned && state.announced.is_none() {
            actions.push(Action::ThreadOpens { incident });
        }
        if self.book.is(Mutation::LosesTimers) {
            return;
        }
        // Where no clock runs late, only what nobody works on has to end by its timer.
        let counts = self.scenario.late || matches!(phase, Phase::Ended(_));
        for (deadline, _) in pending_deadlines(&state).into_iter().filter(|_| counts) {
            actions.push(Action::TimerFires { incident, deadline });
        }
    }

    fn verifier_actions(&self, world: &World, incident: u8, actions: &mut Vec<Action>) {
        let state = self.book.fold(world.log.incidents[usize::from(incident)]);
        if state.phase() != Phase::Verifying {
            return;
        }
        let verdicts = if self.scenario.verdicts { VERDICTS.len() } else { 1 };
        for (check, name) in CHECKS.iter().enumerate().filter(|(_, name)| !state.checks.contains_key(**name)) {
            // One of the two may fail, the other may see nothing.
            let may_be = |verdict: &usize| *verdict == 0 || *verdict == check + 1;
            actions.extend((0..verdicts).filter(may_be).map(|verdict| Action::CheckFinishes { incident, check, verdict }));
            debug_assert!(CHECKS.contains(name), "it is one of them");
        }
        if CHECKS.iter().all(|name| state.checks.contains_key(*name)) {
            actions.push(Action::VerifierConcludes { incident });
        }
        let ours =
            |workload| executor::attempt::Live::of(&cluster::object(workload)).is_as_written_by(cluster::incident_id(incident));
        if !world.workload.is_some_and(ours) {
            actions.push(Action::VerifierSupersedes { incident });
        }
    }

    fn notifier_actions(&self, world: &World, incident: u8, actions: &mut Vec<Action>) {
        let state = self.book.fold(world.log.incidents[usize::from(incident)]);
        for (key, notice) in state.notices.iter().filter(|(_, notice)| notice.settled_at.is_none()) {
            let notice_id = notice_key(key);
            debug_assert!(!notice.delivered, "what was delivered is settled");
            if world.notifier.is_none() {
                actions.push(Action::NotifierSends { incident, notice: notice_id });
                if self.scenario.sending {
                    actions.push(Action::NotifierGivesUp { incident, notice: notice_id });
                }
            }
        }
    }

    fn ledger_actions(&self, world: &World, actions: &mut Vec<Action>) {
        if self.unwatched(world) {
            actions.push(Action::LedgerWatches);
        }
        actions.extend(
            (0..world.log.opened)
                .filter(|incident| self.unmarked(world, *incident))
                .map(|incident| Action::LedgerMarks { incident }),
        );
    }

    fn alert_actions(&self, world: &World, actions: &mut Vec<Action>) {
        for alert in 0..u8::try_from(self.scenario.alerts).unwrap_or_default() {
            let known = world.alerts[usize::from(alert)];
            let phase = known.incident.map(|incident| self.book.fold(world.log.incidents[usize::from(incident)]).phase());
            if !known.began && self.scenario.in_turn && alert > 0 && !self.is_closed(world, 0) {
                continue;
            }
            if !known.began {
                actions.push(Action::AlertBegins { alert });
                continue;
            }
            if !known.notified && known.repeats_left > 0 && !known.ended {
                actions.push(Action::AlertRepeats { alert });
            }
            let over = matches!(phase, Some(Phase::Mitigated | Phase::Ended(_) | Phase::Closed(_)));
            let may_end = over || (self.scenario.start == Start::Shifted && phase.is_some());
            if may_end && !known.ended {
                actions.push(Action::AlertResolves { alert });
            }
            if matches!(phase, Some(Phase::Closed(_))) && !known.ended {
                actions.push(Action::AlertGoesOn { alert });
            }
        }
    }

    fn is_closed(&self, world: &World, incident: usize) -> bool {
        matches!(self.book.fold(world.log.incidents[incident]).phase(), Phase::Closed(_))
    }

    fn may_act(&self, world: &World, person: Person) -> bool {
        let open = world.log.opened.checked_sub(1).map(|newest| self.book.fold(world.log.incidents[usize::from(newest)]));
        match person {
            Person::SwitchesOff => !world.paused,
            Person::Declines => open.is_some_and(|incident| incident.phase() == Phase::Planned),
            Person::Acknowledges => {
                open.is_some_and(|incident| matches!(incident.phase(), Phase::Ended(_)) && incident.acknowledged.is_none())
            }
            _ => world.workload.is_some_and(|there| cluster::changed(there, person).is_some()),
        }
    }

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
        let verdict = |name: &&str| state.checks.get(*name).map_or(Verdict::NoData, contracts::v1::SmokeTestFinished::verdict);
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
            breaks(world, Promise::SentBeforeRecorded);
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
        ledger.known(&attempt.intent.template_hash).is_some_and(|known| known.rolled_back_from.is_none())
    }

    pub(super) fn marks(&self, world: &mut World, incident: u8) -> bool {
        let state = self.book.fold(world.log.incidents[usize::from(incident)]);
        let Some(attempt) = state.attempts.first() else { return false };
        let version = cluster::version_with(&attempt.intent.template_hash);
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
            Person::Declines => self.append(world, newest, Order::Decline, false),
            Person::Acknowledges => self.append(world, newest, Order::Acknowledge, false),
            _ => {
                let Some(after) = world.workload.and_then(|there| cluster::changed(there, person)) else { return false };
                world.workload = after;
                true
            }
        }
    }

    /// Whether the executor has something to report.
    pub(super) fn is_due(&self, fold: super::book::FoldId) -> bool {
        due(&self.book.fold(fold)).is_some()
    }
}
