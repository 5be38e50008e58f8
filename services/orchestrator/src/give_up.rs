//! Giving an incident up whose log is damaged: nothing can be decided on it, so people are told, and it is closed.
//!
//! Guarantees: its workload is not blocked by it: the next alert opens an incident of its own. Must not: do so for a log that only a newer
//! binary can read, or because something is away.

use chassis::bus::HandleError;
use chassis::incidents::{ExecuteError, Incidents, LoadError, Loaded};
use contracts::IncidentSubject;
use contracts::v1::WorkloadRef;
use jiff::Timestamp;
use lastgood_core::incident::Command;

use crate::decision::Engine;

/// Tells the team lead through what can be read of the log, and closes it.
pub(crate) async fn give_up(
    incidents: &Incidents,
    subject: &IncidentSubject,
    what: &str,
    now: Timestamp,
) -> Result<(), HandleError> {
    let command = Command::GiveUp { detail: what.to_owned() };
    if ExecuteError::settled(incidents.execute_salvaged(subject, None, &command, now).await)?.is_some() {
        tracing::error!(incident = %subject, what, "the incident's log is damaged; it is given up, and people are told");
        metrics::counter!("lastgood_incidents_given_up_total").increment(1);
    }
    Ok(())
}

impl Engine {
    /// The workload's newest incident; one whose log is damaged is given up first.
    pub(crate) async fn latest(&self, workload: &WorkloadRef) -> Result<Option<(IncidentSubject, Loaded)>, HandleError> {
        let error = match self.incidents.latest(workload).await {
            Ok(latest) => return Ok(latest),
            Err(error) => error,
        };
        let LoadError::Damaged { incident, .. } = &error else { return Err(error.into()) };
        // All of it: people look for the fact that it names.
        give_up(&self.incidents, incident, &error.to_string(), self.clock.now()).await?;
        Ok(self.incidents.latest(workload).await?)
    }

    /// An incident; one whose log is damaged is given up first, and comes closed, as much of it as can be read.
    pub(crate) async fn load_or_give_up(&self, subject: &IncidentSubject, at_least: Option<u64>) -> Result<Loaded, HandleError> {
        let salvaged = self.incidents.salvage(subject, at_least).await?;
        match salvaged.damage.first() {
            Some(damage) if salvaged.loaded.incident.closed.is_none() => {
                give_up(&self.incidents, subject, &damage.to_string(), self.clock.now()).await?;
                Ok(self.incidents.salvage(subject, None).await?.loaded)
            }
            _ => Ok(salvaged.loaded),
        }
    }
}
