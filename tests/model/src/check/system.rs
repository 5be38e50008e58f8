//! The model: which steps are possible, what each makes of the world, and which promise it breaks.
//!
//! Guarantees: the same world has the same steps in the same order. A promise is judged by what happened to log and cluster, never by
//! what a service knew. Must not: leave out a step because it would be harmless.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use contracts::{DeadlineKind, Fact, v1};
use lastgood_core::incident::{Incident, Phase};
use orchestrator::ledger::LedgerView;
use stateright::{Model, Property};

use super::action::Action;
use super::book::{Book, Decided, FoldId, Order};
use super::cluster;
use super::executor::is_intent;
use super::liveness::Graph;
use super::mutation::Mutation;
use super::others::CHECKS;
use super::promises::Promise;
use super::report;
use super::scenario::{Scenario, Start};
use super::world::{Alert, At, Ghost, INCIDENTS, Log, REPLICAS, Wake, Wakes, Workload, World};

/// One scenario, with the product's decisions.
pub(super) struct System {
    pub(super) scenario: Scenario,
    pub(super) book: Book,
    /// The fold of no facts.
    pub(super) nothing: FoldId,
    pub(super) graph: Mutex<Graph>,
}

/// Notes that a promise is broken.
pub(super) const fn breaks(world: &mut World, promise: Promise) {
    world.ghost.broken |= promise.bit();
}

/// The same in every run.
pub(super) fn print_of(world: &World) -> u64 {
    key(world)
}

