//! Incidents on the bus: load and fold, decide, append; the loop that every service's handlers share.
//!
//! Guarantees: a decision is made on a fold of all of the incident's facts, and appended only if nothing came between; one that
//! lost is made again on what is there then. A fact of a type that this binary does not know stops everything about its incident.
//! Must not: decide; `lastgood-core` does.

mod error;
mod load;
mod recent;

use std::sync::Arc;
use std::time::Duration;

use contracts::subjects::{self, streams};
use contracts::v1::WorkloadRef;
use contracts::{Fact, IncidentId, IncidentSubject};
use jiff::Timestamp;
use lastgood_core::incident::{Command, Incident, Recorded, decide};
use tokio::time::Instant;

use crate::bus::{AppendError, Appended, Bus, Group, NewEvent, ReadError, Stored};

use recent::Recent;

pub use error::{ExecuteError, LoadError};

/// How often a decision is made again after it lost; each time somebody else's was stored.
const TRIES: u32 = 20;

/// Reads and writes incidents; cheap to clone.
#[derive(Debug, Clone)]
pub struct Incidents {
    bus: Bus,
    recent: Arc<Recent>,
}

/// An incident as the log has it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The fold.
    pub incident: Incident,
    /// The last sequence of the workload's filter: what an append expects.
    pub expected: u64,
    /// The facts, oldest first.
    pub facts: Vec<Recorded>,
}

/// An incident as far as its log can be read.
#[derive(Debug, Clone)]
pub struct Salvaged {
    /// What could be read.
    pub loaded: Loaded,
    /// A [`LoadError::Damaged`] for each fact that could not; empty where the log is whole.
    pub damage: Vec<LoadError>,
}

/// On what a decision is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Basis {
    /// All facts.
    Whole,
    /// Those that can be read.
    Salvaged,
}

/// What a command came to.
#[derive(Debug, Clone)]
pub struct Executed {
    /// The facts that were appended.
    pub facts: Vec<Fact>,
    /// Where; `None` when the decision was that there is nothing to add.
    pub appended: Option<Appended>,
    /// The incident before them.
    pub before: Loaded,
}

impl Incidents {
    /// Incidents on this bus.
    #[must_use]
    pub fn new(bus: Bus) -> Self {
        Self { bus, recent: Arc::default() }
    }

    /// The bus below.
    #[must_use]
    pub const fn bus(&self) -> &Bus {
        &self.bus
    }

    /// An incident for finding out what its workload may do next: one that was closed may be damaged, since nothing is decided on
    /// it any more.
    async fn load_unless_over(&self, subject: &IncidentSubject, at_least: Option<u64>) -> Result<Loaded, LoadError> {
        let salvaged = Box::pin(self.salvage(subject, at_least)).await?;
        match salvaged.damage.into_iter().next() {
            Some(damage) if salvaged.loaded.incident.closed.is_none() => Err(damage),
            _ => Ok(salvaged.loaded),
        }
    }

    /// The newest incident of a workload; `None` when there never was one (or it is archived).
    pub async fn latest(&self, workload: &WorkloadRef) -> Result<Option<(IncidentSubject, Loaded)>, LoadError> {
        let Some((subject, loaded)) = self.last_on(&subjects::workload_filter(workload)).await? else { return Ok(None) };
        if loaded.incident.is_open() {
            return Ok(Some((subject, loaded)));
        }
        // Late words about an older, closed incident may follow a newer one's opening: the last fact's incident need not be the newest.
        let openings = subjects::workload_facts_of_type(workload, "anomaly_detected");
        let Some(opening) = self.bus.last(streams::INCIDENTS, &openings).await? else { return Ok(Some((subject, loaded))) };
        let newest = subject_of(&opening)?;
        if newest.incident == subject.incident {
            return Ok(Some((subject, loaded)));
        }
        let of_newest = self.load_unless_over(&newest, Some(opening.sequence)).await?;
        // What was expected before the opening was read: should a still newer incident open meanwhile, an append on this is refused.
        Ok(Some((newest, Loaded { expected: loaded.expected, ..of_newest })))
    }

