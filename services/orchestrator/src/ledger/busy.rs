//! Which workloads are being looked at.
//!
//! Guarantees: one look at a workload at a time, so that an older one can't undo what a newer one has set (a wake, a mark); whoever comes
//! meanwhile has the workload looked at once more. Must not: make anybody wait.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use super::wakes::Key;

/// The workloads, each with whether it is to be looked at once more.
#[derive(Debug, Default)]
pub(super) struct Busy(Mutex<HashMap<Key, bool>>);

impl Busy {
    /// Whether a look may begin; where one is under way, another one follows it.
    pub(super) fn begins(&self, key: &Key) -> bool {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(Key::clone(key)) {
            Entry::Vacant(free) => {
                free.insert(false);
                true
            }
            Entry::Occupied(mut busy) => {
                busy.insert(true);
                false
            }
        }
    }

    /// Ends a look; whether another one has to follow at once.
    pub(super) fn follows(&self, key: &Key) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let again = all.get_mut(key).is_some_and(std::mem::take);
        if !again {
            all.remove(key);
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cluster::Kind;

    #[test]
    fn whoever_comes_meanwhile_makes_one_more_look() {
        let (busy, web): (Busy, Key) = (Busy::default(), Arc::new((Kind::Deployment, "shop".into(), "web".into())));
        assert!(busy.begins(&web));
        assert!(!busy.begins(&web) && !busy.begins(&web));
        assert!(busy.follows(&web), "for both of them");
        assert!(!busy.follows(&web));
        assert!(busy.begins(&web));
    }
}
