//! The world around the services: time, weather, people, providers, processes.
//!
//! Guarantees: everything that happens follows from the seed; what matters is in the history. Must not: know what the services should do;
//! the invariants do.

pub mod alerting;
pub mod describe;
pub mod dice;
pub mod gate;
pub mod history;
pub mod people;
pub mod probes;
pub mod processes;
mod programs;
pub mod sabotage;
mod tampered;
pub mod time;
pub mod traps;
pub mod weather;
pub mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use testbed::sim::memory::MemoryCluster;
use tokio::sync::{Notify, mpsc};

use self::alerting::HttpCall;
use self::dice::Dice;
use self::history::{History, What};
use self::sabotage::Saboteur;
use self::time::VirtualTime;
use self::traps::Traps;
use self::weather::Weather;
use crate::nats;

/// The name of the one cluster.
pub const CLUSTER: &str = "default";
/// The one namespace of all workloads.
pub const NAMESPACE: &str = "shop";

/// Everything that processes, people and faults share.
pub struct World {
    /// The seed that all of it follows from.
    pub seed: u64,
    /// True time.
    pub time: VirtualTime,
    /// Kubernetes.
    pub cluster: MemoryCluster,
    /// NATS.
    pub nats: nats::Server,
    /// What fails now, and how often.
    pub weather: Mutex<Weather>,
    /// What happened.
    pub history: Mutex<History>,
    /// The alert-ingest replicas that listen now.
    pub ingests: Mutex<BTreeMap<String, mpsc::UnboundedSender<HttpCall>>>,
    /// Alerts that fire whatever the pods do, by workload.
    pub stubborn: Mutex<BTreeMap<String, bool>>,
    /// What Prometheus holds to be firing.
    pub rules: Mutex<alerting::Rules>,
    /// What springs when a process comes to a certain operation.
    pub traps: Arc<Traps>,
    /// The mistake that processes make on purpose, if any.
    pub saboteur: Saboteur,
    /// How often each fault has befallen, by kind.
    pub befallen: Mutex<BTreeMap<&'static str, u64>>,
    /// Told when something is broken.
    pub broken: Notify,
}

impl World {
    /// The dice of this label.
    #[must_use]
    pub fn dice(&self, label: &str) -> Dice {
        Dice::of(self.seed, label)
    }

    /// Records an event.
    pub fn record(&self, what: What) {
        if !lock(&self.history).record(self.time.now(), what) {
            self.broken.notify_one();
        }
    }

    /// Records what somebody did or what changed.
    pub fn note(&self, what: impl Into<String>) {
        self.record(What::Noted(what.into()));
    }

    /// Counts a fault.
    pub fn count(&self, fault: &'static str) {
        *lock(&self.befallen).entry(fault).or_default() += 1;
    }

    /// Whether a fault of this probability befalls; counts it.
    pub fn befalls(&self, fault: &'static str, dice: &Dice, probability: f64) -> bool {
        let befalls = dice.chance(probability);
        if befalls {
            self.count(fault);
        }
        befalls
    }

    /// Whether something is broken: the run need not go on.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        lock(&self.history).violation().is_some()
    }

    /// The weather of this moment.
    #[must_use]
    pub fn sky(&self) -> Weather {
        lock(&self.weather).clone()
    }
}

/// Locks; a panic elsewhere has ended the run anyway.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A world that is shared.
pub type Shared = Arc<World>;
