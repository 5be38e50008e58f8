//! Archived incidents in their bucket: one object each, which holds every message of the incident as the stream held it, compressed (gzip, a
//! sixth to a tenth of the bytes): what nats-server keeps in memory, and looks through when it starts after a crash, is in proportion to them.
//!
//! Guarantees: storing merges with what is archived already and replaces only what it has read, so that no message that was ever archived
//! is lost, whoever else archives the same incident; [`Archive::store`] returns only what it has read back. Must not: touch the log.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use chassis::bus::{AppendError, Bus, Object, ReadError, Stored};
use contracts::subjects::{self, streams};
use contracts::v1::{ArchivedHeader, ArchivedIncident, ArchivedMessage};
use contracts::{DecodeError, Fact, IncidentId, IncidentSubject, SubjectError};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use lastgood_core::incident::{Incident, Recorded, evolve};
use prost::Message;

/// How often storing begins again after another replica stored the same incident.
const TRIES: usize = 5;
/// Bytes of an object once it is unpacked, at most: a hundred times the largest incident that a storm makes.
const LARGEST: u64 = 1 << 28;
/// How gzip begins (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Why an incident could not be archived or read back.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It can't be stored.
    #[error(transparent)]
    Store(#[from] AppendError),
    /// The object is no archived incident.
    #[error("the archived {incident} does not decode: {reason}")]
    Damaged {
        /// Whose.
        incident: IncidentId,
        /// What the decoder said.
        reason: String,
    },
    /// What was read back is not what was stored.
    #[error("the archived {0} lacks messages that were just stored")]
    Incomplete(IncidentId),
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
        Ok(self.get(incident).await?.map(|(archived, _)| archived))
    }

    async fn get(&self, incident: IncidentId) -> Result<Option<(ArchivedIncident, Object)>, ArchiveError> {
        let Some(object) = self.bus.object(streams::ARCHIVE_BUCKET, &incident.to_string()).await? else { return Ok(None) };
        let archived = unpacked(&object.data).map_err(|reason| ArchiveError::Damaged { incident, reason })?;
        Ok(Some((archived, object)))
    }

    /// Stores these messages of an incident together with what is archived of it, and gives back what the archive holds then.
    pub async fn store(&self, subject: &IncidentSubject, messages: &[Stored]) -> Result<ArchivedIncident, ArchiveError> {
        let incident = subject.incident;
        for _ in 0..TRIES {
            let known = self.get(incident).await?;
            let before = known.as_ref().map(|(archived, _)| archived);
            let wanted = merged(subject, before, messages);
            if before == Some(&wanted) {
                return Ok(wanted);
            }
            let object = known.as_ref().map(|(_, object)| object);
            let bucket = streams::ARCHIVE_BUCKET;
            match self.bus.put_object(bucket, &incident.to_string(), object, &packed(&wanted)).await {
                // The next turn reads it back, or merges with what the other replica has stored.
                Ok(()) | Err(AppendError::Lost) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ArchiveError::Incomplete(incident))
    }
}

/// An archived incident as its object holds it.
fn packed(archived: &ArchivedIncident) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let written = encoder.write_all(&archived.encode_to_vec()).and_then(|()| encoder.finish());
    written.expect("memory can always be written to")
}

/// An archived incident from its object; what is wrong with it, where something is. The first releases did not compress: theirs begin with the
/// incident's own field.
fn unpacked(object: &[u8]) -> Result<ArchivedIncident, String> {
    if !object.starts_with(&GZIP) {
        return ArchivedIncident::decode(object).map_err(|error| error.to_string());
    }
    let mut bytes = Vec::new();
    let read = GzDecoder::new(object).take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| format!("gzip: {error}"))?;
    if read as u64 > LARGEST {
        return Err(format!("it is larger than {LARGEST} bytes"));
    }
    ArchivedIncident::decode(bytes.as_slice()).map_err(|error| error.to_string())
}

/// What the archive should hold: what it holds, and these messages.
#[must_use]
pub fn merged(subject: &IncidentSubject, before: Option<&ArchivedIncident>, messages: &[Stored]) -> ArchivedIncident {
    let mut by_sequence: BTreeMap<u64, ArchivedMessage> = messages.iter().map(|m| (m.sequence, message(m))).collect();
    for kept in before.into_iter().flat_map(|before| &before.messages) {
        by_sequence.insert(kept.sequence, kept.clone());
    }
    ArchivedIncident {
        incident: subject.incident.to_string(),
        workload_subject: subjects::workload_path(&subject.workload),
        messages: by_sequence.into_values().collect(),
    }
}

fn message(stored: &Stored) -> ArchivedMessage {
    let header = |(name, values): (&async_nats::HeaderName, &Vec<async_nats::HeaderValue>)| {
        let name = name.to_string();
        values.iter().map(move |value| ArchivedHeader { name: name.clone(), value: value.to_string() }).collect::<Vec<_>>()
    };
    // Some header values come from the server and differ by how the message was read.
    let mut headers: Vec<_> = stored.headers.iter().flat_map(header).filter(|header| !header.name.starts_with("Nats-")).collect();
    headers.sort_by(|one, other| one.name.cmp(&other.name));
    ArchivedMessage {
        subject: stored.subject.clone(),
        sequence: stored.sequence,
        stored_at: Some(contracts::time::to_proto(stored.at)),
        headers,
        data: stored.data.to_vec(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> IncidentSubject {
        let path = "lastgood.incident.eu.shop.deployment.web.inc_0000000000000000000000000000002a.mitigated";
        IncidentSubject::parse(path).unwrap().0
    }

    fn stored(sequence: u64) -> Stored {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("ce-id", "evt_1");
        headers.insert("Nats-Sequence", "7");
        Stored {
            subject: subject().fact("mitigated"),
            sequence,
            at: jiff::Timestamp::UNIX_EPOCH,
            headers,
            data: bytes::Bytes::new(),
        }
    }

    #[test]
    fn nothing_that_was_archived_is_lost_by_archiving_again() {
        let whole = merged(&subject(), None, &[stored(3), stored(5)]);
        // The rest of a purge that a crash cut off, and a late word.
        let again = merged(&subject(), Some(&whole), &[stored(5), stored(9)]);
        assert_eq!(again.messages.iter().map(|message| message.sequence).collect::<Vec<_>>(), [3, 5, 9]);
        assert_eq!(merged(&subject(), Some(&again), &[stored(3)]), again);
    }

    #[test]
    fn an_object_is_its_incident_and_smaller() {
        let messages: Vec<_> = (1..=18).map(stored).collect();
        let archived = merged(&subject(), None, &messages);
        let object = packed(&archived);
        assert_eq!(unpacked(&object), Ok(archived.clone()));
        assert!(object.len() * 6 < archived.encode_to_vec().len(), "{} bytes", object.len());
        assert!(unpacked(&object[..object.len() / 2]).unwrap_err().contains("gzip"));
        assert!(unpacked(b"neither").is_err());
        assert_eq!(unpacked(&archived.encode_to_vec()), Ok(archived), "as it was stored before");
    }

    #[test]
    fn the_servers_own_headers_are_left_out() {
        let archived = merged(&subject(), None, &[stored(3)]);
        let names: Vec<_> = archived.messages[0].headers.iter().map(|header| header.name.as_str()).collect();
        assert_eq!(names, ["ce-id"]);
        assert!(fold(&archived).unwrap().mitigated_at.is_some());
    }
}
