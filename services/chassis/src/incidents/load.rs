//! Reading an incident: by what is kept of it from the last time, by going back along its log, or by its filter.
//!
//! Guarantees: what is folded is whole and as new as the leader's log, or an error. Must not: decide.

use std::time::Duration;

use contracts::subjects::streams;
use contracts::{DecodeError, Fact, IncidentSubject};
use lastgood_core::incident::{Incident, Recorded, evolve};
use tokio::time::Instant;

use crate::bus::{Place, ReadError, Stored, again};

use super::recent::{End, Held};
use super::{Incidents, LoadError, Loaded, Salvaged, subject_of};

/// Facts that came since an incident was read; where there are more, it is read from the start.
const SINCE: usize = 24;

impl Incidents {
    /// Reads and folds an incident, at least up to the sequence (in the incidents' stream) that woke the caller. An incident
    /// without facts (not opened, or archived) is `Incident::default()`.
    pub async fn load(&self, subject: &IncidentSubject, at_least: Option<u64>) -> Result<Loaded, LoadError> {
        // Boxed: whoever reads an incident would carry the state of all the ways of reading it.
        let salvaged = Box::pin(self.salvage(subject, at_least)).await?;
        match salvaged.damage.into_iter().next() {
            Some(damage) => Err(damage),
            None => Ok(salvaged.loaded),
        }
    }

    /// What can be read of an incident, passing over damaged facts (a fact of a newer binary is still an error). For telling people,
    /// never for deciding what happens to a workload.
    pub async fn salvage(&self, subject: &IncidentSubject, at_least: Option<u64>) -> Result<Salvaged, LoadError> {
        let (workload, own) = (subject.workload_filter(), subject.filter());
        let place = Place { stream: streams::INCIDENTS, own: &own, expectation: &workload };
        let deadline = self.deadline();
        // Where it was read lately, the leader may say that nothing has changed.
        let held = self.recent.get(subject.incident);
        let (mut last, beginning) = if held.is_some() {
            (self.bus.last(place.stream, &workload).await?, None)
        } else {
            let beginning = self.bus.beginning(place.stream, &own, deadline);
            let (last, beginning) = tokio::join!(self.bus.last(place.stream, &workload), beginning);
            (last?, Some(beginning?))
        };
        if let Some(sequence) = at_least.filter(|sequence| last.as_ref().is_none_or(|last| last.sequence < *sequence)) {
            last = self.catch_up(&workload, sequence, deadline).await?;
        }
        let expected = last.as_ref().map_or(0, |last| last.sequence);
        let end = match last {
            // A newer incident of the workload follows: this one's own end is asked for after that was seen.
            Some(last) if !is_of(&last, subject) => self.bus.last(place.stream, &own).await?,
            last => last,
        };
        let Some(end) = end else {
            let loaded = Loaded { incident: Incident::default(), expected, facts: Vec::new() };
            return Ok(Salvaged { loaded, damage: Vec::new() });
        };
        let since = match &held {
            Some(held) => self.since(place, held, &end, deadline).await?,
            None => None,
        };
        let (before, stored) = match (held, since) {
            (Some(held), Some(since)) if since.is_empty() => {
                return Ok(Salvaged { loaded: Loaded { expected, ..held.loaded }, damage: Vec::new() });
            }
            (Some(held), Some(since)) => (Some(held), since),
            _ => {
                let beginning = match beginning {
                    Some(beginning) => beginning,
                    None => self.bus.beginning(place.stream, &own, deadline).await?,
                };
                (None, self.bus.history(place, beginning, &end, deadline).await?)
            }
        };
        self.folded(subject, before, &stored, expected)
    }

    /// The messages after those that are held; `None` where they are too many, or the log is another one.
    async fn since(
        &self,
        place: Place<'_>,
        held: &Held,
        end: &Stored,
        deadline: Instant,
    ) -> Result<Option<Vec<Stored>>, ReadError> {
        if End::with(end) == held.end {
            return Ok(Some(Vec::new()));
        }
        let way = self.bus.back_to(place, end, held.end.sequence, SINCE, deadline).await?;
        Ok(way.filter(|way| way.first().map(End::with) == Some(held.end)).map(|mut way| way.split_off(1)))
    }

    /// Folds messages on what is held of the incident, and keeps what came of it.
    fn folded(
        &self,
        subject: &IncidentSubject,
        before: Option<Held>,
        stored: &[Stored],
        expected: u64,
    ) -> Result<Salvaged, LoadError> {
        let (bytes, Loaded { mut incident, mut facts, .. }) = before.map_or_else(
            || (0, Loaded { incident: Incident::default(), expected, facts: Vec::new() }),
            |held| (held.bytes, held.loaded),
        );
        let mut damage = Vec::new();
        for stored in stored {
            match recorded(stored) {
                Ok(recorded) => {
                    incident = evolve(incident, &recorded);
                    facts.push(recorded);
                }
                Err(damaged @ LoadError::Damaged { .. }) => damage.push(damaged),
                Err(error) => return Err(error),
            }
        }
        if incident.opened.is_none() && !facts.is_empty() {
            // Its opening is archived, or lost: no decision can rest on the rest, and `decide` refuses to.
            tracing::warn!(incident = %subject, "an incident without its opening is left alone");
            metrics::counter!("lastgood_incidents_without_opening_total").increment(1);
        }
        // What was read beyond the leader's answer is newer than it; if a stranger's fact lies between, the append is refused.
        let reached = stored.last().map_or(0, |stored| stored.sequence);
        let loaded = Loaded { incident, expected: expected.max(reached), facts };
        if let Some(last) = stored.last().filter(|_| damage.is_empty() && loaded.incident.opened.is_some()) {
            let more: usize = stored.iter().map(|stored| stored.subject.len() + stored.data.len()).sum();
            self.recent.keep(subject.incident, Held { end: End::with(last), bytes: bytes + more, loaded: loaded.clone() });
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
}

/// Whether a message is a fact of this incident.
fn is_of(stored: &Stored, subject: &IncidentSubject) -> bool {
    subject_of(stored).is_ok_and(|newest| newest.incident == subject.incident)
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
