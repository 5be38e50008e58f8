//! Virtual time: tokio's paused clock read as UTC, and each process's own idea of it.
//!
//! Guarantees: moves only as the runtime moves it; a process's clock differs by its skew, which can jump. Must not: read the host's clock.

use std::sync::atomic::{AtomicI64, Ordering};

use chassis::Clock;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// When every simulation begins.
const EPOCH: i64 = 1_800_000_000;

/// The true time of a simulation.
#[derive(Debug, Clone, Copy)]
pub struct VirtualTime {
    origin: Instant,
}

impl VirtualTime {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let since = SignedDuration::try_from(self.origin.elapsed()).unwrap_or(SignedDuration::MAX);
        Timestamp::from_second(EPOCH).unwrap_or_default().saturating_add(since).unwrap_or(Timestamp::MAX)
    }

    /// Milliseconds since the start.
    #[must_use]
    pub fn millis(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// One host's clock.
#[derive(Debug)]
pub struct HostClock {
    time: VirtualTime,
    skew: AtomicI64,
}

impl HostClock {
    /// A clock that is off by this many milliseconds.
    #[must_use]
    pub const fn new(time: VirtualTime, skew: i64) -> Self {
        Self { time, skew: AtomicI64::new(skew) }
    }

    /// Is off by this many milliseconds from now on.
    pub fn jump(&self, skew: i64) {
        self.skew.store(skew, Ordering::SeqCst);
    }
}

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        let skew = SignedDuration::from_millis(self.skew.load(Ordering::SeqCst));
        self.time.now().saturating_add(skew).unwrap_or(Timestamp::MAX)
    }
}
