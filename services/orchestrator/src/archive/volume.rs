//! Volumes, as pure values: the objects that archived incidents are kept in, many in each, so that what the archive costs nats-server is in
//! proportion to the days that it is kept for and to its bytes, not to the number of incidents.
//!
//! An incident is in the volume of the UTC day of its id; if that was full, of the hour, the minute, the second, and at last in one of its
//! own. Guarantees: what a volume holds, it holds for good, and one that is full stays full, so that an incident has one place whoever
//! archives it, and is found by looking into five at most. Must not: read or write anything.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use chassis::bus::Stored;
use contracts::v1::{ArchiveVolume, ArchivedHeader, ArchivedIncident, ArchivedMessage};
use contracts::{IncidentId, IncidentSubject, subjects};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use prost::Message;

/// Places that an incident can be in, the widest first.
pub const PLACES: usize = 5;
/// Bytes of a volume, not compressed, from which on it takes no further incident: a few hundred of them, some hundred KiB compressed.
pub const FULL: usize = 1 << 22;
/// Bytes of a volume once it is unpacked, at most: what it holds may go on to grow by late words.
const LARGEST: u64 = 1 << 28;

/// An incident that is to leave the log.
#[derive(Debug, Clone)]
pub struct Leaving {
    /// Which.
    pub subject: IncidentSubject,
    /// Its messages on the log.
    pub messages: Vec<Stored>,
}

/// The name of an incident's volume at this place, below [`PLACES`].
#[must_use]
pub fn name(incident: IncidentId, place: usize) -> String {
    let Some(format) = ["%Y-%m-%d", "%Y-%m-%dT%H", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"].get(place) else {
        return incident.to_string();
    };
    // The first 48 bits of a UUIDv7 are milliseconds (RFC 9562, 5.7).
    let milliseconds = i64::try_from(incident.uuid().as_u128() >> 80).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX).strftime(format).to_string()
}

/// An incident of a volume.
#[must_use]
pub fn find(volume: &ArchiveVolume, incident: IncidentId) -> Option<&ArchivedIncident> {
    let id = incident.to_string();
    volume.incidents.iter().find(|archived| archived.incident == id)
}

/// What a volume should hold: what it holds, merged with these incidents, as far as it holds them already or has room (`full`: bytes, not
/// compressed, from which on it has none). The others need another place.
#[must_use]
pub fn with<'a>(volume: &ArchiveVolume, leaving: &[&'a Leaving], full: usize) -> (ArchiveVolume, Vec<&'a Leaving>) {
    let mut bytes: usize = volume.incidents.iter().map(Message::encoded_len).sum();
    let mut held: BTreeMap<String, ArchivedIncident> =
        volume.incidents.iter().map(|archived| (archived.incident.clone(), archived.clone())).collect();
    let mut left = Vec::new();
    for leaving in leaving {
        let id = leaving.subject.incident.to_string();
        let before = held.get(&id);
        if before.is_none() && bytes >= full {
            left.push(*leaving);
            continue;
        }
        let archived = merged(&leaving.subject, before, &leaving.messages);
        bytes += archived.encoded_len().saturating_sub(before.map_or(0, Message::encoded_len));
        held.insert(id, archived);
    }
    (ArchiveVolume { incidents: held.into_values().collect() }, left)
}

/// What is archived of an incident: what was, and these messages.
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

/// A volume as its object holds it: gzip.
#[must_use]
pub fn packed(volume: &ArchiveVolume) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let written = encoder.write_all(&volume.encode_to_vec()).and_then(|()| encoder.finish());
    written.expect("memory can always be written to")
}

