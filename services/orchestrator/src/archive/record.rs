//! The archive: closed incidents in the volumes of their bucket (`volume` says which is where).
//!
//! Guarantees: storing merges with what is archived already and replaces only what it has read, so that no message that was ever archived
//! is lost, whoever else archives at the same time; [`Archive::store`] returns only what it has read back. Must not: touch the log.

use std::collections::BTreeMap;

use chassis::bus::{AppendError, Bus, Object, ReadError};
use contracts::subjects::streams;
use contracts::v1::{ArchiveVolume, ArchivedIncident, ArchivedMessage};
use contracts::{DecodeError, Fact, IncidentId, IncidentSubject, SubjectError};
use lastgood_core::incident::{Incident, Recorded, evolve};

use super::volume::{self, Leaving};

/// How often storing begins again after another replica stored the same volume.
const TRIES: usize = 5;

/// Why an incident could not be archived or read back.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It can't be stored.
    #[error(transparent)]
    Store(#[from] AppendError),
    /// The object is no volume.
    #[error("the archive's volume {volume} does not decode: {reason}")]
    Damaged {
        /// Its name.
        volume: String,
        /// What the decoder said.
        reason: String,
    },
    /// What was read back is not what was stored.
    #[error("the archive's volume {0} lacks what was just stored, or others store there all the time")]
    Incomplete(String),
}

/// Why an archived incident can't be folded.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// One of its messages holds no fact that this binary knows.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// One of its messages has no incident's subject.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// One of its messages has no time.
    #[error("message {0} has no time")]
    Timeless(u64),
}

/// The archive.
#[derive(Debug, Clone)]
pub struct Archive {
    bus: Bus,
}

impl Archive {
    /// On this bus.
    #[must_use]
    pub const fn new(bus: Bus) -> Self {
        Self { bus }
    }

    /// An archived incident with all its messages; `None` when it was never archived, or is no longer kept.
    pub async fn read(&self, incident: IncidentId) -> Result<Option<ArchivedIncident>, ArchiveError> {
        for place in 0..volume::PLACES {
            if let Some((volume, _)) = self.get(&volume::name(incident, place)).await?
                && let Some(archived) = volume::find(&volume, incident)
            {
                return Ok(Some(archived.clone()));
            }
        }
        Ok(None)
    }

    async fn get(&self, name: &str) -> Result<Option<(ArchiveVolume, Object)>, ArchiveError> {
        let Some(object) = self.bus.object(streams::ARCHIVE_BUCKET, name).await? else { return Ok(None) };
        let damaged = |reason| ArchiveError::Damaged { volume: name.to_owned(), reason };
        Ok(Some((volume::unpacked(&object.data).map_err(damaged)?, object)))
    }

    /// Stores these incidents together with what is archived of them, and gives back what the archive holds of each then.
    pub async fn store(&self, leaving: &[Leaving]) -> Result<BTreeMap<IncidentId, ArchivedIncident>, ArchiveError> {
        let mut archived = BTreeMap::new();
        let mut pending: Vec<&Leaving> = leaving.iter().collect();
        for place in 0..volume::PLACES {
            let full = if place + 1 == volume::PLACES { usize::MAX } else { volume::FULL };
            let mut volumes: BTreeMap<String, Vec<&Leaving>> = BTreeMap::new();
            for leaving in std::mem::take(&mut pending) {
                volumes.entry(volume::name(leaving.subject.incident, place)).or_default().push(leaving);
            }
            for (name, leaving) in volumes {
                let (volume, left) = self.put(&name, &leaving, full).await?;
                let held = |leaving: &&Leaving| {
                    let incident = leaving.subject.incident;
                    Some((incident, volume::find(&volume, incident)?.clone()))
                };
                archived.extend(leaving.iter().filter_map(held));
                pending.extend(left);
            }
        }
        Ok(archived)
    }

    /// A volume as it is read back with these incidents in it, and those that it has no room for.
    async fn put<'a>(
        &self,
        name: &str,
        leaving: &[&'a Leaving],
        full: usize,
    ) -> Result<(ArchiveVolume, Vec<&'a Leaving>), ArchiveError> {
        for _ in 0..TRIES {
            let (before, object) = self.get(name).await?.map_or_else(Default::default, |(volume, object)| (volume, Some(object)));
            let (wanted, left) = volume::with(&before, leaving, full);
            if wanted == before {
                return Ok((before, left));
            }
            match self.bus.put_object(streams::ARCHIVE_BUCKET, name, object.as_ref(), &volume::packed(&wanted)).await {
                // The next turn reads it back, or merges with what the other replica has stored.
                Ok(()) | Err(AppendError::Lost) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ArchiveError::Incomplete(name.to_owned()))
    }
}

/// The facts of an archived incident.
pub fn facts(archived: &ArchivedIncident) -> Result<Vec<Recorded>, FoldError> {
    let fact = |message: &ArchivedMessage| {
        let (_, event_type) = IncidentSubject::parse(&message.subject)?;
        let fact = Fact::decode(event_type, &message.data)?;
        let at = contracts::time::from_proto(message.stored_at.as_ref()).ok_or(FoldError::Timeless(message.sequence))?;
        Ok(Recorded { sequence: message.sequence, at, fact })
    };
    archived.messages.iter().map(fact).collect()
}

/// An archived incident's state: as it was when it left the log.
pub fn fold(archived: &ArchivedIncident) -> Result<Incident, FoldError> {
    Ok(facts(archived)?.iter().fold(Incident::default(), evolve))
}
