//! Which incidents this process is deciding right now, so that two of its handlers don't do the same work.
//!
//! Guarantees: an entry ends with its guard, also when the handler is dropped. Must not: be relied on for correctness; the log's
//! expectation decides between replicas.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use contracts::IncidentId;

/// The set; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Deciding(Arc<Mutex<HashSet<IncidentId>>>);

/// An entry; dropping it removes it.
#[derive(Debug)]
pub struct Guard {
    set: Deciding,
    incident: IncidentId,
}

impl Deciding {
    /// Takes an incident, unless it is taken.
    #[must_use]
    pub fn begin(&self, incident: IncidentId) -> Option<Guard> {
        let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        set.insert(incident).then(|| Guard { set: self.clone(), incident })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.set.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.incident);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_is_taken_once_and_free_again() {
        let deciding = Deciding::default();
        let id = "inc_0000000000000000000000000000002a".parse().unwrap();
        let guard = deciding.begin(id);
        assert!(guard.is_some() && deciding.begin(id).is_none());
        drop(guard);
        assert!(deciding.begin(id).is_some());
    }
}
