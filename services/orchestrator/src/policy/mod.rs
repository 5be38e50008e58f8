//! Policies: where they come from, and what is in force for a workload by them.
//!
//! They come from custom resources (`watch`, defined by `crd`) and from a file (`file`); the `index` yields what is in force at once, and
//! decisions ask it through [`Policies`]. `ask` answers a command, once. `survey` counts what each governs, `status` says so in the resource. Guarantees: no decision is made
//! before it is known which policies there are; without the custom resource definitions there are none but the file's. Must not: write to a
//! cluster, but for the policies' own `status`.

pub mod ask;
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
    said_otherwise: Arc<signal::Sender<u64>>,
}

impl Policies {
    /// Beginning with these.
    #[must_use]
    pub fn new(index: Index) -> Self {
        let (changed, said_otherwise) = (Arc::new(signal::Sender::new(0)), Arc::new(signal::Sender::new(0)));
        Self { index: Arc::new(RwLock::new(Arc::new(index))), changed, said_otherwise }
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
        let before = Arc::clone(&index);
        how(Arc::make_mut(&mut index));
        let otherwise = !index.says_the_same(&before);
        drop(index);
        self.changed.send_modify(|count| *count += 1);
        if otherwise {
            self.said_otherwise.send_modify(|count| *count += 1);
        }
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

    /// Changes with each change, also of what was only written down again: a policy's status is one.
    #[must_use]
    pub fn changes(&self) -> signal::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Changes whenever something else may be in force for some workload.
    #[must_use]
    pub fn changes_of_meaning(&self) -> signal::Receiver<u64> {
        self.said_otherwise.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use lastgood_core::policy::{Limits, Origin, Policy, read};
    use serde_json::json;

    use super::*;
    use crate::config::Settings;

    #[test]
    fn what_says_the_same_again_changes_no_meaning() {
        let policy = |soak: &str| -> Policy {
            let document = json!({"apiVersion": "lastgood.dev/v1alpha1", "kind": "RollbackPolicy",
                "metadata": {"name": "all", "namespace": "shop"}, "spec": {"soak": soak}});
            read(&document, Origin::Cluster, &Limits::default()).unwrap()
        };
        let policies = Policies::new(Index::new(&Settings::default()));
        let (mut any, mut meant) = (policies.changes(), policies.changes_of_meaning());
        for (soak, otherwise) in [("1m", true), ("1m", false), ("2m", true)] {
            policies.change(|index| index.put(policy(soak)));
            assert!(any.has_changed().unwrap() && meant.has_changed().unwrap() == otherwise, "{soak}");
            any.mark_unchanged();
            meant.mark_unchanged();
        }
    }
}
