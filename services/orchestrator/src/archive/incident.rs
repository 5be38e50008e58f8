//! Incidents' way from the log into the archive, some together.
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
use super::volume::{self, Leaving};
use super::{Archivist, Look, RoundError, record};

/// Incidents read, and purged, at the same time.
const AT_ONCE: usize = 4;
/// Fingerprints looked at at the same time.
const READS: usize = 16;
/// How often late words that come in between are archived as well.
const LATE: usize = 3;

/// What became of some incidents.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// So many are in the archive, and no longer on the log.
    pub(super) archived: usize,
    /// These stay, and why.
    pub(super) stayed: Vec<(IncidentSubject, Stays)>,
    /// With these something failed; all is as before and can be tried again.
    pub(super) failed: Vec<(Vec<IncidentSubject>, RoundError)>,
}

impl Archivist {
    /// Archives these incidents, as far as they may go.
    pub(super) async fn archive_incidents(&self, subjects: &[IncidentSubject], look: &Look) -> Told {
        let (mut told, mut pending) = (Told::default(), subjects.to_vec());
        for _ in 0..LATE {
            let looking = pending.into_iter().map(|subject| async move { (self.may_go(&subject, look).await, subject) });
            let mut looked = stream::iter(looking).buffered(AT_ONCE);
            let (mut leaving, mut bytes, mut late) = (Vec::new(), 0, Vec::new());
            while let Some((result, subject)) = looked.next().await {
                match result {
                    Ok(Ok(messages)) if messages.is_empty() => told.archived += 1,
                    Ok(Ok(messages)) => {
                        bytes += messages.iter().map(|message| message.data.len()).sum::<usize>();
                        leaving.push(Leaving { subject, messages });
                    }
                    Ok(Err(stays)) => told.stayed.push((subject, stays)),
                    Err(error) => told.failed.push((vec![subject], error)),
                }
                if bytes >= volume::FULL {
                    // Memory holds a volume or two, however long incidents are.
                    bytes = 0;
                    late.extend(self.move_over(std::mem::take(&mut leaving), &mut told).await);
                }
            }
            late.extend(self.move_over(leaving, &mut told).await);
            if late.is_empty() {
                return told;
            }
            pending = late;
        }
        told.stayed.extend(pending.into_iter().map(|subject| (subject, Stays::Young)));
        told
    }

    /// Stores these incidents and takes them off the log; those of which a late word is left there.
    async fn move_over(&self, leaving: Vec<Leaving>, told: &mut Told) -> Vec<IncidentSubject> {
        let kept = match self.archive.store(&leaving).await {
            Ok(kept) => kept,
            Err(outage) => {
                told.failed.push((leaving.into_iter().map(|leaving| leaving.subject).collect(), outage.into()));
                return Vec::new();
            }
        };
        told.failed.extend(kept.failed.into_iter().map(|(subjects, error)| (subjects, error.into())));
        let stored = leaving.into_iter().filter(|leaving| kept.archived.contains_key(&leaving.subject.incident));
        let (whole, headless): (Vec<_>, Vec<_>) =
            stored.partition(|leaving| has_opening(&kept.archived[&leaving.subject.incident]));
        told.stayed.extend(headless.into_iter().map(|leaving| (leaving.subject, Stays::Headless)));
        let going = whole.into_iter().map(|leaving| async move { (self.leave(&leaving).await, leaving.subject) });
        let mut left = Vec::new();
        let mut gone = stream::iter(going).buffer_unordered(AT_ONCE);
        while let Some((result, subject)) = gone.next().await {
            match result {
                Ok(true) => told.archived += 1,
                Ok(false) => left.push(subject),
                Err(error) => told.failed.push((vec![subject], error)),
            }
        }
        left
    }

    /// Takes an archived incident off the log; whether nothing of it is left there.
    async fn leave(&self, leaving: &Leaving) -> Result<bool, RoundError> {
        let subject = &leaving.subject;
        self.take_away(subject, leaving.messages.iter().map(|message| message.sequence).max().unwrap_or(0)).await?;
        Ok(self.engine.bus.last(streams::INCIDENTS, &subject.filter()).await?.is_none())
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
        if messages.is_empty() {
            // Another replica was faster.
            return Ok(Ok(messages));
        }
        let all: Vec<_> = messages.iter().map(|message| (message.subject.as_str(), message.sequence)).collect();
        if let Some(stays) = rules::unhandled(&look.consumers, &all) {
            return Ok(Err(stays));
        }
        let Some(mut incident) = state(&messages) else { return Ok(Err(Stays::Unreadable)) };
        if incident.opened.is_none() {
            // The rest of a purge that was cut off: what was archived before it tells the whole.
            let Some(archived) = self.archive.read(subject.incident).await? else { return Ok(Err(Stays::Headless)) };
            let Ok(whole) = record::fold(&volume::merged(subject, Some(&archived), &messages)) else {
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