fn key<T: Hash>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl System {
    pub(super) fn new(scenario: Scenario, mutation: Option<Mutation>) -> Self {
        let book = Book::new(mutation);
        let nothing = book.keep(Incident::default());
        Self { scenario, book, nothing, graph: Mutex::default() }
    }

    /// Appends what the core makes of a command on the latest fold; whether it made anything.
    pub(super) fn append(&self, world: &mut World, incident: u8, order: Order, late: bool) -> bool {
        let index = usize::from(incident);
        let before = world.log.incidents[index];
        let Some(decided) = self.book.decide(before, incident, world.log.last, order, late) else { return false };
        world.log.incidents[index] = decided.fold;
        world.log.last += u16::try_from(decided.facts.len()).unwrap_or(u16::MAX);
        self.judge_facts(world, incident, &decided);
        for fact in decided.facts.iter() {
            match fact {
                Fact::AnomalyDetected(_) => {
                    world.log.opened = world.log.opened.max(incident + 1);
                    world.undecided[index] = true;
                }
                Fact::RollbackPlanned(_) => world.wakes[index].add(Wake::Planned),
                Fact::Announced(_) => world.wakes[index].add(Wake::Announced),
                Fact::VerificationPassed(_) => world.wakes[index].add(Wake::Passed),
                Fact::DeadlinePassed(f) if f.deadline == DeadlineKind::Announce.code() => {
                    world.wakes[index].add(Wake::DeadlinePassed);
                }
                _ => {}
            }
        }
        true
    }

    fn judge_facts(&self, world: &mut World, incident: u8, decided: &Decided) {
        let index = usize::from(incident);
        let after = self.book.fold(decided.fold);
        if decided.illegal {
            breaks(world, Promise::LegalPhases);
        }
        for fact in decided.facts.iter() {
            match fact {
                Fact::AnomalyDetected(_) => {
                    let another = |(other, fold): (usize, &FoldId)| other != index && self.book.fold(*fold).is_open();
                    if world.log.incidents.iter().enumerate().any(another) {
                        breaks(world, Promise::OneIncident);
                    }
                }
                Fact::Superseded(_) => {
                    let edits = world.ghost.edits[index];
                    if world.workload.is_some_and(|there| there.edits == edits) {
                        breaks(world, Promise::TrueSupersession);
                    }
                }
                Fact::RollbackHalted(_) if world.ghost.writes[index] > 0 => breaks(world, Promise::TrueHalt),
                Fact::VerificationPassed(_) => {
                    let passed =
                        |name: &&str| after.checks.get(*name).is_some_and(|check| check.verdict() == v1::Verdict::Passed);
                    if !CHECKS.iter().all(passed) {
                        breaks(world, Promise::NoDataIsNotHealthy);
                    }
                }
                Fact::IncidentClosed(_) => {
                    let given_up = after.deadlines_passed.contains(&DeadlineKind::Notify);
                    let told = after.notices.values().all(|notice| notice.settled_at.is_some()) || given_up;
                    if after.notices.is_empty() || !told {
                        breaks(world, Promise::SomebodyIsAsked);
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
    pub(super) fn mark_intent(&self, world: &mut World, incident: u8) {
        let state = self.book.fold(world.log.incidents[usize::from(incident)]);
        if let Some(attempt) = state.attempts.last() {
            world.ghost.rolled_back_from |= 1 << cluster::version_with(&attempt.intent.template_hash);
        }
    }

    /// Judges a write of lastgood that the server accepted over what was there.
    pub(super) fn judge_write(&self, world: &mut World, incident: u8, there: Workload, written: Workload) {
        let index = usize::from(incident);
        let state = self.book.fold(world.log.incidents[index]);
        if there.version != written.version {
            world.ghost.writes[index] += 1;
        }
        if world.ghost.writes[index] > 1 {
            breaks(world, Promise::OneWrite);
        }
        let names = |intent: &v1::RollbackStarted| {
            intent.attempt == u32::from(written.attempt)
                && intent.workload_uid == cluster::uid(there)
                && intent.workload_generation == i64::from(there.generation)
                && intent.template_hash == cluster::hash_of(there.version)
                && intent.target_template_hash == cluster::hash_of(written.version)
        };
        if !state.attempts.iter().any(|attempt| names(&attempt.intent)) {
            breaks(world, Promise::IntentFirst);
        }
        if there.edits != world.ghost.edits[index] {
            breaks(world, Promise::NotOverwritten);
        }
        if world.ghost.rolled_back_from & (1 << written.version) != 0 {
            breaks(world, Promise::NeverBack);
        }
        if state.halted.is_some() {
            breaks(world, Promise::TrueHalt);
        }
        let another = |(other, fold): (usize, &FoldId)| other != index && self.book.fold(*fold).is_open();
        if world.log.incidents.iter().enumerate().any(another) {
            breaks(world, Promise::OneActs);
        }
    }

    /// Whether everything that was begun has come to its end: no incident open, no alert without its disposition.
    pub(super) fn is_over(&self, world: &World) -> bool {
        world.log.incidents.iter().all(|fold| !self.book.fold(*fold).is_open())
            && world.alerts.iter().all(|alert| !alert.began || alert.dispositions > 0)
    }

    fn first(&self) -> World {
        let facts =
            [(Workload { version: 1, revision: 1, ..cluster::fresh() }, true), (cluster::fresh(), self.scenario.bad_was_good)];
        let mut ledger = self.book.keep_ledger(LedgerView::default());
        for (workload, proved) in facts {
            ledger = self.book.record(ledger, &cluster::observed(workload));
            if proved {
                ledger = self.book.record(ledger, &cluster::available(workload.version));
            }
        }
        World {
            log: Log { last: 0, opened: 0, incidents: [self.nothing; INCIDENTS] },
            workload: Some(cluster::fresh()),
            ledger,
            paused: self.scenario.paused,
            executors: [None; REPLICAS],
            orchestrators: [None; REPLICAS],
            notifier: None,
            alerts: [Alert { repeats_left: self.scenario.repeats, ..Alert::default() }; INCIDENTS],
            wakes: [Wakes::default(); INCIDENTS],
            undecided: [false; INCIDENTS],
            crashes_left: 0,
            acts_left: 0,
            ghost: Ghost::default(),
        }
    }

    /// The first world, brought to where the scenario starts by the product's own steps.
    fn started(&self) -> World {
        let mut world = self.first();
        let mut steps: Vec<Action> = Vec::new();
        if self.scenario.start != Start::Alert {
            steps.extend([
                Action::AlertBegins { alert: 0 },
                Action::OrchestratorHears { replica: 0, alert: 0 },
                Action::OrchestratorReads { replica: 0 },
                Action::OrchestratorSettles { replica: 0 },
                Action::OrchestratorStores { replica: 0 },
                Action::OrchestratorResumes { replica: 0, incident: 0 },
                Action::ThreadOpens { incident: 0 },
            ]);
        }
        if self.scenario.start == Start::Shifted {
            steps.push(Action::ExecutorTakes { replica: 0, incident: 0, wake: Wake::Announced, workload_first: false });
            let (look, act) =
                (Action::ExecutorLooks { replica: 0, late: false }, Action::ExecutorActs { replica: 0, late: false });
            steps.extend([look, act, look, act]);
            steps.extend([Action::ExecutorReports { replica: 0 }; 4]);
            if !self.scenario.ledger_lags {
                steps.extend([Action::LedgerMarks { incident: 0 }, Action::LedgerWatches]);
            }
        }
        for step in steps {
            world = self.step(&world, step).unwrap_or(world);
        }
        match self.scenario.start {
            Start::Alert => {}
            // The plan came before the thread: its message asked for nothing yet.
            Start::Planned => world.wakes[0].acknowledge(Wake::Planned),
            Start::Shifted => world.wakes = [Wakes::default(); INCIDENTS],
        }
        world.crashes_left = self.scenario.crashes;
        world.acts_left = self.scenario.acts;
        world
    }

    fn step(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::ExecutorTakes { replica, incident, wake, workload_first } => {
                self.executor_takes(&mut world, replica, (incident, wake), workload_first);
            }
            Action::ExecutorLooks { replica, late } => self.executor_looks(&mut world, replica, late)?,
            Action::ExecutorActs { replica, late } => self.executor_acts(&mut world, replica, late)?,
            Action::ExecutorSees { replica } => self.executor_sees(&mut world, replica)?,
            Action::ExecutorReports { replica } => self.executor_reports(&mut world, replica)?,
            Action::ExecutorGivesUp { replica } => self.executor_gives_up(&mut world, replica)?,
            Action::ExecutorCrashes { replica } => {
                world.executors[replica] = None;
                world.crashes_left -= 1;
            }
            Action::OrchestratorHears { replica, alert } => self.orchestrator_hears(&mut world, replica, alert),
            Action::OrchestratorReads { replica } => self.orchestrator_reads(&mut world, replica)?,
            Action::OrchestratorSettles { replica } => self.orchestrator_settles(&mut world, replica)?,
            Action::OrchestratorResumes { replica, incident } => self.orchestrator_resumes(&mut world, replica, incident),
            Action::OrchestratorDecides { replica } => self.orchestrator_decides(&mut world, replica)?,
            Action::OrchestratorStores { replica } => self.orchestrator_stores(&mut world, replica)?,
            Action::OrchestratorCrashes { replica } => {
                world.orchestrators[replica] = None;
                world.crashes_left -= 1;
            }
            other => self.other(&mut world, other)?,
        }
        self.settle(&mut world);
        Some(world)
    }

    /// What needs no step of its own: messages that ask for nothing any more, and a ledger that keeps up.
    fn settle(&self, world: &mut World) {
        for index in 0..INCIDENTS {
            let phase = self.book.fold(world.log.incidents[index]).phase();
            if matches!(phase, Phase::Ended(_) | Phase::Closed(_)) {
                world.wakes[index] = Wakes::default();
                world.undecided[index] = false;
            }
        }
        // Replicas are alike: which of them has what in hand makes no difference.
        world.executors.sort_unstable_by_key(|hand| std::cmp::Reverse(hand.map(|hand| key(&hand))));
        world.orchestrators.sort_unstable_by_key(|case| std::cmp::Reverse(case.map(|case| key(&case))));
        if !self.scenario.ledger_lags {
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
}

impl Model for System {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let first = self.started();
        let over = self.is_over(&first);
        self.graph.lock().unwrap_or_else(PoisonError::into_inner).begin(print_of(&first), over);
        vec![first]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.ghost.broken != 0 {
            return;
        }
        for replica in 0..self.scenario.executors {
            executor_actions(self, world, replica, actions);
        }
        for replica in 0..self.scenario.orchestrators {
            orchestrator_actions(self, world, replica, actions);
        }
        self.other_actions(world, actions);
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let next = self.step(last, action).filter(|next| next != last)?;
        let (from, to, over) = (print_of(last), print_of(&next), self.is_over(&next));
        self.graph.lock().unwrap_or_else(PoisonError::into_inner).edge(from, to, over);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        report::properties()
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
            if system.is_due(hand.fold) {
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
    use super::world::Case;
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
        Case::Heard { .. } => Action::OrchestratorReads { replica },
        Case::Settling { .. } => Action::OrchestratorSettles { replica },
        Case::Resuming { .. } => Action::OrchestratorDecides { replica },
        Case::Decided { .. } => Action::OrchestratorStores { replica },
    });
    if world.crashes_left > 0 {
        actions.push(Action::OrchestratorCrashes { replica });
    }
}
