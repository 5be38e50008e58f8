//! The state behind the store: objects, versions and the log. Only the store touches it, under its lock. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::json::Json as _;
use super::kinds::{self, Kind};

/// How many changes the log remembers; a watch from before that is told `410 Gone`.
const LOG_LENGTH: usize = 20_000;

/// Namespace and name.
type Place = (String, String);

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Added,
    Modified,
    Deleted,
}

/// One entry of the log.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) kind: Arc<Kind>,
    pub(crate) op: Op,
    pub(crate) object: Arc<Value>,
    /// What was there before a modification.
    pub(crate) old: Option<Arc<Value>>,
}

/// Everything the cluster knows.
pub(crate) struct State {
    pub(crate) version: u64,
    pub(crate) kinds: Vec<Arc<Kind>>,
    pub(crate) objects: BTreeMap<String, BTreeMap<Place, Arc<Value>>>,
    pub(crate) log: VecDeque<Change>,
    /// The newest version that the log has forgotten.
    pub(crate) forgotten: u64,
}

impl State {
    pub(crate) fn new() -> Self {
        Self { version: 1, kinds: kinds::built_in(), objects: BTreeMap::new(), log: VecDeque::new(), forgotten: 0 }
    }

    pub(crate) fn get(&self, id: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let place = (namespace.to_owned(), name.to_owned());
        self.objects.get(id)?.get(&place).cloned()
    }

    pub(crate) fn list(&self, id: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let Some(objects) = self.objects.get(id) else {
            return Vec::new();
        };
        match namespace {
            None => objects.values().cloned().collect(),
            Some(namespace) => objects
                .range((namespace.to_owned(), String::new())..)
                .take_while(|((here, _), _)| here == namespace)
                .map(|(_, object)| Arc::clone(object))
                .collect(),
        }
    }

    pub(crate) fn put(&mut self, kind: &Arc<Kind>, mut object: Value, old: Option<Arc<Value>>) -> Arc<Value> {
        self.version += 1;
        object.put("/metadata/resourceVersion", self.version.to_string());
        let place = (object.text("/metadata/namespace").to_owned(), object.text("/metadata/name").to_owned());
        let object = Arc::new(object);
        let objects = self.objects.entry(kind.id.clone()).or_default();
        objects.insert(place, Arc::clone(&object));
        let op = if old.is_some() { Op::Modified } else { Op::Added };
        self.record(kind, op, Arc::clone(&object), old);
        object
    }

    pub(crate) fn remove(&mut self, kind: &Arc<Kind>, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let place = (namespace.to_owned(), name.to_owned());
        let old = self.objects.get_mut(&kind.id)?.remove(&place)?;
        self.version += 1;
        let mut last = (*old).clone();
        last.put("/metadata/resourceVersion", self.version.to_string());
        let last = Arc::new(last);
        self.record(kind, Op::Deleted, Arc::clone(&last), None);
        Some(last)
    }

    fn record(&mut self, kind: &Arc<Kind>, op: Op, object: Arc<Value>, old: Option<Arc<Value>>) {
        if kind.id == "customresourcedefinitions.apiextensions.k8s.io" {
            let changed = kinds::from_definition(&object);
            let id = format!("{}.{}", object.text("/spec/names/plural"), object.text("/spec/group"));
            self.kinds.retain(|k| k.id != id);
            if op != Op::Deleted {
                self.kinds.extend(changed);
            }
        }
        self.log.push_back(Change { version: self.version, kind: Arc::clone(kind), op, object, old });
        while self.log.len() > LOG_LENGTH {
            self.forgotten = self.log.pop_front().map_or(0, |change| change.version);
        }
    }

    pub(crate) fn owned(&self, uid: &str) -> Vec<(String, String, String)> {
        let mut found = Vec::new();
        for (id, objects) in &self.objects {
            for ((namespace, name), object) in objects {
                let owners = object.items("/metadata/ownerReferences");
                if owners.iter().any(|owner| owner.text("/uid") == uid) {
                    found.push((id.clone(), namespace.clone(), name.clone()));
                }
            }
        }
        found
    }

    pub(crate) fn orphan(&mut self, uid: &str, namespace: &str) {
        for (id, here, name) in self.owned(uid) {
            let kind = self.kinds.iter().find(|k| k.id == id).cloned();
            if let (Some(kind), Some(old)) = (kind, self.get(&id, &here, &name))
                && here == namespace
            {
                let mut new = (*old).clone();
                let owners = new.items("/metadata/ownerReferences").to_vec();
                let left: Vec<_> = owners.into_iter().filter(|owner| owner.text("/uid") != uid).collect();
                new.put("/metadata/ownerReferences", left);
                self.put(&kind, new, Some(old));
            }
        }
    }
}