    /// An incident whose workload is not known.
    pub async fn find(&self, incident: IncidentId) -> Result<Option<(IncidentSubject, Loaded)>, LoadError> {
        self.last_on(&subjects::any_workload_filter(incident)).await
    }

    /// The incident of the last fact on a filter.
    async fn last_on(&self, filter: &str) -> Result<Option<(IncidentSubject, Loaded)>, LoadError> {
        let Some(last) = self.bus.last(streams::INCIDENTS, filter).await? else { return Ok(None) };
        let subject = subject_of(&last)?;
        let loaded = self.load_unless_over(&subject, Some(last.sequence)).await?;
        Ok(Some((subject, loaded)))
    }

    /// The last sequence of a workload's filter, for an append that opens an incident together with other facts.
    pub async fn expected(&self, workload: &WorkloadRef) -> Result<u64, ReadError> {
        Ok(self.last_of(workload).await?.map_or(0, |stored| stored.sequence))
    }

    /// The last fact of a workload, of whichever incident, as the stream stored it.
    pub async fn last_of(&self, workload: &WorkloadRef) -> Result<Option<Stored>, ReadError> {
        self.bus.last(streams::INCIDENTS, &subjects::workload_filter(workload)).await
    }

    /// Loads, decides and appends; again from the start when somebody else was faster.
    pub async fn execute(
        &self,
        subject: &IncidentSubject,
        at_least: Option<u64>,
        command: &Command,
        now: Timestamp,
    ) -> Result<Executed, ExecuteError> {
        self.run(subject, at_least, command, now, Basis::Whole).await
    }

    /// The same on what can be read of a damaged log: for what people are told and for giving the incident up.
    pub async fn execute_salvaged(
        &self,
        subject: &IncidentSubject,
        at_least: Option<u64>,
        command: &Command,
        now: Timestamp,
    ) -> Result<Executed, ExecuteError> {
        self.run(subject, at_least, command, now, Basis::Salvaged).await
    }

    async fn run(
        &self,
        subject: &IncidentSubject,
        at_least: Option<u64>,
        command: &Command,
        now: Timestamp,
        basis: Basis,
    ) -> Result<Executed, ExecuteError> {
        let deadline = self.deadline();
        let mut tried = 0;
        loop {
            let before = match basis {
                Basis::Whole => self.load(subject, at_least).await?,
                Basis::Salvaged => Box::pin(self.salvage(subject, at_least)).await?.loaded,
            };
            let facts = decide(&before.incident, command, now).map_err(ExecuteError::Refused)?;
            if facts.is_empty() {
                return Ok(Executed { facts, appended: None, before });
            }
            match self.append(subject, before.expected, &facts).await {
                Ok(appended) => return Ok(Executed { facts, appended: Some(appended), before }),
                Err(AppendError::Lost) => {
                    tried += 1;
                    if tried >= TRIES || Instant::now() >= deadline {
                        return Err(ExecuteError::Contended(tried));
                    }
                    tokio::time::sleep(self.bus.ids().jitter(Duration::from_millis(2 * u64::from(tried)))).await;
                }
                Err(AppendError::Refused(reason)) => return Err(ExecuteError::Broken(reason)),
                Err(away) => return Err(ExecuteError::Unavailable(away.to_string())),
            }
        }
    }

    /// Appends facts to an incident under the workload's expectation.
    pub async fn append(&self, subject: &IncidentSubject, expected: u64, facts: &[Fact]) -> Result<Appended, AppendError> {
        self.bus.append(vec![self.group(subject, expected, facts)]).await
    }

    /// Facts of an incident as a group, to be appended together with others (occurrences).
    #[must_use]
    pub fn group(&self, subject: &IncidentSubject, expected: u64, facts: &[Fact]) -> Group {
        let events = facts.iter().map(|fact| NewEvent::incident(self.bus.ids().event(), subject, fact)).collect();
        Group { filter: subject.workload_filter(), expected, events }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.bus.request_timeout()
    }
}

fn subject_of(stored: &Stored) -> Result<IncidentSubject, LoadError> {
    let stranger = |error: contracts::SubjectError| LoadError::Stranger { sequence: stored.sequence, reason: error.to_string() };
    IncidentSubject::parse(&stored.subject).map(|(subject, _)| subject).map_err(stranger)
}
