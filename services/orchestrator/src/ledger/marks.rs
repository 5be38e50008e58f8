//! What was last looked at, by workload.
//!
//! Guarantees: a workload costs one small entry, whatever it is made of and however often it changes; what a list holds no more is found, so that
//! those which were deleted while nobody watched are forgotten. Must not: outlive the process: a digest means nothing to another one.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::wakes::Key;
use crate::cluster::Kind;

/// The marks of all workloads.
#[derive(Debug, Default)]
pub(super) struct Marks(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    marks: HashMap<Key, Mark>,
    /// The number of the last list of each kind that began.
    lists: BTreeMap<Kind, u32>,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    digest: u64,
    /// The last list that held it.
    list: u32,
}

impl State {
    fn list(&self, kind: Kind) -> u32 {
        self.lists.get(&kind).copied().unwrap_or_default()
    }
}

impl Marks {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key that is held of this workload already, so that it is held once.
    pub(super) fn known(&self, key: Key) -> Key {
        self.lock().marks.get_key_value(&key).map_or(key, |(known, _)| Arc::clone(known))
    }

    /// Whether this is what was last looked at.
    pub(super) fn is(&self, key: &Key, digest: u64) -> bool {
        self.lock().marks.get(key).is_some_and(|mark| mark.digest == digest)
    }

    /// What was looked at; `None` where it is gone.
    pub(super) fn set(&self, key: &Key, digest: Option<u64>) {
        let mut state = self.lock();
        let list = state.list(key.0);
        match digest {
            Some(digest) => drop(state.marks.insert(Arc::clone(key), Mark { digest, list })),
            None => drop(state.marks.remove(key)),
        }
    }

    /// Everything of a kind is about to be listed.
    pub(super) fn list_begins(&self, kind: Kind) {
        *self.lock().lists.entry(kind).or_default() += 1;
    }

    /// The list that is under way holds this.
    pub(super) fn listed(&self, key: &Key) {
        let mut state = self.lock();
        let list = state.list(key.0);
        if let Some(mark) = state.marks.get_mut(key) {
            mark.list = list;
        }
    }

    /// What was looked at before the list, and is not in it.
    pub(super) fn list_ends(&self, kind: Kind) -> Vec<Key> {
        let state = self.lock();
        let list = state.list(kind);
        let gone = |(key, mark): &(&Key, &Mark)| key.0 == kind && mark.list != list;
        state.marks.iter().filter(gone).map(|(key, _)| Arc::clone(key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: Kind, name: &str) -> Key {
        Arc::new((kind, "shop".to_owned(), name.to_owned()))
    }

    #[test]
    fn a_workload_is_known_by_what_was_last_looked_at() {
        let (marks, web) = (Marks::default(), key(Kind::Deployment, "web"));
        assert!(!marks.is(&web, 1));
        marks.set(&web, Some(1));
        assert!(marks.is(&web, 1) && !marks.is(&web, 2));
        assert!(Arc::ptr_eq(&marks.known(key(Kind::Deployment, "web")), &web), "one name for it");
        marks.set(&web, None);
        assert!(!marks.is(&web, 1) && marks.lock().marks.is_empty());
    }

    #[test]
    fn what_a_list_holds_no_more_is_gone() {
        let marks = Marks::default();
        let (web, old, other) = (key(Kind::Deployment, "web"), key(Kind::Deployment, "old"), key(Kind::DaemonSet, "agent"));
        for known in [&web, &old, &other] {
            marks.set(known, Some(1));
        }
        marks.list_begins(Kind::Deployment);
        marks.listed(&web);
        // Looked at for the first time while the list is under way.
        let new = key(Kind::Deployment, "new");
        marks.listed(&new);
        marks.set(&new, Some(1));
        assert_eq!(marks.list_ends(Kind::Deployment), [old]);
        assert!(marks.list_ends(Kind::DaemonSet).is_empty());
    }
}
