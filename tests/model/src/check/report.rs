//! Runs a scenario to its end and says what came of it, in words.
//!
//! Guarantees: a broken promise comes with the shortest path that stateright found to it. Must not: hide that an exploration was cut short.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::PoisonError;

use contracts::v1::Outcome;
use lastgood_core::incident::{Incident, Phase};
use stateright::{Checker, HasDiscoveries, Model, Property};

use super::action::Action;
use super::mutation::Mutation;
use super::promises::Promise;
use super::scenario::Scenario;
use super::system::{System, print_of};
use super::world::{At, World};

/// S5, which no single step can break.
const ENDS: &str = "S5: from every state, every incident can still close and every alert get its disposition";

/// What came of a scenario.
#[derive(Debug, Clone)]
pub struct Report {
    /// The scenario's name.
    pub scenario: &'static str,
    /// States that steps led to, the same ones counted each time.
    pub explored: usize,
    /// Different states.
    pub unique: usize,
    /// The longest of the shortest paths.
    pub depth: usize,
    /// Different questions that the core's `decide` was asked.
    pub decisions: usize,
    /// Whether steps can go around in a circle; where not, every run ends.
    pub circles: bool,
    /// Broken promises, each with a path that leads there.
    pub broken: BTreeMap<&'static str, String>,
    /// Interesting states that were reached.
    pub reached: BTreeSet<&'static str>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { scenario, explored, unique, depth, decisions, circles, .. } = self;
        let ends = if *circles { "steps can go around" } else { "every run ends" };
        write!(
            f,
            "{scenario}: {explored} states explored, {unique} unique, depth {depth}, {decisions} decisions of the core; {ends}"
        )?;
        for (promise, path) in &self.broken {
            write!(f, "\nBROKEN: {promise}\n{path}")?;
        }
        Ok(())
    }
}

/// Explores a scenario, with the product as it is or broken on purpose (then only until the first broken promise).
#[must_use]
pub fn run(scenario: Scenario, mutation: Option<Mutation>) -> Report {
    let system = System::new(scenario, mutation);
    let name = system.scenario.name;
    let finish = if mutation.is_some() { HasDiscoveries::AnyFailures } else { HasDiscoveries::AllFailures };
    let checker = system.checker().threads(2).finish_when(finish).spawn_bfs().join();
    let system = checker.model();
    let promises: BTreeSet<_> = Promise::ALL.iter().map(|(_, words)| *words).collect();
    let mut broken = BTreeMap::new();
    let mut reached = BTreeSet::new();
    for (property, path) in checker.discoveries() {
        if promises.contains(property) {
            broken.insert(property, tell(system, &path.into_vec()));
        } else {
            reached.insert(property);
        }
    }
    let liveness = system.graph.lock().unwrap_or_else(PoisonError::into_inner).judge();
    if let Some(way) = liveness.stuck.filter(|_| broken.is_empty()) {
        broken.insert(ENDS, tell(system, &replay(system, &way)));
    }
    Report {
        scenario: name,
        explored: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        decisions: system.book.decisions(),
        circles: liveness.circles,
        broken,
        reached,
    }
}

/// The steps between worlds of these prints.
fn replay(system: &System, way: &[u64]) -> Vec<(World, Option<Action>)> {
    let mut world = system.init_states().remove(0);
    let mut path = Vec::new();
    for print in way.iter().skip(1) {
        let step = system.next_steps(&world).into_iter().find(|(_, next)| print_of(next) == *print);
        let Some((action, next)) = step else { break };
        path.push((std::mem::replace(&mut world, next), Some(action)));
    }
    path.push((world, None));
    path
}

/// A path in words: each step, and what it changed on the log and in the cluster.
fn tell(system: &System, path: &[(World, Option<Action>)]) -> String {
    let mut text = String::new();
    for (number, pair) in path.windows(2).enumerate() {
        let [(before, Some(action)), (after, _)] = pair else { continue };
        let _ = write!(text, "  {:>2}. {action:?}", number + 1);
        for index in 0..before.log.incidents.len() {
            let [from, to] = [before, after].map(|world| system.book.fold(world.log.incidents[index]));
            if from != to {
                let _ = write!(text, "\n        log: incident {} {}", index + 1, difference(&from, &to));
            }
        }
        if before.workload != after.workload {
            let _ = write!(text, "\n        cluster: {}", shown(after));
        }
        let about = |world: &World| {
            world.executors.map(|hand| hand.and_then(|hand| if let At::About(act) = hand.at { Some(act) } else { None }))
        };
        for (replica, (was, act)) in about(before).into_iter().zip(about(after)).enumerate() {
            if let Some(act) = act.filter(|act| was != Some(*act)) {
                let _ = write!(text, "\n        executor {replica} is about to: {act:?}");
            }
        }
        text.push('\n');
    }
    text
}

