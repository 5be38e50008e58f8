//! Dead letters: what could not be decoded or processed, kept for people with its reason.
//!
//! Guarantees: a dead letter holds the whole message, or where that is too large for one its place in its stream; replaying one wakes the
//! consumer that gave it up, with the original's subject, sequence and time, and appends nothing to the original's stream; there is no letter
//! about a letter about a letter. Must not: decide that a message is dead.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use contracts::subjects::{self, streams};
use contracts::v1;
use prost::Message;

use super::wire::envelope_headers;
use super::{Advisory, AppendError, Bus, Delivery, ReadError, Stored};

/// Where replayed dead letters go: `lastgood.redelivery.<service>.<durable>`.
pub const REDELIVERY_PREFIX: &str = "lastgood.redelivery";

/// What a durable's consumer of replayed dead letters has behind its name.
const REDELIVERY_SUFFIX: &str = "-redelivery";
/// The services that have durables.
const SERVICES: [&str; 5] = ["alert-ingest", "orchestrator", "executor", "verifier", "notifier"];

const CONSUMER: &str = "Lastgood-Consumer";
const SUBJECT: &str = "Lastgood-Original-Subject";
const STREAM: &str = "Lastgood-Original-Stream";
const SEQUENCE: &str = "Lastgood-Original-Sequence";
const LETTER: &str = "Lastgood-Dead-Letter";
const TIME: &str = "Lastgood-Original-Time";
/// How many bytes the message has that a letter had no room for.
const LEFT_OUT: &str = "Lastgood-Left-Out";

/// What a letter may weigh; nats-server takes 1 MiB with headers.
const LETTER_BYTES: usize = 1_000_000;
/// What a reason may have of that: it may quote what is damaged.
const REASON_BYTES: usize = 4096;

/// A dead letter in its stream.
#[derive(Debug, Clone)]
pub struct DeadLetterEntry {
    /// Its sequence in the dead-letter stream, for [`Bus::replay`].
    pub sequence: u64,
    /// When it was given up.
    pub at: jiff::Timestamp,
    /// What it was, and why.
    pub letter: v1::DeadLetter,
}

/// The subject that wakes one durable of one service.
pub(super) fn redelivery(service: &str, durable: &str) -> String {
    format!("{REDELIVERY_PREFIX}.{service}.{durable}")
}

/// The original of a replayed dead letter, with its stream; `None` for anything else.
pub(super) fn original(stored: &Stored) -> Option<(String, Stored)> {
    if !stored.subject.starts_with(REDELIVERY_PREFIX) {
        return None;
    }
    let original = Stored {
        subject: stored.header(SUBJECT)?.to_owned(),
        sequence: stored.header(SEQUENCE)?.parse().ok()?,
        at: stored.header(TIME)?.parse().ok()?,
        headers: stored.headers.clone(),
        data: stored.data.clone(),
    };
    Some((stored.header(STREAM)?.to_owned(), original))
}

impl Bus {
    /// Stores a dead letter of one of this service's durables. Storing the same one twice stores it once.
    pub async fn dead_letter(&self, durable: &str, delivery: &Delivery, reason: &str) -> Result<(), AppendError> {
        let letter = letter(self.service(), durable, &delivery.stream, &delivery.stored, reason);
        self.store_letter(letter, delivery.delivered_sequence).await
    }

    /// Stores a dead letter of a message that the server gave up on for whichever service: its consumer was told of it as often as it
    /// may be, and never answered. Storing the same one twice stores it once.
    pub async fn dead_letter_of(&self, advisory: &Advisory, stored: &Stored, reason: &str) -> Result<(), AppendError> {
        let (stream, stored) = original(stored).unwrap_or_else(|| (advisory.stream.clone(), stored.clone()));
        let letter = letter(service_of(&advisory.consumer), &advisory.consumer, &stream, &stored, reason);
        self.store_letter(letter, advisory.sequence).await
    }

