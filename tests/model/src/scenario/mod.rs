//! What happens in a simulation besides the services: a script made from the seed, and the people and accidents that carry it out.
//!
//! Guarantees: the script depends on the seed alone. Must not: look at what the services do; accidents don't either.

pub mod people;
pub mod play;
pub mod settings;

use std::time::Duration;

use testbed::workload::Behaviour;

use crate::nats::Faults;
use crate::world::dice::Dice;
use crate::world::processes::{Process, Service};

/// How long things go on happening.
pub const UNREST: Duration = Duration::from_mins(5);

/// A workload of the simulation.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// Pods.
    pub replicas: u64,
    /// `lastgood.dev/mode`.
    pub mode: &'static str,
    /// Whether it has a smoke test besides the pods check.
    pub smoke: bool,
    /// After this second of the simulation its first version can't become ready any more.
    pub perishes: Option<u64>,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A workload gets this tag, for the first time or as the next version.
    Deploy(usize, String),
    /// Its owner goes back to the template before the present one.
    ManualRollback(usize),
    /// Its owner puts the last bad version back on purpose.
    PutBadBack(usize),
    /// Its owner pauses its rollout, or lets it go on.
    PauseRollout(usize, bool),
    /// An autoscaler scales it.
    Scale(usize, u64),
    /// It is deleted.
    Delete(usize),
    /// Its alert fires whatever its pods do, or not any more.
    Stubborn(usize, bool),
    /// Somebody throws the pause switch.
    Switch(bool),
    /// Somebody acknowledges whatever is open.
    Acknowledge,
    /// A process is killed.
    Kill(String),
    /// A host's clock jumps to this many milliseconds off.
    Jump(String, i64),
    /// NATS is away for this long.
    NatsAway(Duration),
    /// NATS restarts.
    NatsRestarts,
    /// The API server is away for this long.
    ApiAway(Duration),
    /// All watches are told 410.
    ExpireWatches,
    /// The pager is away for this long.
    PagerAway(Duration),
    /// The chat is away for this long.
    ChatAway(Duration),
    /// Prometheus is away for this long.
    PrometheusAway(Duration),
    /// Bytes that mean nothing are stored as an alert notification.
    Damage,
}

/// The whole script.
#[derive(Debug, Clone)]
pub struct Script {
    /// How rough the weather is, 0 to 1.
    pub rough: f64,
    /// How rough the bus is, 0 to 1.
    pub bus_rough: f64,
    /// The workloads.
    pub workloads: Vec<Workload>,
    /// The processes.
    pub processes: Vec<Process>,
    /// What happens when, in milliseconds, in order.
    pub actions: Vec<(u64, Action)>,
}

impl Script {
    /// What goes wrong on the bus.
    #[must_use]
    pub fn bus_faults(&self) -> Faults {
        if self.bus_rough > 0.0 { Faults::all(0.01 * self.bus_rough) } else { Faults { latency: (0, 5), ..Faults::none() } }
    }
}

/// The script of a seed.
#[must_use]
pub fn script(seed: u64) -> Script {
    let dice = Dice::of(seed, "script");
    let rough = *dice.pick(&[0.0, 0.2, 0.5, 1.0]);
    let bus_rough = *dice.pick(&[0.0, rough, rough]);
    let count = *dice.pick(&[1, 1, 1, 2, 2, 3, 4]);
    let workloads: Vec<Workload> = (0..count).map(|index| workload(&dice, index)).collect();
    let processes = processes(&dice, rough);
    let mut actions = Vec::new();
    for (index, workload) in workloads.iter().enumerate() {
        lifetime(&dice, index, workload, &mut actions);
    }
    people(&dice, &mut actions);
    if rough > 0.0 {
        accidents(&dice, rough, &processes, &mut actions);
    }
    // Stable: what falls on the same instant keeps its order.
    actions.sort_by_key(|(at, _)| *at);
    Script { rough, bus_rough, workloads, processes, actions }
}

fn workload(dice: &Dice, index: usize) -> Workload {
    Workload {
        name: format!("web-{index}"),
        replicas: dice.between(1, 3),
        mode: if dice.chance(0.93) { "auto" } else { "observe" },
        smoke: dice.chance(0.7),
        perishes: dice.chance(0.08).then_some(35),
    }
}

fn processes(dice: &Dice, rough: f64) -> Vec<Process> {
    let skewed = if rough > 0.0 && dice.chance(0.15) { Some(*dice.pick(&Service::ALL)) } else { None };
    let mut all = Vec::new();
    for service in Service::ALL {
        let replicas = if skewed == Some(service) || dice.chance(0.4) { 2 } else { 1 };
        for replica in 0..replicas {
            let unknown =
                (skewed == Some(service) && replica == 1).then(|| *dice.pick(&["announced", "pods_ready", "alert_joined"]));
            let delay = dice.millis(0, 3_000);
            all.push(Process { name: format!("{}-{replica}", service.name()), service, delay, unknown });
        }
    }
    all
}

