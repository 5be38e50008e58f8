//! Trying until it is delivered, until it can't be, or until it is too late.
//!
//! Guarantees: at least one try; what the provider asked for (`Retry-After`) is honoured, and a wish beyond the deadline ends the
//! tries at once, so that the fallback gets its turn; a stop of the process ends the waiting, never a try in flight. Must not:
//! know what is delivered.

use std::time::Duration;

use chassis::clock::Ids;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::channels::SendError;
use crate::rules::backoff;

/// Why nothing was delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// The provider will never take it as it is.
    #[error("{reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// The tries are over.
    #[error("{reason} (after {tries} tries)")]
    GaveUp {
        /// What the last try said.
        reason: String,
        /// How many there were.
        tries: u32,
    },
    /// The process stops; somebody else takes the message up.
    #[error("the notifier is stopping")]
    Stopping,
}

/// Tries again and again.
#[derive(Debug, Clone)]
pub struct Persistence {
    ids: Ids,
    stopping: CancellationToken,
}

impl Persistence {
    /// One whose waits end with this token and whose jitter comes from `ids`.
    #[must_use]
    pub const fn new(ids: Ids, stopping: CancellationToken) -> Self {
        Self { ids, stopping }
    }

    /// Tries until it succeeds, for this long; `what` is for the log.
    pub async fn persist<T, F, A>(&self, what: &str, budget: Duration, mut attempt: A) -> Result<T, Undelivered>
    where
        F: Future<Output = Result<T, SendError>> + Send,
        A: FnMut() -> F + Send,
    {
        let deadline = Instant::now() + budget;
        let mut tries = 0;
        loop {
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            tries += 1;
            let (reason, after) = match error {
                SendError::Permanent { reason } => return Err(Undelivered::Refused { reason }),
                SendError::Retry { reason, after } => (reason, after),
            };
            let wait = backoff(tries, after, self.chance());
            tracing::warn!(what, tries, error = reason, ?wait, "not delivered");
            if Instant::now() + wait >= deadline {
                return Err(Undelivered::GaveUp { reason, tries });
            }
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return Err(Undelivered::Stopping),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Waits, or less when the process stops: then true.
    pub async fn pause(&self, length: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => true,
            () = tokio::time::sleep(length) => false,
        }
    }

    /// Something in 0..=1.
    fn chance(&self) -> f64 {
        (self.ids.jitter(Duration::from_secs(1)).as_secs_f64() - 0.5).clamp(0.0, 1.0)
    }
}
