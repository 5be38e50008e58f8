//! The resource version of the newest change, for whoever follows the store.
//!
//! Guarantees: waiters are woken in the order in which they began to wait (a `tokio::sync::watch` picks a random order, which a
//! simulation could not repeat). Must not: go back.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// The newest version.
pub(crate) struct Head {
    version: AtomicU64,
    moved: Notify,
}

impl Head {
    pub(crate) fn new(version: u64) -> Self {
        Self { version: AtomicU64::new(version), moved: Notify::new() }
    }

    /// The newest version now.
    pub(crate) fn now(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// A change has this version.
    pub(crate) fn advance(&self, to: u64) {
        if self.version.fetch_max(to, Ordering::SeqCst) < to {
            self.moved.notify_waiters();
        }
    }

    /// Waits until there is a newer version than this one.
    pub(crate) async fn beyond(&self, seen: u64) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            // Listening before looking, so that no change falls in between.
            moved.as_mut().enable();
            if self.now() > seen {
                return;
            }
            moved.await;
        }
    }
}
