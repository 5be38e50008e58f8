//! When a workload is to be looked at again though nothing happens: at the end of its version's soak.
//!
//! Guarantees: one wake a workload, the latest that was set; whoever waits is woken for an earlier one. Must not: be relied on over a
//! restart: the first look at each workload sets it again.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::cluster::Kind;

/// A workload's kind, namespace and name; held once, however many ask for it.
pub(super) type Key = Arc<(Kind, String, String)>;

/// The wakes that are set.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    set: Mutex<State>,
    earlier: Notify,
}

#[derive(Debug, Default)]
struct State {
    order: BTreeSet<(Timestamp, Key)>,
    at: HashMap<Key, Timestamp>,
}

impl State {
    fn remove(&mut self, key: &Key) {
        if let Some(at) = self.at.remove(key) {
            self.order.remove(&(at, Arc::clone(key)));
        }
    }
}

impl Wakes {
    /// Sets a workload's wake, or takes it away.
    pub(super) fn set(&self, key: &Key, at: Option<Timestamp>) {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        set.remove(key);
        if let Some(at) = at {
            set.at.insert(Arc::clone(key), at);
            set.order.insert((at, Arc::clone(key)));
            drop(set);
            self.earlier.notify_one();
        }
    }

    /// The first that is set.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner).order.first().map(|(at, _)| *at)
    }

    /// Takes the first that is due.
    pub(super) fn take(&self, now: Timestamp) -> Option<Key> {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let key = set.order.first().filter(|(at, _)| *at <= now).map(|(_, key)| Arc::clone(key))?;
        set.remove(&key);
        Some(key)
    }

    /// Returns once one was set since the last call.
    pub(super) async fn changed(&self) {
        self.earlier.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn key(name: &str) -> Key {
        Arc::new((Kind::Deployment, "shop".to_owned(), name.to_owned()))
    }

    #[test]
    fn each_workload_is_woken_once_at_the_time_set_last() {
        let wakes = Wakes::default();
        wakes.set(&key("a"), Some(at(10)));
        wakes.set(&key("b"), Some(at(5)));
        wakes.set(&key("a"), Some(at(20)));
        wakes.set(&key("c"), Some(at(1)));
        wakes.set(&key("c"), None);
        assert_eq!((wakes.first(), wakes.take(at(4))), (Some(at(5)), None));
        assert_eq!(wakes.take(at(30)), Some(key("b")));
        assert_eq!(wakes.take(at(30)), Some(key("a")));
        assert_eq!((wakes.take(at(30)), wakes.first()), (None, None));
    }
}
