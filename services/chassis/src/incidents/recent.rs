//! Incidents that were read lately, so that what has not changed is not read again: each fact of an incident wakes several handlers, and reading
//! one makes nats-server look through thousands of other messages.
//!
//! Guarantees: what it gives back ends with the very message that the log ends with; it holds a bounded number of bytes. Must not: be asked
//! before the log's leader was.

use std::sync::{Mutex, MutexGuard, PoisonError};

use contracts::IncidentId;
use jiff::Timestamp;
use lru::LruCache;

use super::Loaded;
use crate::bus::Stored;

/// All of them together, in bytes as stored; folded they take a few times that.
const BYTES: usize = 4 << 20;
/// A larger one is not kept.
const LARGEST: usize = 256 << 10;

/// The last message of an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    sequence: u64,
    /// Another stream may have the same sequences.
    at: Timestamp,
}

impl End {
    /// Where a log ends with this message.
    pub(super) const fn with(stored: &Stored) -> Self {
        Self { sequence: stored.sequence, at: stored.at }
    }
}

#[derive(Debug)]
struct Entry {
    end: End,
    bytes: usize,
    loaded: Loaded,
}

#[derive(Debug)]
struct Entries {
    all: LruCache<IncidentId, Entry>,
    bytes: usize,
}

/// What was read lately.
#[derive(Debug)]
pub(super) struct Recent(Mutex<Entries>);

impl Default for Recent {
    fn default() -> Self {
        Self(Mutex::new(Entries { all: LruCache::unbounded(), bytes: 0 }))
    }
}

impl Recent {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is something of it, old as it may be.
    pub(super) fn has(&self, incident: IncidentId) -> bool {
        self.lock().all.contains(&incident)
    }

    /// The incident, where its log still ends there.
    pub(super) fn get(&self, incident: IncidentId, end: End) -> Option<Loaded> {
        self.lock().all.get(&incident).filter(|entry| entry.end == end).map(|entry| entry.loaded.clone())
    }

    /// Keeps an incident that was read whole, of these messages.
    pub(super) fn keep(&self, incident: IncidentId, messages: &[Stored], loaded: &Loaded) {
        let Some(last) = messages.last() else { return };
        let bytes = messages.iter().map(|message| message.subject.len() + message.data.len()).sum();
        let mut entries = self.lock();
        if let Some(old) = entries.all.pop(&incident) {
            entries.bytes -= old.bytes;
        }
        if bytes > LARGEST {
            return;
        }
        entries.bytes += bytes;
        entries.all.put(incident, Entry { end: End::with(last), bytes, loaded: loaded.clone() });
        while entries.bytes > BYTES
            && let Some((_, old)) = entries.all.pop_lru()
        {
            entries.bytes -= old.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;
    use lastgood_core::incident::Incident;

    use super::*;

    fn message(sequence: u64, second: i64, bytes: usize) -> Stored {
        let at = Timestamp::from_second(second).unwrap();
        Stored { subject: String::new(), sequence, at, headers: HeaderMap::new(), data: vec![0; bytes].into() }
    }

    fn loaded(expected: u64) -> Loaded {
        Loaded { incident: Incident::default(), expected, facts: Vec::new() }
    }

    fn incident(number: u8) -> IncidentId {
        format!("inc_{number:032x}").parse().unwrap()
    }

    #[test]
    fn only_what_ends_where_the_log_ends_is_given_back() {
        let recent = Recent::default();
        recent.keep(incident(1), &[message(4, 10, 1), message(7, 20, 1)], &loaded(7));
        let at =
            |sequence, second| recent.get(incident(1), End::with(&message(sequence, second, 0))).map(|loaded| loaded.expected);
        assert_eq!((at(7, 20), at(8, 20), at(4, 10), at(7, 21)), (Some(7), None, None, None));
        recent.keep(incident(1), &[message(9, 30, 1)], &loaded(9));
        assert_eq!((at(9, 30), at(7, 20)), (Some(9), None));
    }

    #[test]
    fn it_holds_a_bounded_number_of_bytes_and_forgets_the_oldest_use() {
        let recent = Recent::default();
        recent.keep(incident(0), &[message(1, 1, LARGEST + 1)], &loaded(1));
        assert!(!recent.has(incident(0)), "too large");
        let many = u8::try_from(BYTES / LARGEST).unwrap();
        for number in 1..=many {
            recent.keep(incident(number), &[message(1, 1, LARGEST)], &loaded(1));
        }
        assert!(recent.get(incident(1), End::with(&message(1, 1, 0))).is_some());
        recent.keep(incident(many + 1), &[message(1, 1, LARGEST)], &loaded(1));
        assert!(recent.has(incident(1)) && !recent.has(incident(2)) && recent.has(incident(many + 1)));
        assert!(recent.lock().bytes <= BYTES);
    }
}