fn difference(from: &Incident, to: &Incident) -> String {
    let mut text =
        if from.phase() == to.phase() { format!("{:?}", to.phase()) } else { format!("{:?} -> {:?}", from.phase(), to.phase()) };
    if to.attempts.len() > from.attempts.len() {
        let _ = write!(text, ", intent of attempt {}", to.attempt());
    }
    for (key, notice) in &to.notices {
        if !from.notices.contains_key(key) {
            let _ = write!(text, ", asked to tell {:?} of {}", notice.audience, key.1);
        }
    }
    text
}

fn shown(world: &World) -> String {
    world.workload.map_or_else(
        || "gone".to_owned(),
        |w| {
            format!(
                "v{} uid {} generation {} revision {}, stamped by incident {} attempt {}",
                w.version, w.uid, w.generation, w.revision, w.stamp, w.attempt
            )
        },
    )
}

/// Everything that is asked of every state.
pub(super) fn properties() -> Vec<Property<System>> {
    fn kept<const INDEX: usize>(_: &System, world: &World) -> bool {
        world.ghost.broken & Promise::ALL[INDEX].0.bit() == 0
    }
    let conditions: [Condition; Promise::ALL.len()] = [
        kept::<0>, kept::<1>, kept::<2>, kept::<3>, kept::<4>, kept::<5>, kept::<6>, kept::<7>, kept::<8>, kept::<9>, kept::<10>,
        kept::<11>, kept::<12>,
    ];
    let always = Promise::ALL.iter().zip(conditions).map(|((_, words), condition)| Property::always(words, condition));
    always.chain(interesting()).collect()
}

fn any(system: &System, world: &World, is: impl Fn(&Incident) -> bool) -> bool {
    world.log.incidents.iter().any(|fold| is(&system.book.fold(*fold)))
}

type Condition = fn(&System, &World) -> bool;

fn interesting() -> Vec<Property<System>> {
    let ends: [(&'static str, Condition); 6] = [
        ("completed", |system, world| any(system, world, |i| i.phase() == Phase::Closed(Outcome::Completed))),
        ("superseded", |system, world| any(system, world, |i| i.phase() == Phase::Closed(Outcome::Superseded))),
        ("halted", |system, world| any(system, world, |i| i.phase() == Phase::Closed(Outcome::Halted))),
        ("rollback failed", |system, world| any(system, world, |i| i.phase() == Phase::Closed(Outcome::RollbackFailed))),
        ("verification failed", |system, world| any(system, world, |i| i.phase() == Phase::Closed(Outcome::VerificationFailed))),
        ("unresolved", |system, world| any(system, world, |i| i.phase() == Phase::Closed(Outcome::Unresolved))),
    ];
    let others: [(&'static str, Condition); 6] = [
        ("joined", |system, world| any(system, world, |i| !i.joined.is_empty())),
        ("a second attempt", |system, world| any(system, world, |i| i.attempts.len() > 1)),
        ("taken over", |system, world| {
            let watches = |hand: &super::world::Hand| hand.at == At::Watching && !hand.written;
            world.executors.iter().flatten().any(watches) && any(system, world, |i| i.phase() == Phase::Acting)
        }),
        ("a second rollback", |_, world| world.ghost.writes.iter().all(|writes| *writes > 0)),
        ("two executors at work", |_, world| world.executors.iter().all(Option::is_some)),
        ("the team lead is called", |system, world| {
            any(system, world, |i| i.notices.keys().any(|(_, reason)| reason.contains("unacknowledged")))
        }),
    ];
    ends.into_iter().chain(others).map(|(name, condition)| Property::sometimes(name, condition)).collect()
}
