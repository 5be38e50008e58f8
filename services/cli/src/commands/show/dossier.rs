//! All that there is of one incident: on the log, in the archive, or partly in each.
//!
//! Guarantees: a fact that is damaged, or that a newer binary wrote, is listed as what it is and hides no other. Must not: take what is not
//! there for nothing: a log or an archive that can't be read is an error.

use std::collections::BTreeMap;

use chassis::bus::{Bus, Stored};
use contracts::subjects::{any_workload_filter, streams};
use contracts::v1::ArchivedMessage;
use contracts::{DecodeError, Fact, IncidentId, IncidentSubject};
use jiff::Timestamp;
use lastgood_core::incident::{Incident, Recorded, evolve};
use orchestrator::archive::Archive;

use crate::exit::Failure;

/// A fact as it is stored.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The stream's sequence.
    pub sequence: u64,
    /// When the stream stored it.
    pub at: Timestamp,
    /// The subject's last token.
    pub event_type: String,
    /// What it says, or why that can't be read.
    pub fact: Result<Fact, DecodeError>,
}

/// All that there is of one incident.
#[derive(Debug, Clone)]
pub struct Dossier {
    /// Which, of which workload.
    pub subject: IncidentSubject,
    /// Its facts by sequence.
    pub entries: BTreeMap<u64, Entry>,
    /// Whether something of it comes from the archive.
    pub archived: bool,
}

impl Dossier {
    /// Nothing of an incident yet.
    #[must_use]
    pub const fn new(subject: IncidentSubject) -> Self {
        Self { subject, entries: BTreeMap::new(), archived: false }
    }

    /// With one more fact.
    pub fn add(&mut self, sequence: u64, at: Timestamp, event_type: &str, data: &[u8]) {
        let fact = Fact::decode(event_type, data);
        self.entries.insert(sequence, Entry { sequence, at, event_type: event_type.to_owned(), fact });
    }

    /// The fold of what can be read.
    #[must_use]
    pub fn state(&self) -> Incident {
        let recorded = self.entries.values().filter_map(|entry| {
            let fact = entry.fact.as_ref().ok()?.clone();
            Some(Recorded { sequence: entry.sequence, at: entry.at, fact })
        });
        recorded.fold(Incident::default(), |state, recorded| evolve(state, &recorded))
    }

    /// How many facts can't be read.
    #[must_use]
    pub fn unreadable(&self) -> usize {
        self.entries.values().filter(|entry| entry.fact.is_err()).count()
    }

    /// Its last sequence.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.entries.last_key_value().map_or(0, |(sequence, _)| *sequence)
    }

    fn add_stored(&mut self, stored: &Stored) {
        self.add(stored.sequence, stored.at, stored.event_type(), &stored.data);
    }

    fn add_archived(&mut self, message: &ArchivedMessage) {
        let at = contracts::time::from_proto(message.stored_at.as_ref()).unwrap_or_default();
        let event_type = message.subject.rsplit('.').next().unwrap_or_default();
        self.add(message.sequence, at, event_type, &message.data);
        self.archived = true;
    }

    /// Reads what has come since; how many facts that are.
    pub async fn read_on(&mut self, bus: &Bus) -> Result<usize, Failure> {
        let stored = bus.read(streams::INCIDENTS, &self.subject.filter(), self.last() + 1, None).await?;
        for stored in &stored {
            self.add_stored(stored);
        }
        Ok(stored.len())
    }
}

/// Reads an incident; `None` where there is none.
pub async fn read(bus: &Bus, incident: IncidentId) -> Result<Option<Dossier>, Failure> {
    let mut dossier = None;
    if let Some(last) = bus.last(streams::INCIDENTS, &any_workload_filter(incident)).await? {
        let (subject, _) = IncidentSubject::parse(&last.subject)
            .map_err(|error| Failure::Impossible(format!("message {} of the log: {error}", last.sequence)))?;
        let mut on_log = Dossier::new(subject);
        on_log.read_on(bus).await?;
        dossier = Some(on_log);
    }
    // Without its opening it is being archived, or has been: late words about it may follow.
    let opened = |dossier: &Dossier| dossier.entries.values().any(|entry| entry.event_type == "anomaly_detected");
    if !dossier.as_ref().is_some_and(opened)
        && let Some(archived) = Archive::new(bus.clone()).read(incident).await?
    {
        let subject = archived.messages.iter().find_map(|message| IncidentSubject::parse(&message.subject).ok());
        if let Some((subject, _)) = subject {
            let dossier = dossier.get_or_insert_with(|| Dossier::new(subject));
            for message in &archived.messages {
                dossier.add_archived(message);
            }
        }
    }
    Ok(dossier)
}
