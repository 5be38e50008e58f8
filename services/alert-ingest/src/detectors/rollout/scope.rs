//! What is known of one scope (a namespace, or all): the tables of each watch, as one.
//!
//! Guarantees: nothing counts as known before every watch has listed once. Must not: judge.

use std::collections::BTreeSet;

use super::view::{Pod, Revision, Table, Workload};
use super::watch::{Any, REVISIONS, WORKLOADS};

/// The tables; one for each watch, as a relist replaces what that watch knew.
#[derive(Debug, Default)]
pub(super) struct Scope {
    workloads: [Table<Workload>; WORKLOADS],
    revisions: [Table<Revision>; REVISIONS],
    pods: Table<Pod>,
}

impl Scope {
    pub(super) fn is_complete(&self) -> bool {
        self.workloads.iter().all(Table::is_complete) && self.revisions.iter().all(Table::is_complete) && self.pods.is_complete()
    }

    /// Applies a change; the uids of the workloads to judge again.
    pub(super) fn apply(&mut self, change: Any) -> BTreeSet<String> {
        match change {
            Any::Workload(watch, change) => self.workloads[watch].apply(change),
            Any::Revision(watch, change) => self.revisions[watch].apply(change),
            Any::Pod(change) => {
                let touched = self.pods.apply(change);
                let revisions = touched.iter().filter_map(|key| self.revisions.iter().find_map(|table| table.get(key)));
                revisions.map(|revision| revision.owner.clone()).collect()
            }
        }
    }

    pub(super) fn workload(&self, uid: &str) -> Option<&Workload> {
        self.workloads.iter().find_map(|table| table.get(uid))
    }

    pub(super) fn workloads(&self) -> impl Iterator<Item = &String> {
        self.workloads.iter().flat_map(Table::uids)
    }

    pub(super) fn revisions(&self, workload: &str) -> Vec<&Revision> {
        self.revisions.iter().flat_map(|table| table.of(workload)).collect()
    }

    pub(super) fn pods(&self, revision: &str) -> impl Iterator<Item = &Pod> {
        self.pods.of(revision)
    }
}
