//! The door between one incarnation of a process and the world: everything that it does outside of itself goes through here.
//!
//! Guarantees: once the process is dead nothing of it gets out any more, whatever of its tasks still runs; a crash point kills it right
//! before or right after the operation that it names. Must not: know what an operation does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::traps::Traps;

/// Which side of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// It has not happened.
    Before,
    /// It has happened, and nobody knows.
    After,
}

/// Where a process is to die.
#[derive(Debug, Clone)]
pub struct CrashPoint {
    /// The operation's name begins with this.
    pub operation: String,
    /// How many of them are let through first.
    pub spare: u32,
    /// On which side.
    pub edge: Edge,
}

impl CrashPoint {
    /// Whether this is the one; counts those that are let through.
    pub(super) fn strikes(&mut self, operation: &str, edge: Edge) -> bool {
        if self.edge != edge || !operation.starts_with(&self.operation) {
            return false;
        }
        let now = self.spare == 0;
        self.spare = self.spare.saturating_sub(1);
        now
    }
}

/// One incarnation's door.
#[derive(Debug)]
pub struct Gate {
    process: String,
    dead: AtomicBool,
    point: Mutex<Option<CrashPoint>>,
    died: mpsc::UnboundedSender<String>,
    traps: Arc<Traps>,
}

impl Gate {
    /// The door of a living process; why it died is sent once.
    #[must_use]
    pub const fn new(process: String, point: Option<CrashPoint>, died: mpsc::UnboundedSender<String>, traps: Arc<Traps>) -> Self {
        Self { process, dead: AtomicBool::new(false), point: Mutex::new(point), died, traps }
    }

    /// The process's name.
    #[must_use]
    pub fn process(&self) -> &str {
        &self.process
    }

    /// Whether it is dead.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Kills the process.
    pub fn kill(&self, why: &str) {
        if !self.dead.swap(true, Ordering::SeqCst) {
            // Nobody waits for the word of a process that was ended from outside.
            let _ = self.died.send(why.to_owned());
        }
    }

    /// To be called before an operation; never returns in a dead process.
    pub async fn before(&self, operation: &str) {
        self.pass(operation, Edge::Before).await;
    }

    /// To be called after an operation took effect; never returns in a dead process.
    pub async fn after(&self, operation: &str) {
        self.pass(operation, Edge::After).await;
    }

    async fn pass(&self, operation: &str, edge: Edge) {
        if self.is_struck(operation, edge) {
            self.kill(&format!("killed right {} {operation}", if edge == Edge::Before { "before" } else { "after" }));
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
        self.traps.passed(&self.process, operation, edge);
    }

    fn is_struck(&self, operation: &str, edge: Edge) -> bool {
        let mut point = self.point.lock().unwrap_or_else(PoisonError::into_inner);
        let struck = point.as_mut().is_some_and(|aim| aim.strikes(operation, edge));
        if struck {
            *point = None;
        }
        struck
    }
}
