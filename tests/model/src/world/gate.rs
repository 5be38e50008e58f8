//! The door between one incarnation of a process and the world: everything that it does outside of itself goes through here.
//!
//! Guarantees: once the process is dead nothing of it gets out any more, whatever of its tasks still runs; a crash point kills it right
//! before or right after the operation that it names. Must not: know what an operation does.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

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

/// One incarnation's door.
#[derive(Debug)]
pub struct Gate {
    process: String,
    dead: AtomicBool,
    point: Mutex<Option<CrashPoint>>,
    died: mpsc::UnboundedSender<String>,
}

impl Gate {
    /// The door of a living process; why it died is sent once.
    #[must_use]
    pub const fn new(process: String, point: Option<CrashPoint>, died: mpsc::UnboundedSender<String>) -> Self {
        Self { process, dead: AtomicBool::new(false), point: Mutex::new(point), died }
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
    }

    fn is_struck(&self, operation: &str, edge: Edge) -> bool {
        let mut point = self.point.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(aim) = point.as_mut().filter(|aim| aim.edge == edge && operation.starts_with(&aim.operation)) else {
            return false;
        };
        if aim.spare > 0 {
            aim.spare -= 1;
            return false;
        }
        *point = None;
        true
    }
}
