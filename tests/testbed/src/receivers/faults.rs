//! Scripted faults: what a receiver does to the next calls instead of answering properly.
//!
//! Guarantee: first asked for, first done; each fault meets exactly one call.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use crate::process::lock;

/// What happens to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this status and not acted upon.
    Fail {
        /// The HTTP status.
        status: u16,
        /// The `Retry-After` header, in whole seconds.
        retry_after: Option<Duration>,
    },
    /// It is not acted upon, and no answer comes.
    Hang,
    /// It is acted upon, but the answer never comes: the caller cannot know.
    LoseAnswer,
    /// It is not acted upon; the answer is HTTP 200 with a body that says so.
    Lie,
}

/// The faults still to happen.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<VecDeque<Fault>>);

impl Faults {
    /// Adds a fault `n` times.
    pub(super) fn script(&self, n: usize, fault: &Fault) {
        lock(&self.0).extend(std::iter::repeat_n(fault.clone(), n));
    }

    /// The fault for the call that has just come, if any.
    pub(super) fn next(&self) -> Option<Fault> {
        lock(&self.0).pop_front()
    }

    /// Forgets what has not happened yet.
    pub(super) fn clear(&self) {
        lock(&self.0).clear();
    }
}
