//! Who listens where.
//!
//! Guarantee: those who listen on a subject are found in the order in which they came, and without looking at all. Must not: deliver.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::Message;
use tokio::sync::mpsc;

use super::subjects::{literal, matches};

/// A subscription.
pub(super) struct Sub {
    pub(super) link: u64,
    pub(super) filter: String,
    pub(super) sender: mpsc::UnboundedSender<Message>,
}

/// All subscriptions.
#[derive(Default)]
pub(super) struct Subscriptions {
    all: BTreeMap<u64, Sub>,
    /// Of filters without wildcards, which inboxes are.
    literal: BTreeMap<String, BTreeSet<u64>>,
    wild: BTreeSet<u64>,
}

impl Subscriptions {
    pub(super) fn insert(&mut self, id: u64, sub: Sub) {
        if literal(&sub.filter) == sub.filter {
            self.literal.entry(sub.filter.clone()).or_default().insert(id);
        } else {
            self.wild.insert(id);
        }
        self.all.insert(id, sub);
    }

    pub(super) fn remove(&mut self, id: u64) {
        let Some(sub) = self.all.remove(&id) else { return };
        self.wild.remove(&id);
        if let Some(ids) = self.literal.get_mut(&sub.filter) {
            ids.remove(&id);
            if ids.is_empty() {
                self.literal.remove(&sub.filter);
            }
        }
    }

    pub(super) fn get(&self, id: u64) -> Option<&Sub> {
        self.all.get(&id)
    }

    /// All of one connection.
    pub(super) fn of(&self, link: u64) -> impl Iterator<Item = &Sub> {
        self.all.values().filter(move |sub| sub.link == link)
    }

    /// Those on a subject: their ids and connections.
    pub(super) fn on(&self, subject: &str) -> impl Iterator<Item = (u64, u64)> {
        let wild = self.wild.iter().filter(move |id| self.all.get(id).is_some_and(|sub| matches(&sub.filter, subject)));
        let ids = self.literal.get(subject).into_iter().flatten().chain(wild);
        ids.filter_map(|id| self.all.get(id).map(|sub| (*id, sub.link)))
    }
}
