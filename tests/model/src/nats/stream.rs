//! One stream: what is stored on it, under which conditions.
//!
//! Guarantees: a message is stored only when its expectation, its id and the room allow it; a batch is stored whole or not at all.
//! Must not: know connections; what it refuses it refuses as nats-server does, with the same error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use bytes::Bytes;
use chassis::bus::Stored;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::consumer::Consumer;
use super::log::{Log, size};
use super::schedule::Schedule;
use super::subjects::matches;

/// What nats-server takes for a window of duplicates of none.
const WINDOW: Duration = Duration::from_mins(2);
/// How long a batch may stand unfinished.
const BATCH_PATIENCE: Duration = Duration::from_secs(10);

/// A refusal, as the server words it.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) code: u32,
    pub(super) err_code: u32,
    pub(super) description: String,
}

impl Refused {
    pub(super) fn new(code: u32, err_code: u32, description: impl Into<String>) -> Self {
        Self { code, err_code, description: description.into() }
    }

    pub(super) fn json(&self) -> Value {
        json!({ "code": self.code, "err_code": self.err_code, "description": self.description })
    }

    pub(super) fn unavailable() -> Self {
        Self::new(503, 10008, "JetStream system temporarily unavailable")
    }
}

/// A message that asks to be stored.
#[derive(Debug, Clone)]
pub(super) struct Incoming {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) data: Bytes,
}

impl Incoming {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(async_nats::HeaderValue::as_str)
    }

    fn stored(self, sequence: u64, at: Timestamp) -> Stored {
        Stored { subject: self.subject, sequence, at, headers: self.headers, data: self.data }
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.parse().ok()
    }
}

/// What became of a message that asked to be stored.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// It is stored; or was before, under the same id.
    Stored { sequence: u64, duplicate: bool },
    /// The batch is stored, up to this sequence.
    Batch { last: u64, id: String, count: usize },
    /// It waits for the rest of its batch.
    Staged,
}

struct Staged {
    messages: Vec<Incoming>,
    at: Instant,
}

/// A stream.
pub(super) struct Stream {
    pub(super) config: Config,
    pub(super) created: Timestamp,
    pub(super) log: Log,
    pub(super) consumers: BTreeMap<String, Consumer>,
    pub(super) schedules: BTreeMap<String, Schedule>,
    /// Until then it is busy with what came before.
    pub(super) busy_until: Option<Instant>,
    /// Refuses everything, as if it were full.
    pub(super) full: bool,
    ids: BTreeMap<String, (Timestamp, u64)>,
    batches: BTreeMap<String, Staged>,
}

impl Stream {
    pub(super) fn new(config: Config, created: Timestamp) -> Self {
        let (log, consumers, schedules) = (Log::default(), BTreeMap::new(), BTreeMap::new());
        let (ids, batches) = (BTreeMap::new(), BTreeMap::new());
        Self { config: completed(config), created, log, consumers, schedules, busy_until: None, full: false, ids, batches }
    }

    pub(super) fn captures(&self, subject: &str) -> bool {
        self.config.subjects.iter().any(|filter| matches(filter, subject))
    }

    /// Takes a message in. What was stored is appended to `stored`.
    pub(super) fn take(
        &mut self,
        message: Incoming,
        at: Timestamp,
        now: Instant,
        stored: &mut Vec<Arc<Stored>>,
    ) -> Result<Outcome, Refused> {
        if let Some(id) = message.header("Nats-Batch-Id").map(str::to_owned) {
            return self.batch(id, message, at, now, stored);
        }
        if let Some(sequence) = message.header("Nats-Msg-Id").and_then(|id| self.known(id, at)) {
            return Ok(Outcome::Stored { sequence, duplicate: true });
        }
        self.expect(&message)?;
        let schedule = self.schedule_of(&message)?;
        let replaced = self.replaced_by(&message)?;
        let sequence = self.store(message, at, stored)?;
        for sequence in replaced {
            self.forget(sequence);
        }
        // One schedule a subject.
        let before = schedule.and_then(|(subject, due)| self.schedules.insert(subject, Schedule { at: due, sequence }));
        if let Some(before) = before {
            self.log.remove(before.sequence);
        }
        Ok(Outcome::Stored { sequence, duplicate: false })
    }

    fn known(&self, id: &str, at: Timestamp) -> Option<u64> {
        let (seen, sequence) = self.ids.get(id)?;
        let window = jiff::SignedDuration::try_from(self.config.duplicate_window).unwrap_or(jiff::SignedDuration::MAX);
        (at.duration_since(*seen) < window).then_some(*sequence)
    }

    /// Whether the message's expectation holds.
    fn expect(&self, message: &Incoming) -> Result<(), Refused> {
        let Some(expected) = message.number("Nats-Expected-Last-Subject-Sequence") else { return Ok(()) };
        let filter = message.header("Nats-Expected-Last-Subject-Sequence-Subject").unwrap_or(&message.subject);
        let last = self.log.last_on(filter).map_or(0, |stored| stored.sequence);
        if last == expected { Ok(()) } else { Err(Refused::new(400, 10071, format!("wrong last sequence: {last}"))) }
    }

