//! Chance: all of it from the server's one seed.
//!
//! Guarantee: each fault that befalls is counted. Must not: be asked in an order that anything but the run itself decides.

use std::time::Duration;

use rand::RngExt;

use super::state::State;

impl State {
    /// Whether a fault befalls; counts it.
    pub(super) fn chance(&mut self, what: &'static str, likelihood: f64) -> bool {
        let befalls = likelihood > 0.0 && self.rng.random_bool(likelihood.min(1.0));
        if befalls {
            *self.injected.entry(what).or_default() += 1;
        }
        befalls
    }

    pub(super) fn up_to(&mut self, longest: Duration) -> Duration {
        let most = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.rng.random_range(0..=most))
    }

    /// How far behind the replica is that answers a direct get.
    pub(super) fn lag(&mut self) -> Duration {
        if self.chance("stale read", self.faults.stale_read) { self.up_to(self.faults.longest_lag) } else { Duration::ZERO }
    }

    pub(super) fn travel(&mut self) -> Duration {
        let (shortest, longest) = self.faults.latency;
        let way = Duration::from_millis(self.rng.random_range(shortest..=longest.max(shortest)));
        if self.chance("delay", self.faults.delay) { way + self.up_to(self.faults.longest_delay) } else { way }
    }
}
