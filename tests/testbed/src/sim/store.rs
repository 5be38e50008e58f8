//! The one store of the simulated cluster: objects, one counter of resource versions, and the log that watches follow.
//!
//! Guarantees: every change is made under one lock, gets the next resource version and one entry in the log; a write
//! that changes nothing is none. The HTTP handlers and the controllers go through the same functions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::admission;
use super::error::ApiError;
use super::head::Head;
use super::ident;
use super::json::Json as _;
use super::kinds::Kind;
use super::state::State;
pub(crate) use super::state::{Change, Op};

/// Which part of an object a write is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The object without its status.
    Main,
    /// The status alone.
    Status,
    /// Everything: the controllers' own writes.
    Whole,
}

/// What a delete request asks for besides deleting.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deletion {
    /// Grace period for pods; zero removes at once.
    pub(crate) grace: Option<i64>,
    /// Leave owned objects alone.
    pub(crate) orphan: bool,
    pub(crate) dry_run: bool,
    /// Only if the object has this uid.
    pub(crate) uid: String,
    /// Only if the object has this resource version.
    pub(crate) version: String,
}

/// The store.
pub(crate) struct Store {
    state: Mutex<State>,
    head: Arc<Head>,
    /// Whether controllers tell what they do as Events.
    eventful: bool,
    /// Whether Services are listened for, so that a Service's address has to be free on this machine.
    listens: bool,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::new()), head: Arc::new(Head::new(1)), eventful: true, listens: true }
    }

    /// One for a cluster that is only imagined: without the controllers' Events, which cost more than all the rest and which only
    /// people read, and deaf to what else listens on this machine, which no seed could repeat.
    pub(crate) fn imagined() -> Self {
        Self { eventful: false, listens: false, ..Self::new() }
    }

    /// Whether controllers tell what they do as Events.
    pub(crate) const fn is_eventful(&self) -> bool {
        self.eventful
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent between any two statements, so a panic elsewhere doesn't spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the resource version of the newest change.
    pub(crate) fn head(&self) -> Arc<Head> {
        Arc::clone(&self.head)
    }

    /// All kinds served now.
    pub(crate) fn kinds(&self) -> Vec<Arc<Kind>> {
        self.lock().kinds.clone()
    }

    /// The kind behind a path.
    pub(crate) fn kind(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        let state = self.lock();
        let found = state.kinds.iter().find(|k| k.group == group && k.version == version && k.plural == plural);
        found.cloned()
    }

    fn kind_by_id(&self, id: &str) -> Option<Arc<Kind>> {
        self.lock().kinds.iter().find(|k| k.id == id).cloned()
    }

    /// One object.
    pub(crate) fn get(&self, id: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.lock().get(id, namespace, name)
    }

    /// The objects of a kind, in one namespace or in all, and the resource version they are as of.
    pub(crate) fn list(&self, id: &str, namespace: Option<&str>) -> (u64, Vec<Arc<Value>>) {
        let state = self.lock();
        (state.version, state.list(id, namespace))
    }

    /// The changes after `from`, or why they can't be told any more.
    pub(crate) fn changes(&self, from: u64) -> Result<Vec<Change>, ApiError> {
        let state = self.lock();
        if from < state.forgotten {
            return Err(ApiError::expired(from, state.forgotten));
        }
        let start = state.log.partition_point(|change| change.version <= from);
        Ok(state.log.range(start..).cloned().collect())
    }

    /// Forgets the log, so that every watch from before now is told `410 Gone`.
    pub(crate) fn forget_log(&self) {
        let mut state = self.lock();
        // A change of its own, so that even a watch that is up to date is now behind.
        state.version += 1;
        state.forgotten = state.version;
        state.log.clear();
        self.announce(state);
    }

    /// Creates an object.
    pub(crate) fn create(&self, kind: &Arc<Kind>, namespace: &str, object: Value, dry_run: bool) -> Result<Arc<Value>, ApiError> {
        let mut state = self.lock();
        if !namespace.is_empty() && state.get("namespaces", "", namespace).is_none() {
            let kind = state.kinds.iter().find(|k| k.id == "namespaces").cloned();
            return Err(kind.map_or_else(ApiError::no_such_path, |k| ApiError::not_found(&k, namespace)));
        }
        let closing = state.get("namespaces", "", namespace).is_some_and(|ns| !ns.at("/metadata/deletionTimestamp").is_null());
        if closing && kind.id != "events" {
            return Err(ApiError::forbidden(format!(
                "unable to create new content in namespace {namespace} because it is being terminated"
            )));
        }
        let mut object = admission::create(kind, namespace, object)?;
        if state.get(&kind.id, namespace, object.text("/metadata/name")).is_some() {
            return Err(ApiError::already_exists(kind, object.text("/metadata/name")));
        }
        if kind.id == "services" {
            admission::assign_cluster_ip(&mut object, &state.list("services", None), self.listens)?;
        }
        if dry_run {
            return Ok(Arc::new(object));
        }
        let stored = state.put(kind, object, None);
        self.announce(state);
        Ok(stored)
    }

    /// Changes an object: `change` gets the present one and answers what it should be, all under the lock.
    pub(crate) fn update<F>(
        &self,
        kind: &Arc<Kind>,
        (namespace, name): (&str, &str),
        part: Part,
        dry_run: bool,
        change: F,
    ) -> Result<Arc<Value>, ApiError>
    where
        F: FnOnce(&Value) -> Result<Value, ApiError>,
    {
        let mut state = self.lock();
        let old = state.get(&kind.id, namespace, name).ok_or_else(|| ApiError::not_found(kind, name))?;
        let wanted = change(&old)?;
        let new = admission::update(kind, &old, wanted, part)?;
        if new == *old {
            return Ok(old);
        }
        if dry_run {
            return Ok(Arc::new(new));
        }
        let finished = !new.at("/metadata/deletionTimestamp").is_null()
            && new.items("/metadata/finalizers").is_empty()
            && !old.items("/metadata/finalizers").is_empty();
        let stored = state.put(kind, new, Some(old));
        if finished {
            state.remove(kind, namespace, name);
        }
        self.announce(state);
        Ok(stored)
    }

    /// A controller's change of an object; false when the object isn't there.
    pub(crate) fn edit<F: FnOnce(&mut Value)>(&self, id: &str, place: (&str, &str), change: F) -> bool {
        let Some(kind) = self.kind_by_id(id) else {
            return false;
        };
        let changed = self.update(&kind, place, Part::Whole, false, |old| {
            let mut new = old.clone();
            change(&mut new);
            Ok(new)
        });
        changed.is_ok()
    }

    /// A controller's creation of an object.
    pub(crate) fn add(&self, id: &str, namespace: &str, object: Value) -> Result<Arc<Value>, ApiError> {
        let kind = self.kind_by_id(id).ok_or_else(ApiError::no_such_path)?;
        self.create(&kind, namespace, object, false)
    }

    /// Deletes an object, or marks it as being deleted when somebody has to finish first.
    pub(crate) fn delete(
        &self,
        kind: &Arc<Kind>,
        (namespace, name): (&str, &str),
        options: &Deletion,
    ) -> Result<Arc<Value>, ApiError> {
        let mut state = self.lock();
        let old = state.get(&kind.id, namespace, name).ok_or_else(|| ApiError::not_found(kind, name))?;
        admission::preconditions(kind, &old, &options.uid, &options.version)?;
        if options.dry_run {
            return Ok(old);
        }
        if options.orphan {
            state.orphan(old.text("/metadata/uid"), namespace);
        }
        let marked = admission::mark_deleted(kind, &old, options.grace);
        let result = match marked {
            Some(marked) if marked == *old => old,
            Some(marked) => state.put(kind, marked, Some(old)),
            None => state.remove(kind, namespace, name).unwrap_or(old),
        };
        self.announce(state);
        Ok(result)
    }

    /// A controller's deletion of an object.
    pub(crate) fn discard(&self, id: &str, place: (&str, &str), grace: Option<i64>) {
        if let Some(kind) = self.kind_by_id(id) {
            let options = Deletion { grace, ..Deletion::default() };
            // Already gone is what was wanted.
            let _ = self.delete(&kind, place, &options);
        }
    }

    /// Removes an object for good, whatever its grace period and finalizers.
    pub(crate) fn erase(&self, id: &str, (namespace, name): (&str, &str)) {
        if let Some(kind) = self.kind_by_id(id) {
            let mut state = self.lock();
            state.remove(&kind, namespace, name);
            self.announce(state);
        }
    }

    /// Everything in a namespace: kind and name.
    pub(crate) fn contents(&self, namespace: &str) -> Vec<(String, String)> {
        let state = self.lock();
        let mut found = Vec::new();
        for id in state.objects.keys() {
            let here = state.list(id, Some(namespace));
            found.extend(here.iter().map(|o| (id.clone(), o.text("/metadata/name").to_owned())));
        }
        found
    }

    /// The objects that an owner's uid owns: kind, namespace and name.
    pub(crate) fn owned(&self, uid: &str) -> Vec<(String, String, String)> {
        self.lock().owned(uid)
    }

    fn announce(&self, state: MutexGuard<'_, State>) {
        let version = state.version;
        drop(state);
        self.head.advance(version);
    }
}

/// The objects that are there before anybody writes one.
pub(crate) fn seed(store: &Store) -> Result<(), ApiError> {
    for name in ["default", "kube-system", "kube-public"] {
        store.add("namespaces", "", serde_json::json!({"metadata": {"name": name}}))?;
    }
    store.add("nodes", "", admission::node(&ident::now_text()))?;
    Ok(())
}
