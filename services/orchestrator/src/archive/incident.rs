//! One incident's way from the log into the archive.
//!
//! Guarantees: read, checked, stored, read back, and only then purged, by sequence, so that what is appended meanwhile is not taken away
//! unread. Cut off after any of these steps, the same again leads to the same end. Must not: purge what it has not read back.

use chassis::bus::Stored;
use contracts::subjects::{self, streams};
use contracts::v1::ArchivedIncident;
use contracts::{Fact, IncidentSubject};
use futures::{StreamExt, TryStreamExt, stream};
use lastgood_core::incident::{Incident, Recorded, evolve};

use super::rules::{self, Stays};
use super::{Archivist, Look, RoundError, record};

/// Fingerprints looked at at the same time.
const READS: usize = 16;
/// How often late words that come in between are archived as well.
const LATE: usize = 3;

impl Archivist {
    /// Archives one incident; why it stays, where it does.
    pub(super) async fn archive_incident(&self, subject: &IncidentSubject, look: &Look) -> Result<Option<Stays>, RoundError> {
        for _ in 0..LATE {
            let messages = match self.may_go(subject, look).await? {
                Ok(messages) => messages,
                Err(stays) => return Ok(Some(stays)),
            };
            let Some(last) = messages.last().map(|message| message.sequence) else { return Ok(None) };
            let archived = self.archive.store(subject, &messages).await?;
            if !has_opening(&archived) {
                return Ok(Some(Stays::Headless));
            }
            self.take_away(subject, last).await?;
            if self.engine.bus.last(streams::INCIDENTS, &subject.filter()).await?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(Stays::Young))
    }

    /// Purges an incident's facts up to this sequence. They are archived.
    pub async fn take_away(&self, subject: &IncidentSubject, last: u64) -> Result<(), RoundError> {
        self.engine.bus.purge(streams::INCIDENTS, &subject.filter(), last.saturating_add(1)).await?;
        Ok(())
    }

    /// All messages of an incident that may go; or why it stays.
    async fn may_go(&self, subject: &IncidentSubject, look: &Look) -> Result<Result<Vec<Stored>, Stays>, RoundError> {
        let bus = &self.engine.bus;
        let (openings, all) =
            (subjects::workload_facts_of_type(&subject.workload, "anomaly_detected"), subject.workload_filter());
        let (newest, last) = futures::try_join!(bus.last(streams::INCIDENTS, &openings), bus.last(streams::INCIDENTS, &all))?;
        let of = |stored: Option<Stored>| stored.and_then(|stored| Some(IncidentSubject::parse(&stored.subject).ok()?.0));
        if let Some(stays) = rules::needed(subject, of(newest).as_ref(), of(last).as_ref()) {
            return Ok(Err(stays));
        }
        let messages = bus.read(streams::INCIDENTS, &subject.filter(), 1, None).await?;
        let all: Vec<_> = messages.iter().map(|message| (message.subject.as_str(), message.sequence)).collect();
        if let Some(stays) = rules::unhandled(&look.consumers, &all) {
            return Ok(Err(stays));
        }
        let Some(mut incident) = state(&messages) else { return Ok(Err(Stays::Unreadable)) };
        if incident.opened.is_none() {
            // The rest of a purge that was cut off: what was archived before it tells the whole.
            let Some(archived) = self.archive.read(subject.incident).await? else { return Ok(Err(Stays::Headless)) };
            let Ok(whole) = record::fold(&record::merged(subject, Some(&archived), &messages)) else {
                return Ok(Err(Stays::Unreadable));
            };
            incident = whole;
        }
        if !rules::is_old(&incident, &look.limits) {
            return Ok(Err(Stays::Young));
        }
        Ok(match self.occurrence_of(subject, &incident).await? {
            Some(fingerprint) => Err(Stays::Occurrence(fingerprint)),
            None => Ok(messages),
        })
    }

    /// A fingerprint whose last disposition names this incident.
    async fn occurrence_of(&self, subject: &IncidentSubject, incident: &Incident) -> Result<Option<String>, RoundError> {
        let reads = rules::fingerprints(incident).into_iter().map(|fingerprint| async move {
            let known = self.engine.known(&fingerprint).await.map_err(RoundError::Occurrence)?;
            Ok::<_, RoundError>(rules::names(&known, subject).then_some(fingerprint))
        });
        let found = stream::iter(reads).buffered(READS).try_filter_map(|named| async { Ok(named) });
        futures::pin_mut!(found);
        found.try_next().await
    }
}

fn has_opening(archived: &ArchivedIncident) -> bool {
    archived.messages.iter().any(|message| message.subject.ends_with(".anomaly_detected"))
}

/// The fold; `None` where a fact is not known to this binary, or damaged.
fn state(messages: &[Stored]) -> Option<Incident> {
    let recorded = |stored: &Stored| {
        let fact = Fact::decode(stored.event_type(), &stored.data).ok()?;
        Some(Recorded { sequence: stored.sequence, at: stored.at, fact })
    };
    messages.iter().map(recorded).try_fold(Incident::default(), |state, recorded| Some(evolve(state, &recorded?)))
}
