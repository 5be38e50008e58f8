//! A simulated Kubernetes cluster in this process: an API server that kubectl and kube-rs talk to, the controllers that
//! roll Deployments out, and pods that are real HTTP servers on addresses of their own in 127.0.0.0/8.
//!
//! Guarantees: resource versions, generations, conflicts, watches and rollouts behave as on a current cluster. It is a
//! test ground and no product: no authentication, one node, no server-side apply, and field managers aren't tracked
//! (whatever a client stores in `metadata.managedFields` is dropped). Nothing listens beyond loopback.

mod admission;
mod api;
mod cluster;
mod controllers;
mod defaults;
mod deployment;
mod endpoints;
mod error;
mod events;
mod head;
mod ident;
mod journal;
mod json;
mod kinds;
mod kubelet;
mod logs;
pub mod memory;
mod patch;
mod proxy;
mod replicaset;
mod selector;
mod state;
mod status_condition;
mod store;
mod table;
mod tags;
mod validate;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

pub use self::cluster::{SimCluster, SimError, SimOptions};
pub use self::journal::JournalEntry;

use self::journal::Journal;
use self::kubelet::Timing;
use self::logs::Logs;
use self::store::Store;

/// The version that the cluster says it is.
const VERSION: &str = "v1.33.0";

/// What the API server and the controllers share.
struct Shared {
    store: Store,
    journal: Journal,
    logs: Logs,
    timing: Timing,
    /// Whether pods only exist as objects: nothing listens and nothing runs.
    imagined: bool,
    available: watch::Sender<bool>,
    /// How many of the next writes are refused as stale.
    conflicts: AtomicUsize,
    /// Where tags lead.
    tags: Mutex<tags::Tags>,
    /// Images that can, or can't, be pulled whatever their tag says.
    pulls: Mutex<HashMap<String, bool>>,
}

impl Shared {
    /// Whether this write is to be refused as stale.
    fn take_conflict(&self) -> bool {
        let took = self.conflicts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        took.is_ok()
    }

    /// The content that an image's name leads to now.
    fn content(&self, image: &str) -> Option<String> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner).content(image)
    }

    /// The content that runs under an image's id.
    fn content_of(&self, image_id: &str) -> Option<String> {
        self.content(Some(image_id).filter(|id| id.contains('@'))?)
    }

    /// What was said about pulling an image, if anything.
    fn pull_allowed(&self, image: &str) -> Option<bool> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner).get(image).copied()
    }
}