    /// The delivering sequence is part of its name, so that a replay that fails again is a dead letter again.
    async fn store_letter(&self, letter: v1::DeadLetter, delivered_sequence: u64) -> Result<(), AppendError> {
        if goes_in_circles(&letter) {
            tracing::error!(consumer = consumer_of(&letter), reason = letter.reason, "no letter about a letter about a letter");
            return Ok(());
        }
        let durable = letter.headers.get(CONSUMER).cloned().unwrap_or_default();
        let mut envelope = envelope_headers(&self.envelope(self.ids().event(), "lastgood.v1.DeadLetter"));
        let id = format!("{durable}/{}/{}/{delivered_sequence}", letter.stream, letter.sequence);
        envelope.insert("Nats-Msg-Id", id.as_str());
        self.store(subjects::dead(&letter.service), envelope, letter.encode_to_vec().into()).await.map(drop)
    }

    /// All dead letters of all services, oldest first; ones that are not readable are passed over with a log line.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetterEntry>, ReadError> {
        let stored = self.read(streams::DEAD, subjects::ALL_DEAD, 1, None).await?;
        Ok(stored.iter().filter_map(entry).collect())
    }

    /// When each dead letter was last replayed, by its sequence.
    pub async fn replays(&self) -> Result<BTreeMap<u64, jiff::Timestamp>, ReadError> {
        let stored = self.read(streams::DEAD, &format!("{REDELIVERY_PREFIX}.>"), 1, None).await?;
        Ok(stored.iter().filter_map(|stored| Some((stored.header(LETTER)?.parse().ok()?, stored.at))).collect())
    }

    /// Delivers a dead letter's message again to the consumer that gave it up. Its own stream is not touched.
    pub async fn replay(&self, sequence: u64) -> Result<(), ReplayError> {
        let stored = self.message(streams::DEAD, sequence).await?;
        let entry = stored.as_ref().and_then(entry).ok_or(ReplayError::NoSuchLetter { sequence })?;
        let letter = self.whole(entry.letter, sequence).await?;
        let get = |name: &str| letter.headers.get(name).cloned().ok_or(ReplayError::NoSuchLetter { sequence });
        let (durable, time) = (get(CONSUMER)?, get(TIME)?);
        let mut headers = HeaderMap::new();
        for (name, value) in &letter.headers {
            // The server's own headers are instructions to it, and would be obeyed.
            if !name.starts_with("Nats-") && !name.starts_with("Lastgood-") {
                headers.insert(name.as_str(), value.as_str());
            }
        }
        headers.insert(SUBJECT, letter.subject.as_str());
        headers.insert(STREAM, letter.stream.as_str());
        headers.insert(SEQUENCE, letter.sequence.to_string().as_str());
        headers.insert(TIME, time.as_str());
        headers.insert(LETTER, sequence.to_string().as_str());
        self.store(redelivery(&letter.service, &durable), headers, letter.data.into()).await?;
        Ok(())
    }

    /// The letter with what it had no room for, from where its message still is.
    async fn whole(&self, mut letter: v1::DeadLetter, sequence: u64) -> Result<v1::DeadLetter, ReplayError> {
        if !letter.headers.contains_key(LEFT_OUT) {
            return Ok(letter);
        }
        let stored = self.message(&letter.stream, letter.sequence).await?.ok_or(ReplayError::Gone { sequence })?;
        letter.headers.extend(headers_of(&stored).filter(|(name, _)| !name.starts_with("Lastgood-")));
        letter.data = stored.data.to_vec();
        Ok(letter)
    }
}

/// Whether it is about a letter that is itself about a letter: whoever gives up one letter after another would never end.
fn goes_in_circles(letter: &v1::DeadLetter) -> bool {
    let is_letter = |subject: &str| subject.starts_with("lastgood.dead.");
    letter.stream == streams::DEAD
        && is_letter(&letter.subject)
        && v1::DeadLetter::decode(letter.data.as_slice()).is_ok_and(|inner| is_letter(&inner.subject))
}

fn headers_of(stored: &Stored) -> impl Iterator<Item = (String, String)> + '_ {
    stored.headers.iter().filter_map(|(name, values)| Some((name.to_string(), values.first()?.to_string())))
}

