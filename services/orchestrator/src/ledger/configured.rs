//! Which workloads refer to which ConfigMap or Secret, and the watch that says whose configuration has changed.
//!
//! Guarantees: only metadata is watched, so that no content comes here at all; what was changed or deleted while the watch was interrupted
//! is found by the next list; an object that nobody refers to costs nothing. Must not: say what has changed: who is woken looks for itself.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::{self, BoxStream, StreamExt, select_all};
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use lastgood_core::configuration::{Kind, Place};

use super::wakes::Key;

/// Objects a page of the initial list: what bounds memory.
const PAGE: u32 = 200;

/// An object of a namespace; held once, however many refer to it.
type Object = Arc<(String, Place)>;

/// Who refers to what.
#[derive(Debug, Default)]
pub(super) struct Referred(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    by_workload: HashMap<Key, Box<[Object]>>,
    by_object: HashMap<Object, Entry>,
    /// What the list under way has shown of what is referred to.
    listed: HashSet<Object>,
}

#[derive(Debug, Default)]
struct Entry {
    /// In order. Mostly one, for which a tree would reserve the room of eleven; of what many share, thousands.
    workloads: Vec<Key>,
    /// The resourceVersion that was told last.
    version: Option<Box<str>>,
}

impl Entry {
    fn add(&mut self, key: &Key) {
        if let Err(place) = self.workloads.binary_search(key) {
            self.workloads.insert(place, Arc::clone(key));
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Ok(place) = self.workloads.binary_search(key) {
            self.workloads.remove(place);
        }
    }
}

impl State {
    fn clear(&mut self, key: &Key) {
        for object in self.by_workload.remove(key).unwrap_or_default() {
            if let Some(entry) = self.by_object.get_mut(&object) {
                entry.remove(key);
                if entry.workloads.is_empty() {
                    self.by_object.remove(&object);
                }
            }
        }
    }

    fn tell(&mut self, object: &Object, version: Option<String>) -> Vec<Key> {
        let Some(entry) = self.by_object.get_mut(object) else { return Vec::new() };
        if version.is_some() && entry.version.as_deref() == version.as_deref() {
            return Vec::new();
        }
        entry.version = version.map(String::into_boxed_str);
        entry.workloads.clone()
    }
}

impl Referred {
    /// What a workload refers to from now on.
    pub(super) fn set(&self, key: &Key, places: Vec<Place>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let object = |place| {
            let object = Arc::new((key.1.clone(), place));
            state.by_object.get_key_value(&object).map_or(object, |(known, _)| Arc::clone(known))
        };
        let objects: Box<[Object]> = places.into_iter().map(object).collect();
        if state.by_workload.get(key).map_or(objects.is_empty(), |before| *before == objects) {
            return;
        }
        let mut known: HashMap<_, _> = objects
            .iter()
            .filter_map(|object| Some((Arc::clone(object), state.by_object.get(object)?.version.clone())))
            .collect();
        state.clear(key);
        for object in &objects {
            let entry = state.by_object.entry(Arc::clone(object)).or_default();
            entry.add(key);
            entry.version = known.remove(object).flatten().or(entry.version.take());
        }
        if !objects.is_empty() {
            state.by_workload.insert(Arc::clone(key), objects);
        }
    }

    /// Whom an event of the watch concerns.
    fn note(&self, kind: Kind, event: &Event<PartialObjectMeta<DynamicObject>>) -> Vec<Key> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = |object: &PartialObjectMeta<DynamicObject>| {
            Arc::new((object.namespace().unwrap_or_default(), (kind, object.name_any())))
        };
        match event {
            Event::Apply(object) => state.tell(&place(object), object.resource_version()),
            Event::Delete(object) => state.tell(&place(object), None),
            Event::Init => {
                state.listed.retain(|object| object.1.0 != kind);
                Vec::new()
            }
            Event::InitApply(object) => {
                let place = place(object);
                if let Some(known) = state.by_object.get_key_value(&place).map(|(known, _)| Arc::clone(known)) {
                    state.listed.insert(known);
                }
                state.tell(&place, object.resource_version())
            }
            Event::InitDone => state.gone(kind),
        }
    }
}

