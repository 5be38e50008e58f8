//! The incident log as the verifier uses it: read an incident, append what a command makes of it.
//!
//! Guarantees: a command that the log says already is success; a refusal because the incident has moved on is told apart from an
//! error. Must not: decide; core does.

use std::sync::Arc;

use async_trait::async_trait;
use chassis::{Clock, ExecuteError, HandleError, Incidents};
use contracts::IncidentSubject;
use lastgood_core::incident::{Command, Incident, Refusal};

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

/// The log on the bus.
#[derive(Debug, Clone)]
pub struct BusLog {
    incidents: Incidents,
    clock: Arc<dyn Clock>,
}

impl BusLog {
    /// The log of these incidents.
    #[must_use]
    pub fn new(incidents: Incidents, clock: Arc<dyn Clock>) -> Self {
        Self { incidents, clock }
    }
}

#[async_trait]
impl Log for BusLog {
    async fn load(&self, subject: &IncidentSubject, at_least: Option<u64>) -> Result<Incident, HandleError> {
        Ok(self.incidents.load(subject, at_least).await?.incident)
    }

    async fn execute(&self, subject: &IncidentSubject, command: &Command) -> Result<Said, HandleError> {
        match self.incidents.execute(subject, None, command, self.clock.now()).await {
            Ok(_) => Ok(Said::Done),
            Err(ExecuteError::Refused(refusal)) => settled(refusal),
            Err(error) => Err(error.into()),
        }
    }
}

/// What a refusal means to the verifier: success, that the incident has moved on, or that it has to look again.
pub fn settled(refusal: Refusal) -> Result<Said, HandleError> {
    match refusal {
        Refusal::AlreadySo => Ok(Said::Done),
        Refusal::Illegal { .. } => Ok(Said::MovedOn(refusal.to_string())),
        // Another replica's fact came between the look at the log and the command: look again.
        other => Err(ExecuteError::Refused(other).into()),
    }
}
