//! Runs a scenario to its end and says what came of it, in words.
//!
//! Guarantees: a broken promise comes with the shortest path that stateright found to it. Must not: hide that an exploration was cut short.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::PoisonError;

use contracts::HaltReason;
use contracts::v1::Outcome;
use lastgood_core::incident::{Incident, Phase};
use stateright::{Checker, HasDiscoveries, Model, Property};

use super::action::Action;
use super::mutation::Mutation;
use super::promises::{BY_A_STEP, Promise};
use super::scenario::Scenario;
use super::system::{System, print_of};
use super::world::{At, World};

/// What came of a scenario.
#[derive(Debug, Clone)]
pub struct Report {
    /// The scenario's name.
    pub scenario: &'static str,
    /// How the product was broken, where it was.
    pub mutation: Option<Mutation>,
    /// States that steps led to, the same ones counted each time.
    pub explored: usize,
    /// Different states.
    pub unique: usize,
    /// The longest of the shortest paths.
    pub depth: usize,
    /// Different questions that the core's `decide` was asked.
    pub decisions: usize,
    /// How long it took, on this machine.
    pub seconds: f64,
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

/// Explores a scenario to its end, with the product as it is.
#[must_use]
pub fn run(scenario: Scenario) -> Report {
    explore(System::new(scenario, None), None)
}

/// Explores a scenario with the product broken on purpose, until this promise is.
#[must_use]
pub fn hunt(scenario: Scenario, mutation: Mutation, promise: Promise) -> Report {
    explore(System::new(scenario, Some((mutation, promise))), Some((mutation, promise)))
}

#[expect(clippy::disallowed_methods, reason = "a measurement for people")]
fn explore(system: System, mistake: Option<(Mutation, Promise)>) -> Report {
    let began = std::time::Instant::now();
    let finish = if mistake.is_some() { HasDiscoveries::AnyFailures } else { HasDiscoveries::AllFailures };
    let checker = system.checker().threads(2).finish_when(finish).spawn_bfs().join();
    let system = checker.model();
    let promises: BTreeSet<_> = Promise::ALL.into_iter().map(Promise::words).collect();
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
    let circles = liveness.circle.is_some();
    if broken.is_empty() && mistake.is_none_or(|(_, promise)| matches!(promise, Promise::CanEnd | Promise::DoesEnd)) {
        // A clock that is read late and then on time can go around for ever; no real one does.
        let circle = liveness.circle.filter(|_| !system.scenario.late);
        for (promise, way) in [(Promise::CanEnd, liveness.stuck), (Promise::DoesEnd, circle)] {
            broken.extend(way.map(|way| (promise.words(), tell(system, &replay(system, &way)))));
        }
    }
    Report {
        scenario: system.scenario.name,
        mutation: mistake.map(|(mutation, _)| mutation),
        explored: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        decisions: system.book.decisions(),
        seconds: began.elapsed().as_secs_f64(),
        circles,
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
        world.ghost.broken & Promise::ALL[INDEX].bit() == 0
    }
    let conditions: [Condition; BY_A_STEP] = [
        kept::<0>, kept::<1>, kept::<2>, kept::<3>, kept::<4>, kept::<5>, kept::<6>, kept::<7>, kept::<8>, kept::<9>, kept::<10>,
        kept::<11>, kept::<12>, kept::<13>,
    ];
    let always = Promise::ALL.iter().zip(conditions).map(|(promise, condition)| Property::always(promise.words(), condition));
    always.chain(interesting()).collect()
}

fn any(system: &System, world: &World, is: impl Fn(&Incident) -> bool) -> bool {
    world.log.incidents.iter().any(|fold| is(&system.book.fold(*fold)))
}

fn halted(system: &System, world: &World, reason: HaltReason) -> bool {
    any(system, world, |incident| incident.halt_reason() == Some(reason))
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
    let others: [(&'static str, Condition); 11] = [
        ("put back by its digest", |system, world| {
            any(system, world, |i| i.moved.is_some() && i.phase() == Phase::Closed(Outcome::Completed))
        }),
        ("joined", |system, world| any(system, world, |i| !i.joined.is_empty())),
        ("a second attempt", |system, world| any(system, world, |i| i.attempts.len() > 1)),
        ("taken over", |system, world| {
            let watches = |hand: &super::world::Hand| hand.at == At::Watching && !hand.written;
            world.executors.iter().flatten().any(watches) && any(system, world, |i| i.phase() == Phase::Acting)
        }),
        ("a second rollback", |_, world| world.ghost.writes.iter().all(|writes| *writes > 0)),
        ("the last good was rolled back from: escalated instead", |system, world| {
            let passed_over =
                |i: &Incident| i.missing.iter().flat_map(|m| &m.considered).any(|why| why.contains("rolled back from"));
            any(system, world, |i| passed_over(i) && i.phase() == Phase::Closed(Outcome::Halted))
        }),
        ("nobody approved in time", |system, world| halted(system, world, HaltReason::ApprovalTimedOut)),
        ("resolved while it waited", |system, world| halted(system, world, HaltReason::ResolvedBeforeAction)),
        ("what is known to break", |_, world| world.ghost.left),
        ("two executors at work", |_, world| world.executors.iter().all(Option::is_some)),
        ("the team lead is called", |system, world| {
            any(system, world, |i| i.notices.keys().any(|(_, reason)| reason.contains("unacknowledged")))
        }),
    ];
    ends.into_iter().chain(others).map(|(name, condition)| Property::sometimes(name, condition)).collect()
}
