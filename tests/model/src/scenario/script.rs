//! The script of a seed: who runs, what is deployed, who does what about it, and what goes wrong when.
//!
//! Guarantees: it depends on the seed alone. Must not: roll dice for anything that is decided while the world runs.

use std::sync::Arc;
use std::time::Duration;

use contracts::subjects::streams;
use contracts::{Fact, LedgerFact, OccurrenceFact};
use testbed::workload::Behaviour;

use super::{Action, Ambush, Script, UNREST, Workload};
use crate::world::dice::Dice;
use crate::world::gate::{CrashPoint, Edge};
use crate::world::processes::{Process, Service};
use crate::world::traps::Trap;

/// The script of a seed.
#[must_use]
pub fn script(seed: u64) -> Script {
    let dice = Dice::of(seed, "script");
    let rough = *dice.pick(&[0.0, 0.2, 0.5, 1.0]);
    let bus_rough = *dice.pick(&[0.0, rough, rough]);
    let count = *dice.pick(&[1, 1, 1, 2, 2, 3, 4]);
    let workloads: Vec<Workload> = (0..count).map(|index| workload(seed, &dice, index)).collect();
    let mut actions = Vec::new();
    let processes = processes(seed, &dice, rough, &mut actions);
    let relapses = Dice::of(seed, "relapses").chance(0.08);
    for (index, workload) in workloads.iter().enumerate() {
        if relapses && index == 0 {
            relapse(&dice, index, &mut actions);
        } else {
            lifetime(&dice, index, workload, &mut actions);
        }
    }
    people(&dice, &mut actions);
    tags(&Dice::of(seed, "tags"), &mut actions);
    if rough > 0.0 {
        accidents(&dice, rough, &processes, &mut actions);
        clocks(&Dice::of(seed, "clocks"), &processes, &mut actions);
    }
    // Stable: what falls on the same instant keeps its order.
    actions.sort_by_key(|(at, _)| *at);
    let ambushes = ambushes(&Dice::of(seed, "ambushes"), workloads.len());
    Script { rough, bus_rough, workloads, processes, actions, ambushes }
}

/// The moments at which a person's change hurts most.
const MOMENTS: [(&str, &str, Edge); 8] = [
    ("executor", "dry-run deployments", Edge::Before),
    ("executor", "dry-run deployments", Edge::After),
    ("executor", "append rollback_started", Edge::After),
    ("executor", "write deployments", Edge::Before),
    ("executor", "write deployments", Edge::After),
    ("executor", "append pods_ready", Edge::After),
    ("verifier", "append smoke_test_finished", Edge::After),
    ("orchestrator", "append rollback_planned", Edge::Before),
];

/// People who act just when lastgood does.
fn ambushes(dice: &Dice, workloads: usize) -> Vec<Ambush> {
    let mut all = Vec::new();
    for number in 0..*dice.pick(&[0_u64, 0, 1, 1, 2]) {
        let (process, operation, edge) = *dice.pick(&MOMENTS);
        let spare = u32::try_from(dice.between(0, 2)).unwrap_or_default();
        let point = CrashPoint { operation: operation.to_owned(), spare, edge };
        let last = u64::try_from(workloads).unwrap_or(1).saturating_sub(1);
        let index = usize::try_from(dice.between(0, last)).unwrap_or_default();
        let action = match dice.between(0, 7) {
            0 | 1 => Action::Deploy(index, format!("v9{number}")),
            2 => Action::Deploy(index, format!("v9{number}-{}", Behaviour::Failing)),
            3 | 4 => Action::ManualRollback(index),
            5 => Action::PutBadBack(index),
            6 => Action::PauseRollout(index, true),
            _ => Action::Scale(index, 4),
        };
        all.push(Ambush { trap: Trap { process: process.to_owned(), point }, action });
    }
    all
}

fn workload(seed: u64, dice: &Dice, index: usize) -> Workload {
    Workload {
        name: format!("web-{index}"),
        replicas: dice.between(1, 3),
        mode: if dice.chance(0.93) { "auto" } else { "observe" },
        smoke: dice.chance(0.7),
        perishes: dice.chance(0.08).then_some(35),
        pinned: Dice::of(seed, &format!("pinned {index}")).chance(0.25),
    }
}

