//! Which steps are possible.
//!
//! Guarantees: the same world has the same steps in the same order. Must not: leave out a step because it would be harmless, but where
//! it says why nobody can tell the difference.

use lastgood_core::incident::{Phase, pending_deadlines};

use super::action::Action;
use super::book::notice_key;
use super::cluster;
use super::mutation::Mutation;
use super::others::{CHECKS, VERDICTS};
use super::person::Person;
use super::scenario::Start;
use super::system::System;
use super::world::{At, Case, Wake, World};

impl System {
    /// Every step that is possible now.
    pub(super) fn possible(&self, world: &World, actions: &mut Vec<Action>) {
        for replica in 0..self.scenario.executors {
            executor_actions(self, world, replica, actions);
        }
        for replica in 0..self.scenario.orchestrators {
            orchestrator_actions(self, world, replica, actions);
        }
        self.other_actions(world, actions);
    }

    /// What timers, verifier, notifier, ledger and alerts may do.
    fn other_actions(&self, world: &World, actions: &mut Vec<Action>) {
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
        if self.scenario.ledger_lags && self.ledger_is_read(world) {
            self.ledger_actions(world, actions);
        }
        self.alert_actions(world, actions);
        let in_turn = !self.scenario.in_turn || self.is_closed(world, 0);
        if world.acts_left > 0 && in_turn {
            for person in self.scenario.person {
                if self.may_act(world, *person) {
                    actions.push(Action::PersonActs { person: *person });
                }
            }
        }
    }

    fn timer_actions(&self, world: &World, incident: u8, actions: &mut Vec<Action>) {
        let state = self.book.fold(world.log.incidents[usize::from(incident)]);
        let phase = state.phase();
        if matches!(phase, Phase::AwaitingApproval | Phase::InGrace | Phase::Planned) && state.announced.is_none() {
            actions.push(Action::ThreadOpens { incident });
        }
        if self.book.is(Mutation::LosesTimers) {
            return;
        }
        // Where no clock runs late, only what nobody works on has to end by its timer: the telling; and if that is asked for, the wait for
        // the alert, or for an executor that was stopped.
        let waits = match phase {
            Phase::Ended(_) | Phase::AwaitingApproval | Phase::InGrace => true,
            Phase::Mitigated => self.scenario.outlasts && state.status_updated && state.cleaned,
            Phase::Acting => self.scenario.outlasts,
            _ => false,
        };
        let counts = self.scenario.late || waits;
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
            // After the close an end only keeps it from going on, and it may as well not go on: nobody reads the end itself.
            let over = matches!(phase, Some(Phase::AwaitingApproval | Phase::Mitigated | Phase::Ended(_)));
            let may_end =
                over || (self.scenario.start == Start::Shifted && phase.is_some_and(|phase| !matches!(phase, Phase::Closed(_))));
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
            Person::SwitchesOff => !world.paused && self.workload_is_read(world),
            Person::Approves => open.is_some_and(|incident| incident.phase() == Phase::AwaitingApproval),
            Person::Declines => open.is_some_and(|incident| matches!(incident.phase(), Phase::AwaitingApproval | Phase::Planned)),
            Person::Acknowledges => {
                open.is_some_and(|incident| matches!(incident.phase(), Phase::Ended(_)) && incident.acknowledged.is_none())
            }
            _ => {
                let changes = world.workload.is_some_and(|there| cluster::changed(there, person).is_some());
                changes && self.workload_is_read(world)
            }
        }
    }
}

fn executor_actions(system: &System, world: &World, replica: usize, actions: &mut Vec<Action>) {
    let Some(hand) = world.executors[replica] else {
        // The one after the first idle one would do the same.
        if replica > 0 && world.executors[replica - 1].is_none() {
            return;
        }
        for incident in 0..world.log.opened {
            for wake in Wake::ALL.into_iter().filter(|wake| world.wakes[usize::from(incident)].has(*wake)) {
                actions.push(Action::ExecutorTakes { replica, incident, wake, workload_first: false });
                if matches!(wake, Wake::Planned | Wake::Announced) {
                    actions.push(Action::ExecutorTakes { replica, incident, wake, workload_first: true });
                }
            }
        }
        return;
    };
    let clocks: &[bool] = if system.scenario.late { &[false, true] } else { &[false] };
    match hand.at {
        At::WorkloadRead | At::LogRead | At::Finishing => {
            actions.extend(clocks.iter().map(|late| Action::ExecutorLooks { replica, late: *late }));
        }
        At::About(_) => actions.extend(clocks.iter().map(|late| Action::ExecutorActs { replica, late: *late })),
        At::Watching => {
            if hand.live != Some(world.workload) {
                actions.push(Action::ExecutorSees { replica });
            }
            if system.due(&system.book.fold(hand.fold), hand.live.flatten()).is_some() {
                actions.push(Action::ExecutorReports { replica });
            }
            if system.scenario.late {
                actions.push(Action::ExecutorGivesUp { replica });
            }
        }
    }
    if world.crashes_left > 0 {
        actions.push(Action::ExecutorCrashes { replica });
    }
}

fn orchestrator_actions(system: &System, world: &World, replica: usize, actions: &mut Vec<Action>) {
    let Some(case) = world.orchestrators[replica] else {
        if replica > 0 && world.orchestrators[replica - 1].is_none() {
            return;
        }
        let alerts = (0..u8::try_from(system.scenario.alerts).unwrap_or_default())
            .filter(|alert| world.alerts[usize::from(*alert)].notified);
        actions.extend(alerts.map(|alert| Action::OrchestratorHears { replica, alert }));
        let undecided = (0..world.log.opened).filter(|incident| world.undecided[usize::from(*incident)]);
        actions.extend(undecided.map(|incident| Action::OrchestratorResumes { replica, incident }));
        return;
    };
    actions.push(match case {
        Case::Heard { .. } | Case::Settling { looks_again: true, .. } => Action::OrchestratorReads { replica },
        Case::Settling { .. } => Action::OrchestratorSettles { replica },
        Case::Resuming { .. } => Action::OrchestratorDecides { replica },
        Case::Decided { .. } => Action::OrchestratorStores { replica },
    });
    if world.crashes_left > 0 {
        actions.push(Action::OrchestratorCrashes { replica });
    }
}
