//! Traps: something happens at the very moment at which a process is about to do something, or has just done it.
//!
//! Guarantees: each springs once, in whichever process of its service comes first. Must not: know what is to happen; whoever set it does.

use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use super::gate::{CrashPoint, Edge};

/// One trap.
#[derive(Debug, Clone)]
pub struct Trap {
    /// The process's name begins with this.
    pub process: String,
    /// The operation.
    pub point: CrashPoint,
}

/// All traps of a world, by their numbers.
#[derive(Debug)]
pub struct Traps {
    set: Mutex<Vec<(usize, Trap)>>,
    sprung: mpsc::UnboundedSender<usize>,
}

impl Traps {
    /// These, numbered in this order; the numbers of those that spring arrive at the receiver.
    #[must_use]
    pub fn new(traps: Vec<Trap>) -> (Self, mpsc::UnboundedReceiver<usize>) {
        let (sprung, receiver) = mpsc::unbounded_channel();
        (Self { set: Mutex::new(traps.into_iter().enumerate().collect()), sprung }, receiver)
    }

    /// A process is at this operation.
    pub(super) fn passed(&self, process: &str, operation: &str, edge: Edge) {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let springs = |(_, trap): &mut (usize, Trap)| process.starts_with(&trap.process) && trap.point.strikes(operation, edge);
        if let Some(at) = set.iter_mut().position(springs) {
            let (number, _) = set.remove(at);
            // Without a receiver the play is over.
            let _ = self.sprung.send(number);
        }
    }
}
