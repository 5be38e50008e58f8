//! The little that is kept in memory of the cluster: for each workload, its revisions and their pods a few short texts.
//!
//! Guarantees: a relist replaces what was known at once, so that a broken watch loses nothing and leaves nothing behind; templates are
//! hashed as they arrive and dropped. Must not: keep whole objects (30 MiB must do for a cluster).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

/// A kind of workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It says itself when a rollout makes no progress.
    Deployment,
    /// It says nothing of the kind; its pods have to tell.
    StatefulSet,
    /// It says nothing of the kind; its pods have to tell.
    DaemonSet,
}

impl Kind {
    /// The API's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }

    /// The label of an alert that names one.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::StatefulSet => "statefulset",
            Self::DaemonSet => "daemonset",
        }
    }
}

/// A workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its kind.
    pub kind: Kind,
    /// Its uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `status.observedGeneration`.
    pub observed_generation: i64,
    /// How many pods it wants.
    pub replicas: i32,
    /// Of `spec.template`, by `lastgood_core::template::hash`.
    pub template_hash: String,
    /// Whether `lastgood.dev/template` says that this very template was put back by lastgood.
    pub restored_by_us: bool,
    /// The message of `Progressing: False, ProgressDeadlineExceeded`.
    pub deadline_exceeded: Option<String>,
}

/// What carries a version of a workload: a ReplicaSet, or a ControllerRevision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// What its pods know it by: a ReplicaSet's uid; the workload's uid and what its pods' label says.
    pub uid: String,
    /// The workload's uid.
    pub owner: String,
    /// Its name.
    pub name: String,
    /// Of `spec.template`, without the `pod-template-hash` label.
    pub template_hash: String,
    /// When it was created.
    pub created: Option<Timestamp>,
}

/// A pod of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its uid.
    pub uid: String,
    /// What it knows its revision by.
    pub owner: String,
    /// Its name.
    pub name: String,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Its `Ready` condition.
    pub ready: bool,
    /// That it has not become ready since it was created; `None` once it was.
    pub never_ready: Option<Unready>,
    /// Its containers, the init containers first.
    pub containers: Vec<Container>,
}

/// A pod that has not become ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unready {
    /// Since when there is the pod.
    pub since: Timestamp,
    /// The cluster's own word for what keeps it, e.g. `Unschedulable`.
    pub state: String,
    /// The message with that.
    pub message: String,
}

/// A container's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// How often it was restarted.
    pub restarts: i32,
    /// Why it waits; empty when it does not.
    pub waiting: String,
    /// The message with that.
    pub message: String,
    /// Since when it runs.
    pub running_since: Option<Timestamp>,
}

/// Something that a table holds.
pub trait Item {
    /// Its identity.
    fn uid(&self) -> &str;
    /// Whose it is; itself for a workload.
    fn owner(&self) -> &str;
}

macro_rules! item {
    ($name:ty, $owner:ident) => {
        impl Item for $name {
            fn uid(&self) -> &str {
                &self.uid
            }

            fn owner(&self) -> &str {
                &self.$owner
            }
        }
    };
}

item!(Workload, uid);
item!(Revision, owner);
item!(Pod, owner);

/// What a watch said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<T> {
    /// A list begins.
    Begin,
    /// One of the list; `None` is one that is of no interest.
    Listed(Option<T>),
    /// The list is complete: what it didn't hold is gone.
    Complete,
    /// New or changed.
    Changed(T),
    /// Gone, or of no interest any more.
    Gone(String),
}

/// All of one kind in one scope.
#[derive(Debug)]
pub struct Table<T> {
    items: BTreeMap<String, T>,
    of_owner: BTreeMap<String, BTreeSet<String>>,
    incoming: Vec<T>,
    complete: bool,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), of_owner: BTreeMap::new(), incoming: Vec::new(), complete: false }
    }
}

impl<T: Item> Table<T> {
    /// Applies a change; the owners whose state it may have changed.
    pub fn apply(&mut self, change: Change<T>) -> BTreeSet<String> {
        let mut touched = BTreeSet::new();
        match change {
            Change::Begin => self.incoming.clear(),
            Change::Listed(item) => self.incoming.extend(item),
            Change::Complete => {
                touched.extend(std::mem::take(&mut self.of_owner).into_keys());
                self.items.clear();
                for item in std::mem::take(&mut self.incoming) {
                    self.put(item, &mut touched);
                }
                self.complete = true;
            }
            Change::Changed(item) => self.put(item, &mut touched),
            Change::Gone(uid) => self.remove(&uid, &mut touched),
        }
        touched
    }

    fn put(&mut self, item: T, touched: &mut BTreeSet<String>) {
        if self.items.get(item.uid()).is_some_and(|before| before.owner() != item.owner()) {
            self.remove(item.uid(), touched);
        }
        touched.insert(item.owner().to_owned());
        self.of_owner.entry(item.owner().to_owned()).or_default().insert(item.uid().to_owned());
        self.items.insert(item.uid().to_owned(), item);
    }

    fn remove(&mut self, uid: &str, touched: &mut BTreeSet<String>) {
        let Some(item) = self.items.remove(uid) else { return };
        let owner = item.owner().to_owned();
        if let Some(uids) = self.of_owner.get_mut(&owner) {
            uids.remove(uid);
            if uids.is_empty() {
                self.of_owner.remove(&owner);
            }
        }
        touched.insert(owner);
    }

    /// The one with this uid.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<&T> {
        self.items.get(uid)
    }

    /// All of one owner.
    pub fn of(&self, owner: &str) -> impl Iterator<Item = &T> {
        self.of_owner.get(owner).into_iter().flatten().filter_map(|uid| self.items.get(uid))
    }

    /// All uids.
    pub fn uids(&self) -> impl Iterator<Item = &String> {
        self.items.keys()
    }

    /// Whether it was listed once: before that, what is missing says nothing.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(uid: &str, owner: &str) -> Revision {
        Revision { uid: uid.into(), owner: owner.into(), name: uid.into(), template_hash: String::new(), created: None }
    }

    fn names(table: &Table<Revision>, owner: &str) -> Vec<String> {
        let mut names: Vec<String> = table.of(owner).map(|revision| revision.uid.clone()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_relist_replaces_what_was_known() {
        let mut table = Table::default();
        for change in [Change::Begin, Change::Listed(Some(revision("a", "x"))), Change::Listed(None)] {
            assert!(table.apply(change).is_empty());
            assert!(!table.is_complete());
        }
        assert_eq!(table.apply(Change::Complete), BTreeSet::from(["x".to_owned()]));
        table.apply(Change::Changed(revision("b", "x")));
        assert_eq!(names(&table, "x"), ["a", "b"]);
        table.apply(Change::Begin);
        table.apply(Change::Listed(Some(revision("c", "y"))));
        assert_eq!(names(&table, "x"), ["a", "b"]);
        assert_eq!(table.apply(Change::Complete), BTreeSet::from(["x".to_owned(), "y".to_owned()]));
        assert_eq!((names(&table, "x"), names(&table, "y")), (vec![], vec!["c".to_owned()]));
    }

    #[test]
    fn what_goes_touches_its_owner() {
        let mut table = Table::default();
        table.apply(Change::Changed(revision("a", "x")));
        assert_eq!(table.apply(Change::Gone("a".into())), BTreeSet::from(["x".to_owned()]));
        assert!(table.apply(Change::Gone("a".into())).is_empty());
    }
}
