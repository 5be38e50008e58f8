//! Randomness: every choice of a simulation comes from one of these, and all of these from one seed.
//!
//! Guarantees: equal seeds and labels roll the same; the rolls of one label do not depend on how often another is rolled. Must not: be
//! shared between things whose order is not fixed by virtual time.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// A source of random choices; clones share it.
#[derive(Debug, Clone)]
pub struct Dice(Arc<Mutex<StdRng>>);

/// A seed of its own for each label.
#[must_use]
pub fn derive(seed: u64, label: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, label).hash(&mut hasher);
    hasher.finish()
}

impl Dice {
    /// The dice of this label.
    #[must_use]
    pub fn of(seed: u64, label: &str) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(derive(seed, label)))))
    }

    /// Whether something of this probability happens.
    #[must_use]
    pub fn chance(&self, probability: f64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random_bool(probability.clamp(0.0, 1.0))
    }

    /// A number from `low` to `high`, both included.
    #[must_use]
    pub fn between(&self, low: u64, high: u64) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random_range(low..=high.max(low))
    }

    /// A length from `low` to `high` milliseconds.
    #[must_use]
    pub fn millis(&self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    /// One of these; there must be one.
    #[must_use]
    pub fn pick<'a, T>(&self, choices: &'a [T]) -> &'a T {
        let last = u64::try_from(choices.len()).unwrap_or(u64::MAX).saturating_sub(1);
        &choices[usize::try_from(self.between(0, last)).unwrap_or_default()]
    }
}