/// The processes, and the actions that upgrade the old ones.
fn processes(seed: u64, dice: &Dice, rough: f64, actions: &mut Vec<(u64, Action)>) -> Vec<Process> {
    let mut all = Vec::new();
    let some_old = rough > 0.0 && dice.chance(0.3);
    for service in Service::ALL {
        let is_old = some_old && dice.chance(0.4);
        // A replica that knows everything goes on; now and then none does for a while.
        let all_old = is_old && dice.chance(0.3);
        let replicas = if dice.chance(0.4) || (is_old && !all_old) { 2 } else { 1 };
        let unknown = old_binary(dice, &Dice::of(seed, &format!("old {}", service.name())));
        for replica in 0..replicas {
            let (name, delay) = (format!("{}-{replica}", service.name()), dice.millis(0, 3_000));
            let mut process = Process { name, service, delay, unknown: Arc::default(), upgraded: Duration::ZERO };
            if all_old || (is_old && replica == 1) {
                let at = dice.between(60_000, 280_000);
                (process.unknown, process.upgraded) = (Arc::clone(&unknown), Duration::from_millis(at));
                actions.push((at, Action::Upgrade(process.name.clone())));
            }
            all.push(process);
        }
    }
    all
}

/// The event types that an older release does not know.
fn old_binary(dice: &Dice, others: &Dice) -> Arc<[&'static str]> {
    let mut unknown: Vec<_> = (0..dice.between(1, 3)).map(|_| *dice.pick(Fact::EVENT_TYPES)).collect();
    for types in [OccurrenceFact::EVENT_TYPES, LedgerFact::EVENT_TYPES] {
        unknown.extend(others.chance(0.3).then(|| *others.pick::<&str>(types)));
    }
    unknown.into()
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

/// Two bad versions, each rolled back from; then its owner puts the first one back by mistake, and goes on to a third before anybody
/// notices. Of all versions that were ever available the newest is the one that was put back.
fn relapse(dice: &Dice, index: usize, actions: &mut Vec<(u64, Action)>) {
    let bad = |version: u32| Action::Deploy(index, format!("v{version}-{}", Behaviour::Failing));
    let again = dice.between(205_000, 230_000);
    actions.extend([(2_000, Action::Deploy(index, "v1".to_owned())), (36_000, bad(3)), (dice.between(118_000, 130_000), bad(4))]);
    actions.extend([(again, bad(3)), (again + dice.between(3_000, 5_000), bad(5))]);
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

/// The tag of the first good version is pushed again: whoever pulls it from then on gets something else.
fn tags(dice: &Dice, actions: &mut Vec<(u64, Action)>) {
    if dice.chance(0.15) {
        let to = dice.pick::<&str>(&["v1-failing", "v1-failing", "v1-crashing", "v1-never-ready", "v2"]);
        actions.push((dice.between(34_000, 200_000), Action::MoveTag("v1", to)));
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
        let action = match dice.between(0, 11) {
            0 => Action::NatsAway(length),
            1 => Action::NatsRestarts,
            2 => Action::ApiAway(length),
            3 => Action::ExpireWatches,
            // Longer than both together are tried before a page is recorded as owed.
            4 => Action::PagerAway(short * 5),
            5 => Action::ChatAway(short * 5),
            6 => Action::PrometheusAway(length),
            7 => Action::PodsUnreachable(length),
            8 => Action::DamageFact(dice.pick::<&str>(Fact::EVENT_TYPES)),
            9 | 10 => Action::Full(
                dice.pick::<&str>(&[streams::INCIDENTS, streams::INCIDENTS, streams::ALERTS, streams::LEDGER]),
                length,
            ),
            _ => Action::Damage,
        };
        actions.push((at, action));
    }
    if dice.chance(0.25) {
        let skew = i64::try_from(dice.between(0, 8_000)).unwrap_or_default() - 4_000;
        actions.push((dice.between(20_000, last), Action::Jump(dice.pick(processes).name.clone(), skew)));
    }
}

/// Hosts whose clocks were never right, and clocks that are set while somebody works, some of them put right again.
fn clocks(dice: &Dice, processes: &[Process], actions: &mut Vec<(u64, Action)>) {
    let last = u64::try_from(UNREST.as_millis()).unwrap_or_default();
    let off = |most: u64| i64::try_from(dice.between(0, 2 * most)).unwrap_or_default() - i64::try_from(most).unwrap_or_default();
    if dice.chance(0.25) {
        actions.extend(processes.iter().map(|process| (0, Action::Jump(process.name.clone(), off(2_000)))));
    }
    if dice.chance(0.2) {
        for _ in 0..dice.between(1, 3) {
            let (process, at) = (&dice.pick(processes).name, dice.between(20_000, last));
            let most = *dice.pick(&[1_000, 10_000, 60_000, 600_000]);
            actions.push((at, Action::Jump(process.clone(), off(most))));
            if dice.chance(0.5) {
                actions.push((at + dice.between(5_000, 60_000), Action::Jump(process.clone(), 0)));
            }
        }
    }
}