/// A workload's versions, and what its owner does about the bad ones.
fn lifetime(dice: &Dice, index: usize, workload: &Workload, actions: &mut Vec<(u64, Action)>) {
    let mut at = dice.between(500, 6_000);
    let first = if dice.chance(0.06) { "v1-unhealthy-smoke" } else { "v1" };
    actions.push((at, Action::Deploy(index, first.to_owned())));
    if dice.chance(0.3) {
        at += dice.between(8_000, 20_000);
        actions.push((at, Action::Deploy(index, "v2".to_owned())));
    }
    let mut version = 3;
    at = dice.between(36_000, 60_000);
    for _ in 0..*dice.pick(&[1, 1, 1, 2, 2, 3]) {
        let bad = dice.pick(&[
            Behaviour::Failing,
            Behaviour::Failing,
            Behaviour::Failing,
            Behaviour::Crashing,
            Behaviour::NeverReady,
            Behaviour::Unpullable,
        ]);
        actions.push((at, Action::Deploy(index, format!("v{version}-{bad}"))));
        version += 1;
        owner(dice, index, at, &mut version, actions);
        at += dice.between(50_000, 130_000);
    }
    if dice.chance(0.12) {
        let from = dice.between(50_000, 150_000);
        actions.push((from, Action::Stubborn(index, true)));
        if dice.chance(0.5) {
            actions.push((from + dice.between(20_000, 150_000), Action::Stubborn(index, false)));
        }
    }
    for _ in 0..dice.between(0, 2) {
        actions.push((dice.between(30_000, 250_000), Action::Scale(index, dice.between(0, 5).max(workload.replicas.min(1)))));
    }
}

/// What its owner does within the two minutes after a bad rollout.
fn owner(dice: &Dice, index: usize, bad_at: u64, version: &mut u32, actions: &mut Vec<(u64, Action)>) {
    for _ in 0..*dice.pick(&[0, 0, 0, 1, 1, 2, 3]) {
        let at = bad_at + dice.between(1_000, 60_000);
        let action = match dice.between(0, 7) {
            0 | 1 => {
                *version += 1;
                Action::Deploy(index, format!("v{version}"))
            }
            2 => {
                *version += 1;
                Action::Deploy(index, format!("v{version}-{}", Behaviour::Failing))
            }
            3 | 4 => Action::ManualRollback(index),
            5 => Action::PutBadBack(index),
            6 => {
                actions.push((at + dice.between(5_000, 60_000), Action::PauseRollout(index, false)));
                Action::PauseRollout(index, true)
            }
            _ => {
                *version += 1;
                actions.push((at + dice.between(2_000, 30_000), Action::Deploy(index, format!("v{version}"))));
                Action::Delete(index)
            }
        };
        actions.push((at, action));
    }
}

fn people(dice: &Dice, actions: &mut Vec<(u64, Action)>) {
    for _ in 0..dice.between(0, 3) {
        actions.push((dice.between(60_000, 290_000), Action::Acknowledge));
    }
    if dice.chance(0.12) {
        let at = dice.between(30_000, 120_000);
        actions.push((at, Action::Switch(true)));
        if dice.chance(0.7) {
            actions.push((at + dice.between(10_000, 90_000), Action::Switch(false)));
        }
    }
}

/// Crashes, outages, jumps and damage.
fn accidents(dice: &Dice, rough: f64, processes: &[Process], actions: &mut Vec<(u64, Action)>) {
    let last = u64::try_from(UNREST.as_millis()).unwrap_or_default();
    let most = if rough > 0.4 { 10 } else { 3 };
    for _ in 0..dice.between(0, most) {
        actions.push((dice.between(20_000, last), Action::Kill(dice.pick(processes).name.clone())));
    }
    if dice.chance(0.15) {
        // All at once.
        let at = dice.between(40_000, last);
        actions.extend(processes.iter().map(|process| (at, Action::Kill(process.name.clone()))));
    }
    for _ in 0..dice.between(0, 3) {
        let at = dice.between(20_000, last);
        let length = dice.millis(500, 60_000);
        let short = dice.millis(500, 30_000);
        let action = match dice.between(0, 7) {
            0 => Action::NatsAway(length),
            1 => Action::NatsRestarts,
            2 => Action::ApiAway(length),
            3 => Action::ExpireWatches,
            4 => Action::PagerAway(short),
            5 => Action::ChatAway(short),
            6 => Action::PrometheusAway(length),
            _ => Action::Damage,
        };
        actions.push((at, action));
    }
    if dice.chance(0.25) {
        let skew = i64::try_from(dice.between(0, 8_000)).unwrap_or_default() - 4_000;
        actions.push((dice.between(20_000, last), Action::Jump(dice.pick(processes).name.clone(), skew)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_one_script() {
        for seed in 0..50 {
            let (one, two) = (script(seed), script(seed));
            assert_eq!(one.actions, two.actions);
            assert!(one.actions.is_sorted_by_key(|(at, _)| *at));
        }
        assert_ne!(script(1).actions, script(2).actions);
    }
}