impl State {
    /// What was there before the list and is not in it.
    fn gone(&mut self, kind: Kind) -> Vec<Key> {
        let listed = std::mem::take(&mut self.listed);
        let gone =
            |(object, entry): &(&Object, &mut Entry)| object.1.0 == kind && entry.version.is_some() && !listed.contains(*object);
        let mut keys = BTreeSet::new();
        for (_, entry) in self.by_object.iter_mut().filter(|pair| gone(pair)) {
            entry.version = None;
            keys.extend(entry.workloads.iter().cloned());
        }
        self.listed = listed.into_iter().filter(|object| object.1.0 != kind).collect();
        keys.into_iter().collect()
    }
}

/// The workloads whose configuration has changed, as they do; ends never.
pub(super) fn changes<'a>(client: &Client, referred: &'a Referred, secrets: bool) -> BoxStream<'a, Key> {
    let kinds = Kind::ALL.into_iter().filter(|kind| secrets || *kind != Kind::Secret);
    let streams = kinds.map(|kind| {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind.name()));
        let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client.clone(), &resource);
        let events = watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff();
        events
            .flat_map(move |event| {
                let keys = match event {
                    Ok(event) => referred.note(kind, &event),
                    Err(error) => {
                        tracing::warn!(%kind, %error, "the watch of configuration is interrupted");
                        Vec::new()
                    }
                };
                stream::iter(keys)
            })
            .boxed()
    });
    select_all(streams).boxed()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::Kind as Workload;

    fn key(name: &str) -> Key {
        Arc::new((Workload::Deployment, "shop".to_owned(), name.to_owned()))
    }

    fn web() -> Place {
        (Kind::ConfigMap, "web".to_owned())
    }

    fn object(name: &str, version: &str) -> PartialObjectMeta<DynamicObject> {
        let metadata = json!({"metadata": {"namespace": "shop", "name": name, "resourceVersion": version}});
        serde_json::from_value(metadata).unwrap()
    }

    #[test]
    fn whoever_refers_to_what_changes_is_woken_once_a_change() {
        let referred = Referred::default();
        let note = |event| referred.note(Kind::ConfigMap, &event);
        assert!(note(Event::Apply(object("web", "1"))).is_empty(), "nobody refers to it");
        referred.set(&key("a"), vec![web()]);
        referred.set(&key("b"), vec![web(), (Kind::Secret, "web".into())]);
        assert_eq!(note(Event::Apply(object("web", "2"))), [key("a"), key("b")]);
        assert!(note(Event::Apply(object("web", "2"))).is_empty(), "told already");
        assert!(referred.note(Kind::Secret, &Event::Apply(object("other", "3"))).is_empty());
        referred.set(&key("a"), Vec::new());
        assert_eq!(note(Event::Delete(object("web", "2"))), [key("b")]);
        referred.set(&key("b"), Vec::new());
        let state = referred.0.lock().unwrap();
        assert!(state.by_object.is_empty() && state.by_workload.is_empty(), "nothing is left of it");
    }

    #[test]
    fn a_list_finds_what_an_interrupted_watch_missed() {
        let referred = Referred::default();
        let note = |event| referred.note(Kind::ConfigMap, &event);
        referred.set(&key("a"), vec![web(), (Kind::ConfigMap, "other".into())]);
        let list = |objects: &[(&str, &str)]| {
            let mut woken = note(Event::Init);
            for (name, version) in objects {
                woken.extend(note(Event::InitApply(object(name, version))));
            }
            woken.extend(note(Event::InitDone));
            woken
        };
        assert_eq!(list(&[("web", "1"), ("other", "1")]).len(), 2, "what it is was not known");
        assert!(list(&[("web", "1"), ("other", "1")]).is_empty());
        assert_eq!(list(&[("web", "2"), ("other", "1")]), [key("a")], "changed");
        assert_eq!(list(&[("web", "2")]), [key("a")], "deleted");
        assert!(list(&[("web", "2")]).is_empty());
    }
}
