//! A simulated cluster without sockets, threads, files or real time: for simulations that have to repeat themselves.
//!
//! Guarantees: the same API server, store and controllers as [`SimCluster`](super::SimCluster), on tokio's (paused) time; equal seeds, clocks
//! and requests make equal objects, uids and names; a request is answered within one call, so that whoever asks sees the cluster right
//! before and right after it. No Events are told. Pods only exist as objects, whose status follows what their image's tag says. Must not: be used twice at the
//! same time on one thread (the clock is the thread's).

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use jiff::Timestamp;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use super::api::Body;
use super::ident::{self, Installed, Source};
use super::journal::Journal;
use super::kubelet::Timing;
use super::logs::Logs;
use super::store::{self, Deletion, Part, Store};
use super::{Shared, SimError, api, controllers};
use crate::workload::{Behaviour, parse_image};

/// The cluster; dropping it ends it.
pub struct MemoryCluster {
    shared: Arc<Shared>,
    _controllers: JoinSet<()>,
    _installed: Installed,
}

impl std::fmt::Debug for MemoryCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryCluster").finish_non_exhaustive()
    }
}

impl MemoryCluster {
    /// Starts a cluster with one node and the usual namespaces. Must be called within a tokio runtime of this thread.
    pub fn start(clock: impl Fn() -> Timestamp + 'static, seed: u64) -> Result<Self, SimError> {
        let installed = ident::install(Source { clock: Box::new(clock), random: StdRng::seed_from_u64(seed), newest: 0 });
        let shared = Arc::new(Shared {
            store: Store::imagined(),
            journal: Journal::default(),
            logs: Logs::default(),
            timing: Timing {
                settle: Duration::from_millis(200),
                backoff: Duration::from_secs(1),
                backoff_limit: Duration::from_mins(1),
                termination: Duration::from_millis(300),
            },
            imagined: true,
            available: watch::Sender::new(true),
            conflicts: AtomicUsize::new(0),
            tags: Mutex::default(),
            pulls: Mutex::new(HashMap::new()),
        });
        store::seed(&shared.store).map_err(|error| SimError::Setup(error.to_string()))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(controllers::run(Arc::clone(&shared)));
        Ok(Self { shared, _controllers: tasks, _installed: installed })
    }

    /// Answers one request as the API server does; a watch's body goes on for as long as it is read.
    #[must_use]
    pub fn answer(&self, parts: &Parts, body: &Bytes) -> Response<Body> {
        api::respond(&self.shared, parts, body)
    }

    /// An object as it is stored, by its kind's `plural` or `plural.group`; an empty namespace for cluster-wide kinds.
    #[must_use]
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.shared.store.get(resource, namespace, name)
    }

    /// The objects of a kind in a namespace, by its `plural` or `plural.group`.
    #[must_use]
    pub fn list(&self, resource: &str, namespace: &str) -> Vec<Arc<Value>> {
        self.shared.store.list(resource, Some(namespace)).1
    }

    /// The resource version of the newest change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.shared.store.head().now()
    }

    /// Creates an object as a person would; false where it is refused.
    #[must_use]
    pub fn create(&self, resource: &str, namespace: &str, object: Value) -> bool {
        self.shared.store.add(resource, namespace, object).is_ok()
    }

    /// Changes an object's own part (not its status) as a person would; false where there is none, or it is refused.
    #[must_use]
    pub fn change(&self, resource: &str, place: (&str, &str), change: impl FnOnce(&mut Value)) -> bool {
        let Some(kind) = self.shared.store.kinds().into_iter().find(|kind| kind.id == resource) else { return false };
        let changed = self.shared.store.update(&kind, place, Part::Main, false, |old| {
            let mut new = old.clone();
            change(&mut new);
            Ok(new)
        });
        changed.is_ok()
    }

    /// Deletes an object as a person would; false where there is none.
    #[must_use]
    pub fn delete(&self, resource: &str, place: (&str, &str)) -> bool {
        let Some(kind) = self.shared.store.kinds().into_iter().find(|kind| kind.id == resource) else { return false };
        self.shared.store.delete(&kind, place, &Deletion::default()).is_ok()
    }

    /// Lets an image's name lead to what another one stands for, as a push of its tag does. Running containers aren't touched.
    pub fn move_tag(&self, image: &str, to: &str) {
        self.shared.tags.lock().unwrap_or_else(PoisonError::into_inner).lead(image, to);
    }

    /// How the image that a pod's first container runs behaves; before it has started, what its name says.
    #[must_use]
    pub fn behaviour(&self, pod: &Value) -> Behaviour {
        let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let content = self.shared.content_of(text("/status/containerStatuses/0/imageID"));
        parse_image(content.as_deref().unwrap_or_else(|| text("/spec/containers/0/image"))).1
    }

    /// Makes every watch end with `410 Gone`, as after a compaction.
    pub fn expire_watches(&self) {
        self.shared.store.forget_log();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_listens_on_this_machine_is_nothing_to_an_imagined_cluster() {
        let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let cluster = MemoryCluster::start(|| Timestamp::UNIX_EPOCH, 1).unwrap();
        let service = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": port}]}});
        assert!(cluster.create("services", "default", service));
    }
}
