//! Where notifications go: the edge between the HTTP endpoints or detectors and the bus.
//!
//! Guarantees: `store` returns `Ok` only after every part is durable, and stores all parts or none; what was stored before counts as
//! stored. Must not: wait longer than the deadline it was given.

use std::time::Duration;

use async_trait::async_trait;

use crate::parts::Part;

/// Why nothing was stored (or it is not known to be: the caller sends the same again).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The stream refuses new messages: it is full.
    #[error("the alert stream is full")]
    Full,
    /// NATS is away or answered something that passes.
    #[error("the alert stream can't be reached: {0}")]
    Unavailable(String),
    /// No answer in time.
    #[error("the alert stream did not acknowledge within {0:?}")]
    TooSlow(Duration),
    /// NATS will never take this.
    #[error("the alert stream refuses this: {0}")]
    Refused(String),
}

/// Stores notifications durably.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Stores all parts, or none.
    async fn store(&self, parts: Vec<Part>) -> Result<(), StoreError>;
}

/// Stores within a deadline.
pub async fn store_within(store: &dyn Store, parts: Vec<Part>, deadline: Duration) -> Result<(), StoreError> {
    tokio::time::timeout(deadline, store.store(parts)).await.unwrap_or(Err(StoreError::TooSlow(deadline)))
}
