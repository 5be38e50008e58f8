//! The control loop: follows the store's log, and reconciles what each change touches.
//!
//! One task, so that controllers never race with each other; they act through the store like everybody else. Work that
//! is due later (a progress deadline, `minReadySeconds`) waits in the same queue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::Shared;
use super::deployment;
use super::endpoints;
use super::json::{Json as _, controller_uid};
use super::kubelet::Kubelet;
use super::proxy::Proxy;
use super::replicaset;
use super::selector;
use super::store::{Change, Op};

/// Something to reconcile. The order is the order of work within a batch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Item {
    ReplicaSet(String, String),
    Deployment(String, String),
    Service(String, String),
    Namespace(String),
}

struct Loop {
    shared: Arc<Shared>,
    ready: BTreeSet<Item>,
    later: BTreeMap<Item, Instant>,
    kubelet: Kubelet,
    /// Where pods are real.
    proxy: Option<Proxy>,
}

/// Runs the controllers until the future is dropped.
pub(crate) async fn run(shared: Arc<Shared>) {
    let head = shared.store.head();
    let mut cursor = 0;
    let mut work = Loop {
        kubelet: Kubelet::new(Arc::clone(&shared)),
        proxy: (!shared.imagined).then(Proxy::default),
        shared,
        ready: BTreeSet::new(),
        later: BTreeMap::new(),
    };
    loop {
        let newest = head.now();
        if let Ok(changes) = work.shared.store.changes(cursor) {
            for change in &changes {
                cursor = change.version;
                work.note(change);
            }
        } else {
            work.relist();
        }
        cursor = cursor.max(newest);
        work.due();
        while let Some(item) = work.ready.pop_first() {
            work.reconcile(&item);
        }
        let next = work.later.values().min().copied();
        let next = next.unwrap_or_else(|| Instant::now() + Duration::from_hours(1));
        tokio::select! {
            biased;
            () = head.beyond(cursor) => {}
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

impl Loop {
    fn note(&mut self, change: &Change) {
        let object = &*change.object;
        let (namespace, name) = place(object);
        match change.kind.id.as_str() {
            "pods" => {
                self.kubelet.note(change);
                self.note_pod(change);
            }
            "replicasets.apps" => {
                self.ready.insert(Item::ReplicaSet(namespace.clone(), name));
                self.note_owner(object);
            }
            "deployments.apps" => {
                self.ready.insert(Item::Deployment(namespace.clone(), name));
            }
            "services" => {
                self.ready.insert(Item::Service(namespace.clone(), name));
            }
            "endpoints" => self.connect(&namespace, &name),
            "namespaces" if change.op != Op::Deleted => {
                self.ready.insert(Item::Namespace(name));
            }
            _ => {}
        }
        if change.op == Op::Deleted {
            if !matches!(change.kind.id.as_str(), "pods" | "events") {
                self.collect(object.text("/metadata/uid"));
            }
            if !namespace.is_empty() {
                self.ready.insert(Item::Namespace(namespace));
            }
        }
    }

    fn note_pod(&mut self, change: &Change) {
        let pod = &*change.object;
        let namespace = pod.text("/metadata/namespace");
        if let Some(owner) = controller_name(pod, "ReplicaSet") {
            if let Some(set) = self.shared.store.get("replicasets.apps", namespace, owner) {
                self.note_owner(&set);
            }
            self.ready.insert(Item::ReplicaSet(namespace.to_owned(), owner.to_owned()));
        }
        let (_, services) = self.shared.store.list("services", Some(namespace));
        for service in services {
            let wanted = service.at("/spec/selector");
            let touched = [Some(&change.object), change.old.as_ref()];
            let touched = touched.into_iter().flatten();
            if touched.into_iter().any(|pod| selector::selects_map(wanted, pod.at("/metadata/labels"))) {
                let (namespace, name) = place(&service);
                self.ready.insert(Item::Service(namespace, name));
            }
        }
    }

    fn note_owner(&mut self, set: &Value) {
        if let Some(owner) = controller_name(set, "Deployment") {
            let namespace = set.text("/metadata/namespace").to_owned();
            self.ready.insert(Item::Deployment(namespace, owner.to_owned()));
        }
    }

    /// Deletes what a deleted object owned.
    fn collect(&self, uid: &str) {
        for (id, namespace, name) in self.shared.store.owned(uid) {
            self.shared.store.discard(&id, (&namespace, &name), None);
        }
    }

    /// After having fallen out of the log: everything may have changed.
    fn relist(&mut self) {
        let store = &self.shared.store;
        let all = |id: &str| store.list(id, None).1.iter().map(|o| place(o)).collect::<Vec<_>>();
        self.ready.extend(all("replicasets.apps").into_iter().map(|(ns, n)| Item::ReplicaSet(ns, n)));
        self.ready.extend(all("deployments.apps").into_iter().map(|(ns, n)| Item::Deployment(ns, n)));
        self.ready.extend(all("services").into_iter().map(|(ns, n)| Item::Service(ns, n)));
        self.ready.extend(all("namespaces").into_iter().map(|(_, n)| Item::Namespace(n)));
        let (_, pods) = store.list("pods", None);
        self.kubelet.relist(&pods);
    }

    fn due(&mut self) {
        let now = Instant::now();
        let due: Vec<_> = self.later.iter().filter(|(_, at)| **at <= now).map(|(i, _)| i.clone()).collect();
        for item in due {
            self.later.remove(&item);
            self.ready.insert(item);
        }
    }

    /// Brings a Service's proxies up to date, where there are any.
    fn connect(&mut self, namespace: &str, name: &str) {
        if let Some(proxy) = &mut self.proxy {
            proxy.update(&self.shared.store, namespace, name);
        }
    }

    fn reconcile(&mut self, item: &Item) {
        let shared = Arc::clone(&self.shared);
        let again = match item {
            Item::ReplicaSet(namespace, name) => replicaset::reconcile(&shared.store, namespace, name),
            Item::Deployment(namespace, name) => deployment::reconcile(&shared.store, namespace, name),
            Item::Service(namespace, name) => {
                endpoints::reconcile(&shared.store, namespace, name);
                self.connect(namespace, name);
                None
            }
            Item::Namespace(name) => {
                namespace(&shared, name);
                None
            }
        };
        match again {
            Some(wait) => {
                self.later.insert(item.clone(), Instant::now() + wait);
            }
            None => {
                self.later.remove(item);
            }
        }
    }
}

fn place(object: &Value) -> (String, String) {
    (object.text("/metadata/namespace").to_owned(), object.text("/metadata/name").to_owned())
}

fn controller_name<'v>(object: &'v Value, kind: &str) -> Option<&'v str> {
    if controller_uid(object).is_empty() {
        return None;
    }
    object
        .items("/metadata/ownerReferences")
        .iter()
        .find(|owner| owner.flag("/controller") && owner.text("/kind") == kind)
        .map(|owner| owner.text("/name"))
}

/// Gives a new namespace its service account; empties and removes one that is being deleted.
fn namespace(shared: &Shared, name: &str) {
    let store = &shared.store;
    let Some(namespace) = store.get("namespaces", "", name) else {
        return;
    };
    if namespace.at("/metadata/deletionTimestamp").is_null() {
        if store.get("serviceaccounts", name, "default").is_none() {
            let account = serde_json::json!({"metadata": {"name": "default"}});
            // Only fails when the namespace is going away again.
            let _ = store.add("serviceaccounts", name, account);
        }
        return;
    }
    let contents = store.contents(name);
    for (id, object) in &contents {
        if id != "events" {
            store.discard(id, (name, object), None);
        }
    }
    if contents.iter().all(|(id, _)| id == "events") {
        for (id, object) in &contents {
            store.erase(id, (name, object));
        }
        store.erase("namespaces", ("", name));
    }
}