    /// What the message takes the place of.
    fn replaced_by(&self, message: &Incoming) -> Result<std::collections::BTreeSet<u64>, Refused> {
        match message.header("Nats-Rollup") {
            None => Ok(std::collections::BTreeSet::new()),
            Some(_) if !self.config.allow_rollup => Err(Refused::new(500, 10111, "rollup not permitted")),
            Some("all") => Ok(self.log.sequences(">", 1)),
            Some(_) => Ok(self.log.sequences(&message.subject, 1)),
        }
    }

    fn batch(
        &mut self,
        id: String,
        message: Incoming,
        at: Timestamp,
        now: Instant,
        stored: &mut Vec<Arc<Stored>>,
    ) -> Result<Outcome, Refused> {
        if !self.config.allow_atomic_publish {
            return Err(Refused::new(400, 10174, "atomic publish is disabled"));
        }
        let Some(number) = message.number("Nats-Batch-Sequence") else {
            return Err(Refused::new(400, 10175, "atomic publish sequence is missing"));
        };
        self.batches.retain(|_, staged| staged.at + BATCH_PATIENCE > now);
        let commit = message.header("Nats-Batch-Commit").is_some();
        let mut staged = match self.batches.remove(&id) {
            _ if number == 1 => Staged { messages: Vec::new(), at: now },
            Some(staged) if staged.messages.len() as u64 + 1 == number => staged,
            _ => return Err(Refused::new(400, 10176, "atomic publish batch is incomplete")),
        };
        staged.messages.push(message);
        staged.at = now;
        if !commit {
            self.batches.insert(id, staged);
            return Ok(Outcome::Staged);
        }
        self.commit(staged.messages, at, stored).map(|(last, count)| Outcome::Batch { last, id, count })
    }

    /// Stores all of a batch, if all of it can be.
    fn commit(&mut self, messages: Vec<Incoming>, at: Timestamp, stored: &mut Vec<Arc<Stored>>) -> Result<(u64, usize), Refused> {
        let mut ids = std::collections::BTreeSet::new();
        for message in &messages {
            if message.header("Nats-Msg-Id").is_some_and(|id| self.known(id, at).is_some() || !ids.insert(id)) {
                return Err(Refused::new(400, 10201, "atomic publish batch contains duplicate message id"));
            }
            self.expect(message)?;
        }
        let sizes: usize = messages.iter().map(|message| size(&message.clone().stored(0, at))).sum();
        self.room(sizes)?;
        let count = messages.len();
        let mut last = 0;
        for message in messages {
            last = self.store(message, at, stored)?;
        }
        Ok((last, count))
    }

    /// Makes room or refuses.
    fn room(&mut self, bytes: usize) -> Result<(), Refused> {
        let refused = || Refused::new(503, 10077, "maximum bytes exceeded");
        if self.full && self.config.discard == DiscardPolicy::New {
            return Err(refused());
        }
        let Some(most) = usize::try_from(self.config.max_bytes).ok().filter(|most| *most > 0) else { return Ok(()) };
        while self.log.bytes + bytes > most {
            if self.config.discard == DiscardPolicy::New {
                return Err(refused());
            }
            let Some(first) = self.log.first() else { return Ok(()) };
            self.forget(first);
        }
        Ok(())
    }

    pub(super) fn store(&mut self, message: Incoming, at: Timestamp, stored: &mut Vec<Arc<Stored>>) -> Result<u64, Refused> {
        let sequence = self.log.last + 1;
        let message = Arc::new(message.stored(sequence, at));
        self.room(size(&message))?;
        if let Some(id) = message.header("Nats-Msg-Id") {
            self.ids.insert(id.to_owned(), (at, sequence));
        }
        self.log.push(Arc::clone(&message));
        stored.push(message);
        Ok(sequence)
    }

    /// Takes a message away for good, also off the consumers that have it out.
    pub(super) fn forget(&mut self, sequence: u64) {
        let Some(stored) = self.log.remove(sequence) else { return };
        if self.schedules.get(&stored.subject).is_some_and(|schedule| schedule.sequence == sequence) {
            self.schedules.remove(&stored.subject);
        }
        for consumer in self.consumers.values_mut() {
            consumer.acknowledge(sequence);
        }
    }

    /// The server was restarted: what was not stored is gone.
    pub(super) fn restarted(&mut self) {
        self.batches.clear();
        self.busy_until = None;
    }
}

/// The configuration as nats-server shows it.
pub(super) fn completed(mut config: Config) -> Config {
    for limit in [&mut config.max_bytes, &mut config.max_messages, &mut config.max_messages_per_subject] {
        if *limit == 0 {
            *limit = -1;
        }
    }
    config.num_replicas = config.num_replicas.max(1);
    if config.duplicate_window.is_zero() {
        config.duplicate_window = if config.max_age.is_zero() { WINDOW } else { WINDOW.min(config.max_age) };
    }
    config
}
