//! The incident log as the verifier uses it: read an incident, append what a command makes of it.
//!
//! Guarantees: a command that the log says already is success; a refusal because the incident has moved on is told apart from an
//! error. Must not: decide; core does.

use async_trait::async_trait;
use chassis::bus::HandleError;
use contracts::IncidentSubject;
use lastgood_core::incident::{Command, Incident};

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It is on the log, by us or by another replica.
    Done,
    /// The incident has moved on; the refusal, for the log line.
    MovedOn(String),
}

/// The incident log.
#[async_trait]
pub trait Log: Send + Sync {
    /// The incident, folded at least up to this sequence.
    async fn load(&self, subject: &IncidentSubject, at_least: Option<u64>) -> Result<Incident, HandleError>;

    /// Appends what this command makes of the incident.
    async fn execute(&self, subject: &IncidentSubject, command: &Command) -> Result<Said, HandleError>;
}
