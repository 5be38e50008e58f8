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
    pub(super) async fn archive_incidents(&self, subjects: Vec<IncidentSubject>, look: &Look) -> Told {
        let mut told = Told::default();
        let looking = subjects.into_iter().map(|subject| async move { (self.may_go(&subject, look).await, subject) });
        let mut looked = stream::iter(looking).buffered(AT_ONCE);
        let (mut leaving, mut bytes) = (Vec::new(), 0);
        while let Some((result, subject)) = looked.next().await {
            match result {
                // Another replica was faster.
                Ok(Ok(messages)) if messages.is_empty() => {}
                Ok(Ok(messages)) => {
                    bytes += messages.iter().map(|message| message.data.len()).sum::<usize>();
                    leaving.push(Leaving { subject, messages });
                }
                Ok(Err(stays)) => told.stayed.push((subject, stays)),
                Err(error) => told.failed.push((vec![subject], error)),
            }
            if bytes >= volume::FULL {
                // So that memory holds about a volume and the incidents that are being read.
                bytes = 0;
                self.move_over(std::mem::take(&mut leaving), &mut told).await;
            }
        }
        self.move_over(leaving, &mut told).await;
        told
    }

    /// Stores these incidents and takes them off the log. A late word that comes meanwhile stays for the next look.
    async fn move_over(&self, leaving: Vec<Leaving>, told: &mut Told) {
        let kept = match self.archive.store(&leaving).await {
            Ok(kept) => kept,
            Err(outage) => {
                told.failed.push((leaving.into_iter().map(|leaving| leaving.subject).collect(), outage.into()));
                return;
            }
        };
        told.failed.extend(kept.failed.into_iter().map(|(subjects, error)| (subjects, error.into())));
        let stored = leaving.into_iter().filter(|leaving| kept.archived.contains_key(&leaving.subject.incident));
        let (whole, headless): (Vec<_>, Vec<_>) =
            stored.partition(|leaving| has_opening(&kept.archived[&leaving.subject.incident]));
        told.stayed.extend(headless.into_iter().map(|leaving| (leaving.subject, Stays::Headless)));
        let going = whole.into_iter().map(|Leaving { subject, messages }| async move {
            let last = messages.iter().map(|message| message.sequence).max().unwrap_or(0);
            (self.take_away(&subject, last).await, subject)
        });
        let mut gone = stream::iter(going).buffer_unordered(AT_ONCE);
        while let Some((result, subject)) = gone.next().await {
            match result {
                Ok(()) => told.archived += 1,
                Err(error) => told.failed.push((vec![subject], error)),
            }
        }
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
            return Ok(Ok(messages));
        }
        if messages.iter().any(|message| message.sequence > look.last) {
            // Which consumers have handled it is not known.
            return Ok(Err(Stays::Young));
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