fn letter(service: &str, durable: &str, stream: &str, stored: &Stored, reason: &str) -> v1::DeadLetter {
    let durable = durable.strip_suffix(REDELIVERY_SUFFIX).unwrap_or(durable);
    let mut headers: BTreeMap<String, String> = headers_of(stored).collect();
    headers.insert(CONSUMER.to_owned(), durable.to_owned());
    headers.insert(TIME.to_owned(), stored.at.to_string());
    let mut letter = v1::DeadLetter {
        service: service.to_owned(),
        stream: stream.to_owned(),
        sequence: stored.sequence,
        subject: stored.subject.clone(),
        reason: reason[..reason.floor_char_boundary(REASON_BYTES)].to_owned(),
        headers,
        data: stored.data.to_vec(),
    };
    if letter.encoded_len() > LETTER_BYTES {
        letter.headers.retain(|name, _| [CONSUMER, TIME].contains(&name.as_str()));
        letter.headers.insert(LEFT_OUT.to_owned(), stored.data.len().to_string());
        letter.data.clear();
    }
    letter
}

/// The service that a durable belongs to, by the convention of its name (`<service>` or `<service>-<what>`).
fn service_of(durable: &str) -> &str {
    let belongs = |service: &&&str| durable.strip_prefix(**service).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    SERVICES.iter().find(belongs).map_or(durable, |service| *service)
}

/// The durable that gave this letter's message up.
#[must_use]
pub fn consumer_of(letter: &v1::DeadLetter) -> &str {
    letter.headers.get(CONSUMER).map_or("", String::as_str)
}

/// Why a dead letter was not replayed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReplayError {
    /// There is none at this sequence.
    #[error("there is no dead letter {sequence}")]
    NoSuchLetter {
        /// Which was asked for.
        sequence: u64,
    },
    /// It had no room for its message, and that is not in its stream any more.
    #[error("dead letter {sequence} had no room for its message, which is gone by now")]
    Gone {
        /// Which was asked for.
        sequence: u64,
    },
    /// It could not be read.
    #[error("the dead letter could not be read")]
    Read(#[from] ReadError),
    /// It could not be sent.
    #[error("the dead letter could not be delivered again")]
    Send(#[from] AppendError),
}

fn entry(stored: &Stored) -> Option<DeadLetterEntry> {
    match v1::DeadLetter::decode(stored.data.clone()) {
        Ok(letter) if stored.subject.starts_with("lastgood.dead.") => {
            Some(DeadLetterEntry { sequence: stored.sequence, at: stored.at, letter })
        }
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(sequence = stored.sequence, %error, "a dead letter can't be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(subject: &str, data: Vec<u8>) -> Stored {
        let (headers, at) = (HeaderMap::default(), jiff::Timestamp::UNIX_EPOCH);
        Stored { subject: subject.to_owned(), sequence: 7, at, headers, data: data.into() }
    }

    #[test]
    fn a_letter_about_a_letter_is_the_last_one() {
        let about = |subject: &str| {
            let inner = v1::DeadLetter { subject: subject.to_owned(), ..v1::DeadLetter::default() };
            let stored = stored("lastgood.dead.executor", inner.encode_to_vec());
            goes_in_circles(&letter("notifier", "notifier-dead-letters", streams::DEAD, &stored, "no"))
        };
        assert!(!about("lastgood.alert.alertmanager"));
        assert!(about("lastgood.dead.executor"));
    }

    #[test]
    fn a_letter_fits_into_a_message_whatever_it_is_about() {
        let (huge, reason) = (vec![b'x'; 1 << 20], "ö".repeat(1 << 20));
        let cut = letter("executor", "executor", streams::INCIDENTS, &stored("s", huge), &reason);
        assert!(cut.encoded_len() < 2 * REASON_BYTES && cut.data.is_empty());
        assert_eq!(cut.headers.get(LEFT_OUT).map(String::as_str), Some("1048576"));
        let whole = letter("executor", "executor", streams::INCIDENTS, &stored("s", vec![b'x'; 900_000]), "no");
        assert!(whole.data.len() == 900_000 && !whole.headers.contains_key(LEFT_OUT));
    }

    #[test]
    fn a_durable_names_its_service() {
        for (durable, service) in [
            ("executor", "executor"),
            ("orchestrator-resume", "orchestrator"),
            ("alert-ingest-x", "alert-ingest"),
            ("executors", "executors"),
        ] {
            assert_eq!(service_of(durable), service);
        }
    }
}
