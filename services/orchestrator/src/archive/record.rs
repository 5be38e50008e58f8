//! The archive: closed incidents in the volumes of their bucket (`volume` says which is where).
//!
//! Guarantees: storing merges with what is archived already and replaces only what it has read, so that no message that was ever archived
//! is lost, whoever else archives at the same time; [`Archive::store`] returns only what it has read back. Must not: touch the log.

use std::collections::BTreeMap;

use chassis::bus::{AppendError, Bus, ReadError, Slot};
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
    #[error("the archive's volume {volume} is damaged: {reason}")]
    Damaged {
        /// Its name.
        volume: String,
        /// What the decoder said.
        reason: String,
    },
    /// What was read back is not what was stored.
    #[error("the archive's volume {0} lacks what was just stored, or others store there all the time")]
    Incomplete(String),
    /// With these incidents it could not be read any more.
    #[error("the archive's volume {0} would become too large to be read back")]
    TooLarge(String),
}

impl ArchiveError {
    /// Whether everything else would fail now as well.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        match self {
            Self::Read(error) => !matches!(error, ReadError::Refused(_)),
            Self::Store(error) => matches!(error, AppendError::Unavailable(_) | AppendError::Full(_)),
            Self::Damaged { .. } | Self::Incomplete(_) | Self::TooLarge(_) => false,
        }
    }
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
    full: usize,
}

/// What became of incidents that were to be archived.
#[derive(Debug, Default)]
pub struct Kept {
    /// What the archive holds of each now, read back.
    pub archived: BTreeMap<IncidentId, ArchivedIncident>,
    /// These could not be stored, for what is wrong with their volume.
    pub failed: Vec<(Vec<IncidentSubject>, ArchiveError)>,
}

impl Archive {
    /// On this bus.
    #[must_use]
    pub const fn new(bus: Bus) -> Self {
        Self { bus, full: volume::FULL }
    }

    /// With volumes that are full at another size, so that a test need not write megabytes.
    #[must_use]
    pub fn with_volumes_of(self, bytes: usize) -> Self {
        Self { full: bytes, ..self }
    }

    /// An archived incident with all its messages; `None` when it was never archived, or is no longer kept.
    pub async fn read(&self, incident: IncidentId) -> Result<Option<ArchivedIncident>, ArchiveError> {
        // The bucket is made when the orchestrator first looks for what may go.
        if !self.bus.has_bucket(streams::ARCHIVE_BUCKET).await? {
            return Ok(None);
        }
        Ok(self.look(incident).await?.map(|(_, archived)| archived))
    }

    /// An archived incident, and in which of its places it is.
    async fn look(&self, incident: IncidentId) -> Result<Option<(usize, ArchivedIncident)>, ArchiveError> {
        let mut damaged = None;
        for place in 0..volume::PLACES {
            match self.find(&volume::name(incident, place), incident).await {
                Ok(None) => {}
                Ok(Some(archived)) => return Ok(Some((place, archived))),
                Err(error) if error.is_outage() => return Err(error),
                // It may be whole in another volume.
                Err(error) => damaged = Some(error),
            }
        }
        damaged.map_or(Ok(None), Err)
    }

    async fn find(&self, name: &str, incident: IncidentId) -> Result<Option<ArchivedIncident>, ArchiveError> {
        let (volume, _) = self.get(name).await?;
        volume::find(&volume, incident).map_err(damaged(name))
    }

    /// A volume; an empty one where there is none.
    async fn get(&self, name: &str) -> Result<(ArchiveVolume, Slot), ArchiveError> {
        let slot = match self.bus.object(streams::ARCHIVE_BUCKET, name).await {
            Err(ReadError::Refused(reason)) => return Err(damaged(name)(reason)),
            slot => slot?,
        };
        let volume = slot.data.as_ref().map(|object| volume::unpacked(object)).transpose().map_err(damaged(name))?;
        Ok((volume.unwrap_or_default(), slot))
    }

    /// Stores these incidents together with what is archived of them.
    ///
    /// # Errors
    /// An outage. What is wrong with single volumes is told beside what was archived.
    pub async fn store(&self, leaving: &[Leaving]) -> Result<Kept, ArchiveError> {
        let mut kept = Kept::default();
        // Of what has no opening the rest is archived already: it belongs to that, wherever there is room now.
        let (mut pending, rests): (Vec<&Leaving>, Vec<&Leaving>) = leaving.iter().partition(|leaving| leaving.has_opening());
        for rest in rests {
            match self.add_to_what_is_there(rest, &mut kept.archived).await {
                Ok(()) => {}
                Err(error) if error.is_outage() => return Err(error),
                Err(error) => kept.failed.push((vec![rest.subject.clone()], error)),
            }
        }
        for place in 0..volume::PLACES {
            let full = if place + 1 == volume::PLACES { usize::MAX } else { self.full };
            let mut volumes: BTreeMap<String, Vec<&Leaving>> = BTreeMap::new();
            for leaving in std::mem::take(&mut pending) {
                volumes.entry(volume::name(leaving.subject.incident, place)).or_default().push(leaving);
            }
            for (name, leaving) in volumes {
                match self.put(&name, &leaving, full, &mut kept.archived).await {
                    Ok(left) => pending.extend(left),
                    Err(error) if error.is_outage() => return Err(error),
                    Err(error) => {
                        kept.failed.push((leaving.into_iter().map(|leaving| leaving.subject.clone()).collect(), error));
                    }
                }
            }
        }
        Ok(kept)
    }

    /// Stores the rest of an incident where the incident is.
    async fn add_to_what_is_there(
        &self,
        rest: &Leaving,
        archived: &mut BTreeMap<IncidentId, ArchivedIncident>,
    ) -> Result<(), ArchiveError> {
        let incident = rest.subject.incident;
        let place = self.look(incident).await?.map_or(0, |(place, _)| place);
        self.put(&volume::name(incident, place), &[rest], usize::MAX, archived).await.map(drop)
    }

    /// Stores these incidents in a volume and reads it back; those that it has no room for.
    async fn put<'a>(
        &self,
        name: &str,
        leaving: &[&'a Leaving],
        full: usize,
        archived: &mut BTreeMap<IncidentId, ArchivedIncident>,
    ) -> Result<Vec<&'a Leaving>, ArchiveError> {
        let mut replaced = Vec::new();
        for turn in 0..=TRIES {
            let (before, slot) = self.get(name).await?;
            let (wanted, left) = volume::with(&before, leaving, full).map_err(damaged(name))?;
            if wanted == before {
                for incident in leaving.iter().map(|leaving| leaving.subject.incident) {
                    archived.extend(volume::find(&before, incident).map_err(damaged(name))?.map(|found| (incident, found)));
                }
                for replaced in &replaced {
                    self.bus.forget_object(streams::ARCHIVE_BUCKET, replaced).await;
                }
                return Ok(left);
            }
            let object = volume::packed(&wanted).ok_or_else(|| ArchiveError::TooLarge(name.to_owned()))?;
            if turn == TRIES {
                break;
            }
            match self.bus.put_object(streams::ARCHIVE_BUCKET, name, &slot, &object).await {
                // The next turn reads it back, or merges with what the other replica has stored.
                Ok(()) => replaced.push(slot),
                Err(AppendError::Lost) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ArchiveError::Incomplete(name.to_owned()))
    }
}

fn damaged(volume: &str) -> impl Fn(String) -> ArchiveError {
    move |reason| ArchiveError::Damaged { volume: volume.to_owned(), reason }
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
