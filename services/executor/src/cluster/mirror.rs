//! A mirror of one workload's surroundings, kept by watches for as long as a rollback runs.
//!
//! Guarantees: each kind's objects are as of one list and the events after it; a watch that fails is begun anew with a list, and
//! each is listed anew from time to time, so that nothing is missed for good; whoever waits is woken by every change.
//! Must not: outlive its owner: dropping it ends the watches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use serde_json::Value;
use tokio::sync::watch as signal;
use tokio::task::JoinSet;

use super::{ApiError, Cluster, Kind};
use crate::view::Objects;

/// What to watch.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The namespace.
    pub namespace: String,
    /// The workload's kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The label selector of its pods.
    pub selector: String,
    /// How often each kind is listed anew.
    pub relist: Duration,
}

#[derive(Debug, Default)]
struct Store {
    listed: bool,
    objects: BTreeMap<String, Value>,
}

type Shared = Arc<Mutex<Store>>;

/// The mirror.
#[derive(Debug)]
pub struct Mirror {
    kind: Kind,
    stores: [Shared; 5],
    changed: signal::Receiver<u64>,
    _watches: JoinSet<()>,
}

impl Mirror {
    /// Starts watching.
    pub async fn start(cluster: &Cluster, scope: &Scope) -> Result<Self, ApiError> {
        let endpoints = cluster.endpoints_kind().await?;
        let (notify, changed) = signal::channel(0);
        let notify = Arc::new(notify);
        let by_name = watch::Config::default().fields(&format!("metadata.name={}", scope.name));
        let by_labels = watch::Config::default().labels(&scope.selector);
        let all = watch::Config::default();
        let kinds = [
            (scope.kind, by_name),
            (scope.kind.carrier(), by_labels.clone()),
            (Kind::Pod, by_labels),
            (Kind::Service, all.clone()),
            (endpoints, all),
        ];
        let mut watches = JoinSet::new();
        let stores = kinds.map(|(kind, config)| {
            let store = Shared::default();
            let api = kube::Api::<DynamicObject>::namespaced_with(cluster.client().clone(), &scope.namespace, &kind.resource());
            watches.spawn(follow(api, config, Arc::clone(&store), Arc::clone(&notify), scope.relist));
            store
        });
        Ok(Self { kind: scope.kind, stores, changed, _watches: watches })
    }

    /// What is there now; `None` until every kind has been listed once.
    #[must_use]
    pub fn objects(&self) -> Option<Objects> {
        let mut read = self.stores.iter().map(|store| {
            let store = store.lock().unwrap_or_else(PoisonError::into_inner);
            store.listed.then(|| store.objects.values().cloned().collect::<Vec<_>>())
        });
        let mut next = || read.next().flatten();
        let (workload, carriers, pods) = (next()?.pop(), next()?, next()?);
        Some(Objects { kind: self.kind, workload, carriers, pods, services: next()?, endpoints: next()? })
    }

    /// Waits for the next change; at once if there was one since the last call.
    pub async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            // All watches are gone, which only dropping the mirror does: nothing will ever change again.
            std::future::pending::<()>().await;
        }
    }
}

async fn follow(
    api: kube::Api<DynamicObject>,
    config: watcher::Config,
    store: Shared,
    notify: Arc<signal::Sender<u64>>,
    relist: Duration,
) {
    loop {
        let mut events = std::pin::pin!(watch(api.clone(), config.clone()).default_backoff());
        let renew = tokio::time::sleep(relist);
        tokio::pin!(renew);
        let mut fresh = BTreeMap::new();
        loop {
            let event = tokio::select! {
                biased;
                () = &mut renew => break,
                event = events.next() => event,
            };
            match event {
                Some(Ok(event)) => {
                    if apply(&store, &mut fresh, event) {
                        notify.send_modify(|count| *count = count.wrapping_add(1));
                    }
                }
                Some(Err(error)) => tracing::debug!(%error, "a watch failed; it is begun anew"),
                None => break,
            }
        }
    }
}

/// Takes an event into the store; whether anything can be seen of it.
fn apply(store: &Shared, fresh: &mut BTreeMap<String, Value>, event: Event<DynamicObject>) -> bool {
    let entry = |object: DynamicObject| {
        let name = object.metadata.name.clone().unwrap_or_default();
        (name, serde_json::to_value(object).unwrap_or_default())
    };
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    match event {
        Event::Init => fresh.clear(),
        Event::InitApply(object) => {
            fresh.extend([entry(object)]);
        }
        Event::InitDone => {
            let same = store.listed && store.objects == *fresh;
            store.objects = std::mem::take(fresh);
            store.listed = true;
            return !same;
        }
        Event::Apply(object) => {
            store.objects.extend([entry(object)]);
            return true;
        }
        Event::Delete(object) => {
            let (name, _) = entry(object);
            return store.objects.remove(&name).is_some();
        }
    }
    false
}
