//! Policies: where they come from, and what is in force for a workload by them.
//!
//! They come from custom resources (`watch`, defined by `crd`) and from a file (`file`); the `index` yields what is in force at once, and
//! decisions ask it through [`Policies`]. `survey` counts what each governs, `status` says so in the resource. Guarantees: no decision is made
//! before it is known which policies there are; without the custom resource definitions there are none but the file's. Must not: write to a
//! cluster, but for the policies' own `status`.

pub mod check;
pub mod crd;
pub mod file;
pub mod index;
pub mod status;
pub mod survey;
pub mod watch;

use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use lastgood_core::policy::Effective;
use tokio::sync::watch as signal;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Kind, Object};
pub use index::{Index, Unread};

/// The policies that are known now; clones share them.
#[derive(Debug, Clone)]
pub struct Policies {
    index: Arc<RwLock<Arc<Index>>>,
    changed: Arc<signal::Sender<u64>>,
}

impl Policies {
    /// Beginning with these.
    #[must_use]
    pub fn new(index: Index) -> Self {
        Self { index: Arc::new(RwLock::new(Arc::new(index))), changed: Arc::new(signal::Sender::new(0)) }
    }

    /// As they are now.
    #[must_use]
    pub fn now(&self) -> Arc<Index> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is in force for a workload as it is now.
    pub fn effective(&self, kind: Kind, workload: &Object, now: Timestamp) -> Result<Effective, Unread> {
        self.now().effective(kind, workload, now)
    }

    /// Changes them.
    pub fn change(&self, how: impl FnOnce(&mut Index)) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        how(Arc::make_mut(&mut index));
        drop(index);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Waits until it is known which policies there are, or it is told to stop.
    pub async fn until_read(&self, stopping: &CancellationToken) {
        let mut changes = self.changes();
        let read = async {
            while !self.now().is_read() {
                // The sender lives as long as `self`.
                let _ = changes.changed().await;
            }
        };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = read => {}
        }
    }

    /// Ends with each change.
    #[must_use]
    pub fn changes(&self) -> signal::Receiver<u64> {
        self.changed.subscribe()
    }
}
