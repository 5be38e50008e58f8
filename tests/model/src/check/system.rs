//! The model: what each step makes of the world.
//!
//! Guarantees: an append is what the core's `decide` made of the latest fold, and wakes whom the product's consumers wake. Must not: know
//! which steps are possible (`possible`), judge them (`judge`), or say which worlds are alike (`alike`).

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use contracts::v1::Action as Act;
use contracts::{DeadlineKind, Fact};
use lastgood_core::incident::Incident;
use orchestrator::ledger::LedgerView;
use stateright::{Model, Property};

use super::action::Action;
use super::book::{Book, FoldId, LedgerId};
use super::liveness::Graph;
use super::mutation::Mutation;
use super::order::Order;
use super::promises::Promise;
use super::report;
use super::scenario::Scenario;
use super::start::to_the_end;
use super::world::{Case, Wake, World};

/// Deadlines after which an executor may have something to do.
const WAKING: [DeadlineKind; 3] = [DeadlineKind::Announce, DeadlineKind::Approve, DeadlineKind::Grace];

/// One scenario, with the product's decisions.
pub(super) struct System {
    pub(super) scenario: Scenario,
    pub(super) book: Book,
    /// The fold of no facts.
    pub(super) nothing: FoldId,
    /// The ledger of no facts.
    pub(super) blank: LedgerId,
    pub(super) graph: Mutex<Graph>,
    /// The promises that are judged, as bits.
    pub(super) judged: u32,
}

/// The same in every run.
pub(super) fn print_of(world: &World) -> u64 {
    key(world)
}

pub(super) fn key<T: Hash>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl System {
    /// The product as it is, judged by every promise that the scenario doesn't leave; or broken on purpose, judged by the one promise that
    /// the mistake is to break, so that what it breaks first doesn't hide what it breaks next.
    pub(super) fn new(scenario: Scenario, mistake: Option<(Mutation, Promise)>) -> Self {
        let book = Book::new(mistake.map(|(mutation, _)| mutation));
        let nothing = book.keep(Incident::default());
        let blank = book.keep_ledger(LedgerView::default());
        let judged = match mistake {
            Some((_, promise)) => promise.bit(),
            None => scenario.leaves.iter().fold(u32::MAX, |judged, left| judged & !left.bit()),
        };
        Self { scenario, book, nothing, blank, graph: Mutex::default(), judged }
    }

    /// Appends what the core makes of a command on the latest fold; whether it made anything.
    pub(super) fn append(&self, world: &mut World, incident: u8, order: Order, late: bool) -> bool {
        let index = usize::from(incident);
        let before = world.log.incidents[index];
        let Some(decided) = self.book.decide(before, incident, order, late) else { return false };
        world.log.incidents[index] = decided.fold;
        log_moves(world);
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
                Fact::DeadlinePassed(f) if WAKING.iter().any(|kind| f.deadline == kind.code()) => {
                    world.wakes[index].add(Wake::DeadlinePassed);
                }
                // What else a person may do leaves the executor nothing to do.
                Fact::PersonActed(f) if f.action() == Act::Approve => world.wakes[index].add(Wake::PersonActed),
                _ => {}
            }
        }
        true
    }

    pub(super) fn step(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match (action, last.executors[0]) {
            (Action::ExecutorReports { .. }, Some(hand)) if self.scenario.swift => {
                for step in to_the_end(hand.incident) {
                    self.apply(&mut world, step)?;
                }
            }
            _ => self.apply(&mut world, action)?,
        }
        self.make_alike(&mut world);
        Some(world)
    }

    fn apply(&self, world: &mut World, action: Action) -> Option<()> {
        match action {
            Action::ExecutorTakes { replica, incident, wake, workload_first } => {
                self.executor_takes(world, replica, (incident, wake), workload_first);
            }
            Action::ExecutorLooks { replica, late } => self.executor_looks(world, replica, late)?,
            Action::ExecutorActs { replica, late } => self.executor_acts(world, replica, late)?,
            Action::ExecutorSees { replica } => self.executor_sees(world, replica)?,
            Action::ExecutorReports { replica } => self.executor_reports(world, replica)?,
            Action::ExecutorGivesUp { replica } => self.executor_gives_up(world, replica)?,
            Action::ExecutorCrashes { replica } => {
                world.executors[replica] = None;
                world.crashes_left -= 1;
            }
            Action::OrchestratorHears { replica, alert } => self.orchestrator_hears(world, replica, alert),
            Action::OrchestratorReads { replica } => self.orchestrator_reads(world, replica)?,
            Action::OrchestratorSettles { replica } => self.orchestrator_settles(world, replica)?,
            Action::OrchestratorResumes { replica, incident } => self.orchestrator_resumes(world, replica, incident),
            Action::OrchestratorDecides { replica } => self.orchestrator_decides(world, replica)?,
            Action::OrchestratorStores { replica } => self.orchestrator_stores(world, replica)?,
            Action::OrchestratorCrashes { replica } => {
                world.orchestrators[replica] = None;
                world.crashes_left -= 1;
            }
            other => self.other(world, other)?,
        }
        Some(())
    }
}

/// Whoever has read the log and is to append, or act, on what it said then will find that it has moved on.
fn log_moves(world: &mut World) {
    world.executors.iter_mut().flatten().for_each(|hand| hand.moved = true);
    for case in world.orchestrators.iter_mut().flatten() {
        if let Case::Settling { moved, .. } = case {
            *moved = true;
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
        if world.ghost.broken == 0 {
            self.possible(world, actions);
        }
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
