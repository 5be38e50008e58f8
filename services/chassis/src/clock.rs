//! Time and randomness: the one place where lastgood touches the ambient ones, so that everything else can be replayed.
//!
//! Guarantees: ids from one [`Ids`] are `UUIDv7` of its clock and differ from each other; a seeded one repeats itself. Must not:
//! be bypassed: `clippy.toml` bans the ambient functions everywhere else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contracts::{EventId, IncidentId};
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::{Builder, Uuid};

/// Tells the time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Now, UTC.
    fn now(&self) -> Timestamp;
}

/// The host's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one reader of the host's clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that stands still until it is told otherwise: for tests and the simulator.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock that shows this time.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self(Mutex::new(now))
    }

    /// Moves on by this long; stays at the last representable instant beyond it.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.saturating_add(by).unwrap_or(Timestamp::MAX);
    }

    /// Shows this time from now on.
    pub fn set(&self, to: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes ids and random delays; cheap to clone, clones share one source of randomness.
#[derive(Clone)]
pub struct Ids {
    clock: Arc<dyn Clock>,
    random: Arc<Mutex<StdRng>>,
    /// Apart, so that how often something was tried again changes no id.
    delays: Arc<Mutex<StdRng>>,
}

impl std::fmt::Debug for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ids").field("clock", &self.clock).finish_non_exhaustive()
    }
}

impl Ids {
    /// Ids that nobody can foresee.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let fresh = || Arc::new(Mutex::new(StdRng::from_rng(&mut rand::rng())));
        Self { clock, random: fresh(), delays: fresh() }
    }

    /// Ids that repeat with the seed and the clock.
    #[must_use]
    pub fn seeded(clock: Arc<dyn Clock>, seed: u64) -> Self {
        let seeded = |seed| Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
        Self { clock, random: seeded(seed), delays: seeded(!seed) }
    }

    /// A new event's id, the `ce-id`.
    #[must_use]
    pub fn event(&self) -> EventId {
        EventId::from_uuid(self.uuid())
    }

    /// A new incident's id.
    #[must_use]
    pub fn incident(&self) -> IncidentId {
        IncidentId::from_uuid(self.uuid())
    }

    /// A `UUIDv7` of now.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        let millis = u64::try_from(self.clock.now().as_millisecond()).unwrap_or(0);
        let mut random = [0_u8; 10];
        self.random.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut random);
        Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    /// A length between half of `around` and one and a half of it, so that replicas do not act in step.
    #[must_use]
    pub fn jitter(&self, around: Duration) -> Duration {
        let random = self.delays.lock().unwrap_or_else(PoisonError::into_inner).next_u32();
        around / 2 + around.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Arc<ManualClock> {
        Arc::new(ManualClock::new("2026-11-21T10:00:00Z".parse().unwrap()))
    }

    #[test]
    fn a_seed_repeats_and_ids_differ() {
        let (one, two) = (Ids::seeded(clock(), 7), Ids::seeded(clock(), 7));
        let first = one.event();
        assert_eq!(first, two.event());
        assert_ne!(first, one.event());
        assert_ne!(Ids::new(clock()).incident(), Ids::new(clock()).incident());
    }

    #[test]
    fn ids_sort_by_the_clock() {
        let clock = clock();
        let ids = Ids::seeded(clock.clone(), 1);
        let earlier = ids.incident();
        clock.advance(Duration::from_millis(1));
        assert!(earlier < ids.incident());
        assert_eq!(earlier.uuid().get_version_num(), 7);
    }

    #[test]
    fn jitter_stays_around() {
        let ids = Ids::seeded(clock(), 3);
        for _ in 0..100 {
            let length = ids.jitter(Duration::from_secs(2));
            assert!(length >= Duration::from_secs(1) && length <= Duration::from_secs(3), "{length:?}");
        }
    }
}
