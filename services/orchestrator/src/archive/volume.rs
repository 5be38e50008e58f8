//! Volumes, as pure values: the objects that archived incidents are kept in, many in each, so that what the archive costs nats-server is in
//! proportion to the days that it is kept for and to its bytes, not to the number of incidents.
//!
//! An incident is in the volume of the UTC day of its id; if that was full, in that of half of the day's incidents, by the last bit of its
//! id; if that was full too, of half of those by the bit before it, and so on, and at last in one of its own. Guarantees: what a
//! volume holds, it holds for good, and one that is full stays full, so that an incident has one place whoever archives it, and is found by
//! looking into [`PLACES`] at most; there are about as many volumes as their bytes need, up to three times as many. The names
//! and [`FULL`] are a format: with others, incidents would have two places. Must not: read or write anything.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use chassis::bus::Stored;
use contracts::v1::{ArchiveEntry, ArchiveVolume, ArchivedHeader, ArchivedIncident, ArchivedMessage};
use contracts::{IncidentId, IncidentSubject, subjects};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use prost::Message;

/// Bits that tell apart the volumes of a day: enough for six million incidents.
const BITS: usize = 16;
/// Places that an incident can be in, the widest first.
pub const PLACES: usize = 1 + BITS + 1;
/// Bytes of a volume, not compressed, from which on it takes no further incident: about a hundred of them, compressed a tenth of it.
pub const FULL: usize = 1 << 20;
/// Bytes of a volume that can be read: it may go on to grow by late words, and its last incident may be of any size.
pub const LARGEST: usize = 1 << 28;

/// An incident that is to leave the log.
#[derive(Debug, Clone)]
pub struct Leaving {
    /// Which.
    pub subject: IncidentSubject,
    /// Its messages on the log.
    pub messages: Vec<Stored>,
}

impl Leaving {
    /// Whether its opening is among them: else they are the rest of a purge that was cut off.
    #[must_use]
    pub fn has_opening(&self) -> bool {
        self.messages.iter().any(|message| message.event_type() == "anomaly_detected")
    }
}

/// The name of an incident's volume at this place, below [`PLACES`].
#[must_use]
pub fn name(incident: IncidentId, place: usize) -> String {
    if place > BITS {
        return incident.to_string();
    }
    let id = incident.uuid().as_u128();
    // The first 48 bits of a UUIDv7 are milliseconds, its last are random (RFC 9562, 5.7).
    let milliseconds = i64::try_from(id >> 80).unwrap_or(i64::MAX);
    let day = Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX).strftime("%Y-%m-%d").to_string();
    let bits: String = (0..place).map(|index| if id >> index & 1 == 1 { '1' } else { '0' }).collect();
    if bits.is_empty() { day } else { format!("{day}.{bits}") }
}

/// An incident of a volume.
///
/// # Errors
/// What is wrong with what the volume holds of it.
pub fn find(volume: &ArchiveVolume, incident: IncidentId) -> Result<Option<ArchivedIncident>, String> {
    let id = incident.to_string();
    volume.entries.iter().find(|entry| entry.incident == id).map(decoded).transpose()
}

fn decoded(entry: &ArchiveEntry) -> Result<ArchivedIncident, String> {
    ArchivedIncident::decode(entry.archived.as_slice()).map_err(|error| format!("{}: {error}", entry.incident))
}

