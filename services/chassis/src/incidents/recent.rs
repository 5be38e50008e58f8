//! Incidents that were read lately, so that what has not changed is not read again: each fact of an incident wakes several handlers, and reading
//! one makes nats-server look through thousands of other messages.
//!
//! Guarantees: it holds a bounded number of bytes; what it gives back was whole up to its [`End`]. Must not: be believed before the log's leader
//! was asked what has come since.

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
    pub(super) sequence: u64,
    /// Another stream may have the same sequences.
    at: Timestamp,
}

impl End {
    /// Where a log ends with this message.
    pub(super) const fn with(stored: &Stored) -> Self {
        Self { sequence: stored.sequence, at: stored.at }
    }
}

/// What is kept of an incident.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) end: End,
    /// Of all its messages.
    pub(super) bytes: usize,
    pub(super) loaded: Loaded,
}

#[derive(Debug)]
struct Entries {
    all: LruCache<IncidentId, Held>,
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

    /// What is kept of an incident, old as it may be.
    pub(super) fn get(&self, incident: IncidentId) -> Option<Held> {
        self.lock().all.get(&incident).cloned()
    }

    /// Keeps an incident that was read whole, instead of what was kept of it.
    pub(super) fn keep(&self, incident: IncidentId, held: Held) {
        let mut entries = self.lock();
        if let Some(old) = entries.all.pop(&incident) {
            entries.bytes -= old.bytes;
        }
        if held.bytes > LARGEST {
            return;
        }
        entries.bytes += held.bytes;
        entries.all.put(incident, held);
        while entries.bytes > BYTES
            && let Some((_, old)) = entries.all.pop_lru()
        {
            entries.bytes -= old.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use lastgood_core::incident::Incident;

    use super::*;

    fn held(sequence: u64, bytes: usize) -> Held {
        let loaded = Loaded { incident: Incident::default(), expected: sequence, facts: Vec::new() };
        Held { end: End { sequence, at: Timestamp::UNIX_EPOCH }, bytes, loaded }
    }

    fn incident(number: u8) -> IncidentId {
        format!("inc_{number:032x}").parse().unwrap()
    }

    #[test]
    fn the_newest_is_given_back() {
        let recent = Recent::default();
        let end = || recent.get(incident(1)).map(|held| held.end.sequence);
        assert_eq!(end(), None);
        recent.keep(incident(1), held(7, 1));
        recent.keep(incident(1), held(9, 1));
        assert_eq!(end(), Some(9));
    }

    #[test]
    fn it_holds_a_bounded_number_of_bytes_and_forgets_the_oldest_use() {
        let recent = Recent::default();
        recent.keep(incident(0), held(1, LARGEST + 1));
        assert!(recent.get(incident(0)).is_none(), "too large");
        let many = u8::try_from(BYTES / LARGEST).unwrap();
        for number in 1..=many {
            recent.keep(incident(number), held(1, LARGEST));
        }
        assert!(recent.get(incident(1)).is_some());
        recent.keep(incident(many + 1), held(1, LARGEST));
        let kept = |number| recent.get(incident(number)).is_some();
        assert!(kept(1) && !kept(2) && kept(many + 1));
        assert!(recent.lock().bytes <= BYTES);
    }
}
