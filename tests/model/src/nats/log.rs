//! The messages of one stream.
//!
//! Guarantees: sequences only grow; a removed message leaves a hole. Must not: know limits, consumers or time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use chassis::bus::Stored;

use super::subjects::{literal, matches};

/// What a file store spends on a message beside its parts.
const OVERHEAD: usize = 30;

/// Messages by sequence and by subject.
#[derive(Debug, Default)]
pub(super) struct Log {
    messages: BTreeMap<u64, Arc<Stored>>,
    subjects: BTreeMap<String, BTreeSet<u64>>,
    /// The last sequence ever given.
    pub(super) last: u64,
    /// What is stored takes so much room.
    pub(super) bytes: usize,
}

/// The room that a message takes in a file store, headers written one a line.
pub(super) fn size(stored: &Stored) -> usize {
    let lines: usize = stored
        .headers
        .iter()
        .map(|(name, values)| values.iter().map(|value| name.to_string().len() + value.as_str().len() + 4).sum::<usize>())
        .sum();
    let headers = if stored.headers.is_empty() { 0 } else { lines + 12 + 4 };
    OVERHEAD + stored.subject.len() + headers + stored.data.len()
}

impl Log {
    /// Stores a message under its sequence, which must be the next.
    pub(super) fn push(&mut self, stored: Arc<Stored>) {
        debug_assert_eq!(stored.sequence, self.last + 1, "sequences have no holes when they are given");
        self.last = stored.sequence;
        self.bytes += size(&stored);
        self.subjects.entry(stored.subject.clone()).or_default().insert(stored.sequence);
        self.messages.insert(stored.sequence, stored);
    }

    /// Takes a message away.
    pub(super) fn remove(&mut self, sequence: u64) -> Option<Arc<Stored>> {
        let stored = self.messages.remove(&sequence)?;
        self.bytes -= size(&stored);
        if let Some(sequences) = self.subjects.get_mut(&stored.subject) {
            sequences.remove(&sequence);
            if sequences.is_empty() {
                self.subjects.remove(&stored.subject);
            }
        }
        Some(stored)
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&Arc<Stored>> {
        self.messages.get(&sequence)
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.messages.first_key_value().map(|(sequence, _)| *sequence)
    }

    /// All from a sequence on, oldest first.
    pub(super) fn from(&self, sequence: u64) -> impl Iterator<Item = &Arc<Stored>> {
        self.messages.range(sequence..).map(|(_, stored)| stored)
    }

    /// The subjects on a filter, with their sequences.
    pub(super) fn on<'a>(&'a self, filter: &'a str) -> impl Iterator<Item = (&'a String, &'a BTreeSet<u64>)> {
        let prefix = literal(filter);
        let range = self
            .subjects
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(subject, _)| subject.starts_with(prefix));
        range.filter(move |(subject, _)| matches(filter, subject))
    }

    /// The sequences on a filter from one on, in order.
    pub(super) fn sequences(&self, filter: &str, from: u64) -> BTreeSet<u64> {
        self.on(filter).flat_map(|(_, sequences)| sequences.range(from..).copied()).collect()
    }

    /// The last message on a filter.
    pub(super) fn last_on(&self, filter: &str) -> Option<&Arc<Stored>> {
        let last = self.on(filter).filter_map(|(_, sequences)| sequences.last()).max()?;
        self.messages.get(last)
    }

    /// The first message on a filter at or after a sequence.
    pub(super) fn next_on(&self, filter: &str, from: u64) -> Option<&Arc<Stored>> {
        let next = self.on(filter).filter_map(|(_, sequences)| sequences.range(from..).next()).min()?;
        self.messages.get(next)
    }
}