/// A volume from its object.
///
/// # Errors
/// What is wrong with it.
pub fn unpacked(object: &[u8]) -> Result<ArchiveVolume, String> {
    let mut bytes = Vec::new();
    let read = GzDecoder::new(object).take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| format!("gzip: {error}"))?;
    if read as u64 > LARGEST {
        return Err(format!("it is larger than {LARGEST} bytes"));
    }
    ArchiveVolume::decode(bytes.as_slice()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An incident of this millisecond, and its messages.
    fn leaving(millisecond: u128, sequences: &[u64]) -> Leaving {
        let path = format!("lastgood.incident.eu.shop.deployment.web.inc_{:032x}.mitigated", millisecond << 80 | 0x42);
        let subject = IncidentSubject::parse(&path).unwrap().0;
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("ce-id", "evt_1");
        headers.insert("Nats-Sequence", "7");
        let stored = |sequence: &u64| Stored {
            subject: subject.fact("mitigated"),
            sequence: *sequence,
            at: Timestamp::UNIX_EPOCH,
            headers: headers.clone(),
            data: bytes::Bytes::new(),
        };
        Leaving { messages: sequences.iter().map(stored).collect(), subject }
    }

    #[test]
    fn an_incidents_places_are_its_day_hour_minute_second_and_itself() {
        // The last of 2026, a quarter of a second before its end.
        let incident = leaving(1_798_761_599_750, &[]).subject.incident;
        let names: Vec<_> = (0..PLACES).map(|place| name(incident, place)).collect();
        let own = incident.to_string();
        assert_eq!(names, ["2026-12-31", "2026-12-31T23", "2026-12-31T23:59", "2026-12-31T23:59:59", own.as_str()]);
        let far = leaving((1 << 48) - 1, &[]).subject.incident;
        assert_eq!(name(far, 0), "9999-12-30", "an id that is none of ours has places as well");
    }

    #[test]
    fn nothing_that_was_archived_is_lost_by_archiving_again() {
        let sequences = |volume: &ArchiveVolume| -> Vec<_> { volume.incidents[0].messages.iter().map(|m| m.sequence).collect() };
        let (whole, _) = with(&ArchiveVolume::default(), &[&leaving(1, &[3, 5])], FULL);
        // The rest of a purge that a crash cut off, and a late word; also where there is no room for another.
        let late = leaving(1, &[5, 9]);
        let (again, left) = with(&whole, &[&late], 0);
        assert_eq!((sequences(&again), left.len()), (vec![3, 5, 9], 0));
        assert_eq!(with(&again, &[&leaving(1, &[3])], FULL).0, again);
        assert!(find(&again, leaving(1, &[]).subject.incident).is_some());
        assert!(find(&again, leaving(2, &[]).subject.incident).is_none());
    }

    #[test]
    fn an_object_is_its_volume_and_smaller() {
        let incidents: Vec<_> = (0..100).map(|number| leaving(number, &[1, 2, 3])).collect();
        let (volume, _) = with(&ArchiveVolume::default(), &incidents.iter().collect::<Vec<_>>(), FULL);
        let object = packed(&volume);
        assert_eq!(unpacked(&object), Ok(volume.clone()));
        assert!(object.len() * 20 < volume.encoded_len(), "{} bytes", object.len());
        assert!(unpacked(&object[..object.len() / 2]).unwrap_err().contains("gzip"));
        assert!(unpacked(b"neither").is_err());
    }

    #[test]
    fn the_servers_own_headers_are_left_out() {
        let archived = merged(&leaving(1, &[]).subject, None, &leaving(1, &[3]).messages);
        let names: Vec<_> = archived.messages[0].headers.iter().map(|header| header.name.as_str()).collect();
        assert_eq!(names, ["ce-id"]);
    }

    proptest! {
        /// Whoever archives what, in whatever parts and order: each incident is in one place, whole, and where looking for it finds it.
        #[test]
        fn an_incident_has_one_place(batches in prop::collection::vec(prop::collection::vec((0_u128..40, 1_u64..9), 1..8), 1..12)) {
            let mut volumes: BTreeMap<String, ArchiveVolume> = BTreeMap::new();
            let mut told: BTreeMap<IncidentId, Vec<u64>> = BTreeMap::new();
            for batch in &batches {
                // Some of a second, some of another hour.
                let batch: Vec<_> = batch.iter().map(|(number, sequence)| leaving(number / 4 * 3_000_000 + number % 4, &[*sequence])).collect();
                let mut pending: Vec<&Leaving> = batch.iter().collect();
                for place in 0..PLACES {
                    let mut next = Vec::new();
                    for one in pending {
                        let volume = volumes.entry(name(one.subject.incident, place)).or_default();
                        let (held, left) = with(volume, &[one], if place + 1 == PLACES { usize::MAX } else { 600 });
                        *volume = held;
                        next.extend(left);
                    }
                    pending = next;
                }
                prop_assert!(pending.is_empty());
                for one in batch {
                    told.entry(one.subject.incident).or_default().extend(one.messages.iter().map(|m| m.sequence));
                }
            }
            for (incident, mut sequences) in told {
                sequences.sort_unstable();
                sequences.dedup();
                let found: Vec<_> = volumes.values().filter_map(|volume| find(volume, incident)).collect();
                prop_assert_eq!(found.len(), 1);
                prop_assert_eq!(found[0].messages.iter().map(|m| m.sequence).collect::<Vec<_>>(), sequences);
                let looked = (0..PLACES).find_map(|place| find(volumes.get(&name(incident, place))?, incident));
                prop_assert_eq!(looked, Some(found[0]));
            }
        }
    }
}
