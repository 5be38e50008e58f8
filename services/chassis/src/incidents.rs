//! Incidents on the bus: load and fold, decide, append; the loop that every service's handlers share.
//!
//! Guarantees: a decision is made on a fold of all of the incident's facts, and appended only if nothing came between; one that
//! lost is made again on what is there then. A fact of a type that this binary does not know stops everything about its incident.
//! Must not: decide; `lastgood-core` does.

mod error;
mod recent;

use std::sync::Arc;
use std::time::Duration;

use contracts::subjects::{self, streams};
use contracts::v1::WorkloadRef;
use contracts::{DecodeError, Fact, IncidentId, IncidentSubject};
use jiff::Timestamp;
use lastgood_core::incident::{Command, Incident, Recorded, decide, evolve};
use tokio::time::Instant;

use crate::bus::{AppendError, Appended, Bus, Group, NewEvent, ReadError, Stored, again};

use recent::{End, Recent};

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

    /// Reads and folds an incident, at least up to the sequence (in the incidents' stream) that woke the caller. An incident
    /// without facts (not opened, or archived) is `Incident::default()`.
    pub async fn load(&self, subject: &IncidentSubject, at_least: Option<u64>) -> Result<Loaded, LoadError> {
        let salvaged = self.salvage(subject, at_least).await?;
        match salvaged.damage.into_iter().next() {
            Some(damage) => Err(damage),
            None => Ok(salvaged.loaded),
        }
    }

    /// What can be read of an incident, passing over damaged facts (a fact of a newer binary is still an error). For telling people,
    /// never for deciding what happens to a workload.
    pub async fn salvage(&self, subject: &IncidentSubject, at_least: Option<u64>) -> Result<Salvaged, LoadError> {
        let (workload, own) = (subject.workload_filter(), subject.filter());
        let deadline = self.deadline();
        // Where it was read lately, the leader may say that nothing has changed.
        let (mut last, first) = if self.recent.has(subject.incident) {
            (self.bus.last(streams::INCIDENTS, &workload).await?, None)
        } else {
            let reading = self.bus.read_once(streams::INCIDENTS, &own, 1, deadline);
            let (last, first) = tokio::join!(self.bus.last(streams::INCIDENTS, &workload), reading);
            (last?, Some(first?))
        };
        if let Some(sequence) = at_least.filter(|sequence| last.as_ref().is_none_or(|last| last.sequence < *sequence)) {
            last = self.catch_up(&workload, sequence, deadline).await?;
        }
        let Some(last) = last else {
            let loaded = Loaded { incident: Incident::default(), expected: 0, facts: Vec::new() };
            return Ok(Salvaged { loaded, damage: Vec::new() });
        };
        let end = match IncidentSubject::parse(&last.subject) {
            Ok((newest, _)) if newest.incident == subject.incident => Some(last.clone()),
            // A newer incident of the workload follows: this one's own end is asked for after that was seen.
            _ => self.bus.last(streams::INCIDENTS, &own).await?,
        };
        let known = end.as_ref().and_then(|end| self.recent.get(subject.incident, End::with(end)));
        if let Some(known) = known {
            return Ok(Salvaged { loaded: Loaded { expected: last.sequence, ..known }, damage: Vec::new() });
        }
        let wanted = end.map_or(0, |end| end.sequence);
        let first = match first {
            Some(first) => first,
            None => self.bus.read_once(streams::INCIDENTS, &own, 1, deadline).await?,
        };
        let stored = self.bus.read_on(streams::INCIDENTS, &own, 1, wanted, first, deadline).await?;
        let reached = stored.last().map_or(0, |stored| stored.sequence);
        let (mut facts, mut damage) = (Vec::with_capacity(stored.len()), Vec::new());
        for stored in &stored {
            match recorded(stored) {
                Ok(recorded) => facts.push(recorded),
                Err(damaged @ LoadError::Damaged { .. }) => damage.push(damaged),
                Err(error) => return Err(error),
            }
        }
        let incident = facts.iter().fold(Incident::default(), evolve);
        if incident.opened.is_none() && !facts.is_empty() {
            // Its opening is archived, or lost: no decision can rest on the rest, and `decide` refuses to.
            tracing::warn!(incident = %subject, "an incident without its opening is left alone");
            metrics::counter!("lastgood_incidents_without_opening_total").increment(1);
        }
        // What was read beyond the leader's answer is newer than it; if a stranger's fact lies between, the append is refused.
        let loaded = Loaded { incident, expected: last.sequence.max(reached), facts };
        if damage.is_empty() && loaded.incident.opened.is_some() {
            self.recent.keep(subject.incident, &stored, &loaded);
        }
        Ok(Salvaged { loaded, damage })
    }

    /// Asks the leader again until it knows of a sequence that somebody has seen, unless that was purged.
    async fn catch_up(&self, filter: &str, sequence: u64, deadline: Instant) -> Result<Option<Stored>, ReadError> {
        let mut pause = Duration::from_millis(2);
        loop {
            let gone = self.bus.message(streams::INCIDENTS, sequence).await?.is_none();
            let last = self.bus.last(streams::INCIDENTS, filter).await?;
            let reached = last.as_ref().map_or(0, |last| last.sequence);
            if reached >= sequence || (gone && reached > 0) || (gone && self.passed(sequence).await?) {
                return Ok(last);
            }
            let stale = || ReadError::Stale { filter: filter.to_owned(), reached, wanted: sequence };
            pause = again(pause, deadline).await.ok_or_else(stale)?;
        }
    }

    /// Whether the leader's stream has come past this sequence, so that a message missing there was purged.
    async fn passed(&self, sequence: u64) -> Result<bool, ReadError> {
        Ok(self.bus.last_sequence(streams::INCIDENTS).await? >= sequence)
    }

    /// An incident for finding out what its workload may do next: one that was closed may be damaged, since nothing is decided on
    /// it any more.
    async fn load_unless_over(&self, subject: &IncidentSubject, at_least: Option<u64>) -> Result<Loaded, LoadError> {
        let salvaged = self.salvage(subject, at_least).await?;
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
                Basis::Salvaged => self.salvage(subject, at_least).await?.loaded,
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

fn recorded(stored: &Stored) -> Result<Recorded, LoadError> {
    match Fact::decode(stored.event_type(), &stored.data) {
        Ok(fact) => Ok(Recorded { sequence: stored.sequence, at: stored.at, fact }),
        Err(error @ DecodeError::UnknownType(_)) => Err(LoadError::UnknownFact(error.to_string())),
        Err(DecodeError::Damaged { reason, .. }) => {
            Err(LoadError::Damaged { incident: Box::new(subject_of(stored)?), sequence: stored.sequence, reason })
        }
    }
}
