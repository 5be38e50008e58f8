//! What looking after the streams needs: pages, the server's time, how far consumers have come, and taking messages away.
//!
//! Guarantees: [`Bus::purge`] takes away nothing at or above the sequence given; a consumer that can't be asked is an error, never one
//! that has nothing to do. Must not: decide what may go.

use contracts::subjects::is_match;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::wire::{ApiError, PubAck};
use super::{AppendError, Bus, ReadError, Stored};

/// How far a consumer has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerState {
    /// Its name.
    pub name: String,
    /// What it gets; empty for everything.
    pub filters: Vec<String>,
    /// Up to this sequence everything is acknowledged.
    pub floor: u64,
    /// Whether nothing at all is left to deliver or to acknowledge.
    pub idle: bool,
}

impl ConsumerState {
    /// Whether this consumer may still need the message. One that it has acknowledged above an older one counts as needed: the server does
    /// not tell.
    #[must_use]
    pub fn may_need(&self, subject: &str, sequence: u64) -> bool {
        let gets = self.filters.is_empty() || self.filters.iter().any(|filter| is_match(filter, subject));
        !self.idle && sequence > self.floor && gets
    }
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    error: Option<ApiError>,
    #[serde(default)]
    total: usize,
    #[serde(default)]
    consumers: Vec<Raw>,
    #[serde(default)]
    missing: Vec<String>,
}

#[derive(Deserialize)]
struct Raw {
    name: String,
    config: RawConfig,
    ack_floor: Floor,
    num_ack_pending: u64,
    num_pending: u64,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    ack_policy: String,
    #[serde(default)]
    filter_subject: String,
    #[serde(default)]
    filter_subjects: Vec<String>,
}

#[derive(Deserialize)]
struct Floor {
    stream_seq: u64,
}

#[derive(Deserialize)]
struct Now {
    #[serde(default)]
    error: Option<ApiError>,
    #[serde(default)]
    ts: Option<Timestamp>,
    #[serde(default)]
    state: Last,
}

#[derive(Default, Deserialize)]
struct Last {
    last_seq: u64,
}

impl Bus {
    /// One page of the messages on a filter from a sequence on, oldest first, as some replica has them; and whether there is more.
    pub async fn page(&self, stream: &str, filter: &str, from: u64) -> Result<(Vec<Stored>, bool), ReadError> {
        let mut messages = Vec::new();
        let more = self.read_page(stream, filter, from.max(1), Instant::now() + self.request_timeout(), &mut messages).await?;
        Ok((messages, more))
    }

    /// The first message of a stream at or after a sequence, as the leader has it.
    pub async fn first_from(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, ReadError> {
        self.next_from_leader(stream, ">", sequence).await
    }

    /// What time it is on the server, the clock that stored messages are stamped by, and how far the stream has come.
    pub async fn server_time(&self, stream: &str) -> Result<(Timestamp, u64), ReadError> {
        let reply: Now = self.api(&format!("STREAM.INFO.{stream}"), &json!({})).await?;
        match (reply.error, reply.ts) {
            (Some(error), _) => Err(error.into()),
            (None, Some(ts)) => Ok((ts, reply.state.last_seq)),
            (None, None) => Err(ReadError::Refused("the server does not tell its time".to_owned())),
        }
    }

    /// All consumers of a stream that acknowledge.
    pub async fn consumers(&self, stream: &str) -> Result<Vec<ConsumerState>, ReadError> {
        let mut all: Vec<ConsumerState> = Vec::new();
        let mut seen = 0;
        loop {
            let answer: List = self.api(&format!("CONSUMER.LIST.{stream}"), &json!({ "offset": seen })).await?;
            if let Some(error) = answer.error {
                return Err(error.into());
            }
            if !answer.missing.is_empty() {
                return Err(ReadError::Unavailable(format!("consumers did not answer: {}", answer.missing.join(", "))));
            }
            seen += answer.consumers.len();
            let last = answer.consumers.is_empty() || seen >= answer.total;
            all.extend(answer.consumers.into_iter().filter(|raw| raw.config.ack_policy != "none").map(state));
            if last {
                return Ok(all);
            }
        }
    }

    /// Takes the messages on a filter below this sequence away (`u64::MAX`: all of them); how many there were.
    pub async fn purge(&self, stream: &str, filter: &str, below: u64) -> Result<u64, AppendError> {
        #[derive(Deserialize)]
        struct Purged {
            #[serde(default)]
            purged: u64,
        }
        let body = if below == u64::MAX { json!({ "filter": filter }) } else { json!({ "filter": filter, "seq": below }) };
        let reply: serde_json::Value = self.api(&format!("STREAM.PURGE.{stream}"), &body).await?;
        let bad = |error: serde_json::Error| AppendError::Refused(format!("the reply to a purge is not understood: {error}"));
        let ack: PubAck = serde_json::from_value(reply.clone()).map_err(bad)?;
        match ack.error {
            Some(error) => Err(error.into()),
            None => serde_json::from_value::<Purged>(reply).map(|reply| reply.purged).map_err(bad),
        }
    }
}

fn state(raw: Raw) -> ConsumerState {
    let one = Some(raw.config.filter_subject).filter(|filter| !filter.is_empty());
    ConsumerState {
        name: raw.name,
        filters: one.into_iter().chain(raw.config.filter_subjects).collect(),
        floor: raw.ack_floor.stream_seq,
        idle: raw.num_ack_pending == 0 && raw.num_pending == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_needs_what_it_gets_and_has_not_acknowledged() {
        let consumer = |filters: &[&str], floor, idle| ConsumerState {
            name: "c".into(),
            filters: filters.iter().map(|&filter| filter.to_owned()).collect(),
            floor,
            idle,
        };
        assert!(consumer(&["a.*.c"], 5, false).may_need("a.b.c", 6));
        assert!(consumer(&[], 5, false).may_need("a.b.c", 6));
        assert!(!consumer(&["a.*.c"], 6, false).may_need("a.b.c", 6));
        assert!(!consumer(&["a.*.d", "b.>"], 5, false).may_need("a.b.c", 6));
        assert!(!consumer(&["a.>"], 5, true).may_need("a.b.c", 6));
    }
}
