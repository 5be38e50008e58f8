//! What happens in a simulation besides the services: a script made from the seed, and the people and accidents that carry it out.
//!
//! Guarantees: the script depends on the seed alone. Must not: look at what the services do; accidents don't either.

pub mod people;
pub mod play;
mod script;
pub mod settings;

use std::time::Duration;

use crate::nats::Faults;
use crate::world::processes::Process;
use crate::world::traps::Trap;

pub use script::script;

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
    /// Whether its Service selects one version, which its owner changes with each deployment.
    pub pinned: bool,
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
    /// A tag is pushed again, with what another tag stands for.
    MoveTag(&'static str, &'static str),
    /// Its alert fires whatever its pods do, or not any more.
    Stubborn(usize, bool),
    /// Somebody throws the pause switch.
    Switch(bool),
    /// Somebody acknowledges whatever is open.
    Acknowledge,
    /// A process is killed.
    Kill(String),
    /// A process is restarted with a newer binary.
    Upgrade(String),
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
    /// The verifier can't reach the pods for this long.
    PodsUnreachable(Duration),
    /// Bytes that mean nothing are stored as an alert notification.
    Damage,
    /// Bytes that mean nothing are stored as a fact of this type of an incident that is open.
    DamageFact(&'static str),
    /// A stream is full for this long.
    Full(&'static str, Duration),
}

/// Something that happens when a process comes to a certain operation.
#[derive(Debug, Clone)]
pub struct Ambush {
    /// When.
    pub trap: Trap,
    /// What.
    pub action: Action,
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
    /// What happens at the worst moment.
    pub ambushes: Vec<Ambush>,
}

impl Script {
    /// What goes wrong on the bus.
    #[must_use]
    pub fn bus_faults(&self) -> Faults {
        if self.bus_rough > 0.0 { Faults::all(0.01 * self.bus_rough) } else { Faults { latency: (0, 5), ..Faults::none() } }
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