/// What a volume should hold: what it holds, merged with these incidents, as far as it holds them already or has room (`full`: bytes, not
/// compressed, from which on it has none). The others need another place.
///
/// # Errors
/// What is wrong with what the volume holds of one of them.
pub fn with<'a>(
    volume: &ArchiveVolume,
    leaving: &[&'a Leaving],
    full: usize,
) -> Result<(ArchiveVolume, Vec<&'a Leaving>), String> {
    let mut bytes: usize = volume.entries.iter().map(|entry| entry.archived.len()).sum();
    let mut held: BTreeMap<String, ArchiveEntry> =
        volume.entries.iter().map(|entry| (entry.incident.clone(), entry.clone())).collect();
    let mut left = Vec::new();
    for leaving in leaving {
        let incident = leaving.subject.incident.to_string();
        let before = held.get(&incident).map(decoded).transpose()?;
        if before.is_none() && bytes >= full {
            left.push(*leaving);
            continue;
        }
        let archived = merged(&leaving.subject, before.as_ref(), &leaving.messages);
        if before.as_ref() == Some(&archived) {
            continue;
        }
        let archived = archived.encode_to_vec();
        bytes += archived.len().saturating_sub(held.get(&incident).map_or(0, |entry| entry.archived.len()));
        held.insert(incident.clone(), ArchiveEntry { incident, archived });
    }
    Ok((ArchiveVolume { entries: held.into_values().collect() }, left))
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

/// A volume as its object holds it: gzip. `None` where it is too large to be read.
#[must_use]
pub fn packed(volume: &ArchiveVolume) -> Option<Vec<u8>> {
    let mut encoder = (volume.encoded_len() <= LARGEST).then(|| GzEncoder::new(Vec::new(), Compression::default()))?;
    // Memory can always be written to.
    encoder.write_all(&volume.encode_to_vec()).and_then(|()| encoder.finish()).ok()
}

/// A volume from its object.
///
/// # Errors
/// What is wrong with it.
pub fn unpacked(object: &[u8]) -> Result<ArchiveVolume, String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(LARGEST).unwrap_or(u64::MAX).saturating_add(1);
    let read = GzDecoder::new(object).take(limit).read_to_end(&mut bytes).map_err(|error| format!("gzip: {error}"))?;
    if read > LARGEST {
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

    fn sequences(archived: &ArchivedIncident) -> Vec<u64> {
        archived.messages.iter().map(|message| message.sequence).collect()
    }

    #[test]
    fn an_incidents_places_are_its_day_ever_smaller_parts_of_it_and_itself() {
        // The last of 2026, a quarter of a second before its end; the id ends in 0x42.
        let incident = leaving(1_798_761_599_750, &[]).subject.incident;
        let names: Vec<_> = (0..PLACES).map(|place| name(incident, place)).collect();
        assert_eq!(names[..5], ["2026-12-31", "2026-12-31.0", "2026-12-31.01", "2026-12-31.010", "2026-12-31.0100"]);
        assert_eq!(names[16..], ["2026-12-31.0100001000000000".to_owned(), incident.to_string()]);
        let far = leaving((1 << 48) - 1, &[]).subject.incident;
        assert_eq!(name(far, 0), "9999-12-30", "an id that is none of ours has places as well");
    }

    #[test]
    fn a_day_has_about_as_many_volumes_as_its_incidents_need() {
        for count in [90_u128, 300, 1_000, 3_000, 10_000] {
            let mut held: BTreeMap<String, usize> = BTreeMap::new();
            for number in 0..count {
                // Its last bits as random as an id's.
                let id = 1_795_000_000_000_u128 << 80 | number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7 & 0xffff_ffff;
                let incident: IncidentId = format!("inc_{id:032x}").parse().unwrap();
                let place = (0..PLACES).find(|place| held.get(&name(incident, *place)).is_none_or(|held| *held < 100)).unwrap();
                *held.entry(name(incident, place)).or_default() += 1;
            }
            let needed = usize::try_from(count).unwrap().div_ceil(100);
            assert!(held.len() <= 3 * needed + 1, "{count} incidents in {} volumes of 100", held.len());
        }
    }

    #[test]
    fn nothing_that_was_archived_is_lost_by_archiving_again() {
        let (first, late) = (leaving(1, &[3, 5]), leaving(1, &[5, 9]));
        let (whole, _) = with(&ArchiveVolume::default(), &[&first], FULL).unwrap();
        // The rest of a purge that a crash cut off, and a late word; also where there is no room for another.
        let (again, left) = with(&whole, &[&late], 0).unwrap();
        let found = find(&again, late.subject.incident).unwrap().unwrap();
        assert_eq!((sequences(&found), left.len()), (vec![3, 5, 9], 0));
        assert_eq!(with(&again, &[&leaving(1, &[3])], FULL).unwrap().0, again);
        assert_eq!(find(&again, leaving(2, &[]).subject.incident), Ok(None));
    }

    #[test]
    fn what_a_newer_binary_archived_is_left_as_it_is() {
        let incident = leaving(1, &[]).subject.incident.to_string();
        // Field 15, a number, of which this binary knows nothing.
        let newer = ArchiveEntry { incident, archived: vec![0x78, 0x2a] };
        let volume = ArchiveVolume { entries: vec![newer.clone()] };
        let (both, _) = with(&volume, &[&leaving(2, &[1])], FULL).unwrap();
        assert_eq!((both.entries.len(), &both.entries[0]), (2, &newer));
    }

    #[test]
    fn an_object_is_its_volume_and_smaller() {
        let incidents: Vec<_> = (0..100).map(|number| leaving(number, &[1, 2, 3])).collect();
        let (volume, _) = with(&ArchiveVolume::default(), &incidents.iter().collect::<Vec<_>>(), FULL).unwrap();
        let object = packed(&volume).unwrap();
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
        /// In whatever parts and order: each incident is in one place, whole, and where looking for it finds it.
        #[test]
        fn an_incident_has_one_place(batches in prop::collection::vec(prop::collection::vec((0_u128..40, 1_u64..9), 1..8), 1..12)) {
            let mut volumes: BTreeMap<String, ArchiveVolume> = BTreeMap::new();
            let mut told: BTreeMap<IncidentId, Vec<u64>> = BTreeMap::new();
            for batch in &batches {
                // Some of a day, some of another.
                let number = |number: &u128| number / 20 * 90_000_000 + number % 20;
                let batch: Vec<_> = batch.iter().map(|(one, sequence)| leaving(number(one), &[*sequence])).collect();
                let mut pending: Vec<&Leaving> = batch.iter().collect();
                for place in 0..PLACES {
                    let mut next = Vec::new();
                    for one in pending {
                        let volume = volumes.entry(name(one.subject.incident, place)).or_default();
                        let (held, left) = with(volume, &[one], if place + 1 == PLACES { usize::MAX } else { 600 }).unwrap();
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
            for (incident, mut expected) in told {
                expected.sort_unstable();
                expected.dedup();
                let found: Vec<_> = volumes.values().filter_map(|volume| find(volume, incident).unwrap()).collect();
                prop_assert_eq!(found.len(), 1);
                prop_assert_eq!(sequences(&found[0]), expected);
                let looked = (0..PLACES).find_map(|place| find(volumes.get(&name(incident, place))?, incident).unwrap());
                prop_assert_eq!(looked.as_ref(), Some(&found[0]));
            }
        }
    }
}
