//! Reading: from the leader, or in batches from any replica that is new enough.
//!
//! Guarantees: [`Bus::last`] is the leader's answer; [`Bus::read`] returns only what reaches the sequence asked for. Every wait has
//! a deadline. Must not: interpret what it reads.

use std::time::Duration;

use async_nats::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use contracts::{Envelope, EnvelopeError};
use futures::StreamExt;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::Bus;
use super::transport::{Outgoing, TransportError};
use super::wire::{ApiError, parse_headers};

/// Messages a batched direct get.
const PAGE: usize = 1000;

/// A stored message.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Where it was published.
    pub subject: String,
    /// Its sequence in the stream.
    pub sequence: u64,
    /// When the stream stored it: the time that decisions use.
    pub at: Timestamp,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub data: Bytes,
}

impl Stored {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(async_nats::HeaderValue::as_str)
    }

    /// The envelope, or what is wrong with it.
    pub fn envelope(&self) -> Result<Envelope, EnvelopeError> {
        Envelope::from_headers(|name| self.header(name))
    }

    /// The subject's last token, which is the event type of facts.
    #[must_use]
    pub fn event_type(&self) -> &str {
        self.subject.rsplit('.').next().unwrap_or_default()
    }
}

/// The first message on a filter, as some replica has it, and how many follow it there.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(super) first: Option<Stored>,
    pub(super) rest: u64,
}

/// Why something could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// NATS is away.
    #[error("NATS is unavailable: {0}")]
    Unavailable(String),
    /// No replica had the sequence in time.
    #[error("{filter} was read up to {reached} and not to {wanted} in time")]
    Stale {
        /// What was read.
        filter: String,
        /// How far.
        reached: u64,
        /// How far it should be.
        wanted: u64,
    },
    /// The server refused or the reply makes no sense.
    #[error("the read was refused: {0}")]
    Refused(String),
}

impl From<TransportError> for ReadError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Away(reason) => Self::Unavailable(reason),
            TransportError::Bad(reason) => Self::Refused(reason),
        }
    }
}

impl From<ApiError> for ReadError {
    fn from(error: ApiError) -> Self {
        if error.is_temporary() { Self::Unavailable(error.to_string()) } else { Self::Refused(error.to_string()) }
    }
}

#[derive(Deserialize)]
struct GetReply {
    #[serde(default)]
    error: Option<ApiError>,
    #[serde(default)]
    message: Option<RawMessage>,
}

#[derive(Deserialize)]
struct RawMessage {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: Option<String>,
    #[serde(default)]
    data: Option<String>,
    time: Timestamp,
}

impl Bus {
    /// The last message on a filter (wildcards allowed), as the stream's leader has it.
    pub async fn last(&self, stream: &str, filter: &str) -> Result<Option<Stored>, ReadError> {
        self.get(stream, &json!({ "last_by_subj": filter })).await
    }

    /// The first message on a filter at or after this sequence, as the stream's leader has it.
    pub(super) async fn next_from_leader(&self, stream: &str, filter: &str, from: u64) -> Result<Option<Stored>, ReadError> {
        self.get(stream, &json!({ "seq": from, "next_by_subj": filter })).await
    }

    /// One message by its sequence, as the stream's leader has it.
    pub async fn message(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, ReadError> {
        self.get(stream, &json!({ "seq": sequence })).await
    }

    async fn get(&self, stream: &str, body: &serde_json::Value) -> Result<Option<Stored>, ReadError> {
        let reply: GetReply = self.api(&format!("STREAM.MSG.GET.{stream}"), body).await?;
        match (reply.error, reply.message) {
            (Some(error), _) if error.err_code == ApiError::NO_MESSAGE => Ok(None),
            (Some(error), _) => Err(error.into()),
            (None, Some(raw)) => stored(raw).map(Some),
            (None, None) => Err(ReadError::Refused("a reply without a message".to_owned())),
        }
    }

    /// All messages on a filter from a sequence on, oldest first. Reads again until it has reached `at_least` (which must be a
    /// sequence that the filter matches), or without one the leader's last; [`ReadError::Stale`] at the request timeout.
    pub async fn read(&self, stream: &str, filter: &str, from: u64, at_least: Option<u64>) -> Result<Vec<Stored>, ReadError> {
        let deadline = Instant::now() + self.inner.config.request_timeout;
        if let Some(wanted) = at_least {
            let first = self.read_once(stream, filter, from, deadline).await?;
            return self.read_on(stream, filter, from, wanted, first, deadline).await;
        }
        let mut pause = Duration::from_millis(1);
        loop {
            // The leader is asked each time: what it had may have been taken away (archived) before the messages were read.
            let (last, messages) = tokio::join!(self.last(stream, filter), self.read_once(stream, filter, from, deadline));
            let (wanted, messages) = (last?.map_or(0, |stored| stored.sequence), messages?);
            let reached = messages.last().map_or(0, |stored| stored.sequence);
            if reached >= wanted || wanted < from {
                return Ok(messages);
            }
            let stale = || ReadError::Stale { filter: filter.to_owned(), reached, wanted };
            pause = again(pause, deadline).await.ok_or_else(stale)?;
        }
    }

    /// Goes on reading until `wanted` is reached.
    pub(crate) async fn read_on(
        &self,
        stream: &str,
        filter: &str,
        from: u64,
        wanted: u64,
        mut messages: Vec<Stored>,
        deadline: Instant,
    ) -> Result<Vec<Stored>, ReadError> {
        let mut pause = Duration::from_millis(1);
        loop {
            let reached = messages.last().map_or(0, |stored| stored.sequence);
            if reached >= wanted || wanted < from {
                return Ok(messages);
            }
            let stale = || ReadError::Stale { filter: filter.to_owned(), reached, wanted };
            pause = again(pause, deadline).await.ok_or_else(stale)?;
            let next = reached.max(from.saturating_sub(1)) + 1;
            match self.read_once(stream, filter, next, deadline).await {
                Ok(more) => messages.extend(more),
                // Cut off while it asked once more: what was not there in time is what matters.
                Err(ReadError::Unavailable(_)) if Instant::now() >= deadline => return Err(stale()),
                Err(error) => return Err(error),
            }
        }
    }

    /// All messages that the replica that answers has now.
    pub(crate) async fn read_once(
        &self,
        stream: &str,
        filter: &str,
        from: u64,
        deadline: Instant,
    ) -> Result<Vec<Stored>, ReadError> {
        let mut messages: Vec<Stored> = Vec::new();
        loop {
            let next = messages.last().map_or(from.max(1), |stored| stored.sequence + 1);
            if !self.read_page(stream, filter, next, deadline, &mut messages).await? {
                return Ok(messages);
            }
        }
    }

    /// Appends one page; true when there is more.
    pub(super) async fn read_page(
        &self,
        stream: &str,
        filter: &str,
        from: u64,
        deadline: Instant,
        messages: &mut Vec<Stored>,
    ) -> Result<bool, ReadError> {
        if from <= 1 {
            let beginning = self.beginning(stream, filter, deadline).await?;
            return self.first_page(stream, filter, beginning, deadline, messages).await;
        }
        let rest = self.read_batch(stream, filter, from, PAGE, deadline, messages).await?;
        Ok(rest > 0)
    }

    /// How a filter begins: cheap however much lies between its messages.
    pub(crate) async fn beginning(&self, stream: &str, filter: &str, deadline: Instant) -> Result<Beginning, ReadError> {
        let mut messages = Vec::new();
        let rest = self.read_batch(stream, filter, 1, 1, deadline, &mut messages).await?;
        Ok(Beginning { first: messages.pop(), rest })
    }

    /// Appends the first page of a filter that begins like this; true when there is more. A server that is asked for more than there is looks
    /// through the whole rest of the stream for it; from the first sequence on it knows without looking how many there are, so it is asked
    /// for that many.
    pub(super) async fn first_page(
        &self,
        stream: &str,
        filter: &str,
        Beginning { first, rest }: Beginning,
        deadline: Instant,
        messages: &mut Vec<Stored>,
    ) -> Result<bool, ReadError> {
        if rest == 0 {
            messages.extend(first);
            return Ok(false);
        }
        let batch = usize::try_from(rest).unwrap_or(PAGE).saturating_add(1).min(PAGE);
        let rest = self.read_batch(stream, filter, 1, batch, deadline, messages).await?;
        Ok(rest > 0)
    }

    /// Appends so many messages at most; how many more there are.
    pub(super) async fn read_batch(
        &self,
        stream: &str,
        filter: &str,
        from: u64,
        batch: usize,
        deadline: Instant,
        messages: &mut Vec<Stored>,
    ) -> Result<u64, ReadError> {
        let body = json!({ "seq": from, "next_by_subj": filter, "batch": batch });
        let mut pending = 0;
        let exchange = self.direct_get(stream, &body, |reply| {
            let message = direct(reply)?;
            pending = message.header("Nats-Num-Pending").and_then(|n| n.parse().ok()).unwrap_or(0);
            messages.push(message);
            Ok(())
        });
        timeout_at(deadline, exchange).await.map_err(|_| away(&"no answer in time"))??;
        Ok(pending)
    }

    /// The subjects of the first `limit` messages on a filter that were stored since a time, and their times, as the replica that answers has
    /// them. Without a deadline of its own.
    pub async fn subjects_since(
        &self,
        stream: &str,
        filter: &str,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<(String, Timestamp)>, ReadError> {
        let body = json!({ "start_time": since.to_string(), "next_by_subj": filter, "batch": limit });
        let mut subjects = Vec::new();
        let exchange = self.direct_get(stream, &body, |reply| {
            let message = direct(reply)?;
            subjects.push((message.subject, message.at));
            Ok(())
        });
        exchange.await?;
        Ok(subjects)
    }

    /// One batched direct get: each message that the replica that answers has is handed to `take`. Each reply names the one before it
    /// (`Nats-Last-Sequence`): where one was lost, by a connection that broke and came back, the read fails instead of having a gap.
    async fn direct_get(
        &self,
        stream: &str,
        body: &serde_json::Value,
        mut take: impl FnMut(async_nats::Message) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let transport = self.transport();
        let inbox = transport.new_inbox();
        let mut replies = transport.subscribe(inbox.clone()).await.map_err(|e| away(&e))?;
        let request = Outgoing::new(format!("$JS.API.DIRECT.GET.{stream}"), body.to_string()).reply_to(inbox);
        transport.publish(request).await.map_err(|e| away(&e))?;
        let mut last = 0;
        while let Some(reply) = replies.next().await {
            let number = |name: &str| reply.headers.as_ref()?.get(name)?.as_str().parse::<u64>().ok();
            if number("Nats-Last-Sequence").is_some_and(|before| before != last) {
                return Err(away(&"a part of the answer was lost"));
            }
            last = number("Nats-Sequence").unwrap_or(last);
            match reply.status {
                None => take(reply)?,
                // 204: the end of the batch; 404: nothing at all.
                Some(StatusCode::NOT_FOUND) => return Ok(()),
                Some(status) if status.as_u16() == 204 => return Ok(()),
                Some(StatusCode::NO_RESPONDERS) => return Err(away(&"nobody answers direct gets")),
                Some(status) => {
                    let what = reply.description.unwrap_or_default();
                    return Err(ReadError::Refused(format!("direct get: {status} {what}")));
                }
            }
        }
        Err(away(&"the connection ended"))
    }
}

fn away(error: &dyn std::fmt::Display) -> ReadError {
    ReadError::Unavailable(error.to_string())
}

/// Waits before another try; gives the pause before the next one, or `None` where the deadline comes first.
pub(crate) async fn again(pause: Duration, deadline: Instant) -> Option<Duration> {
    if Instant::now() + pause >= deadline {
        return None;
    }
    tokio::time::sleep(pause).await;
    Some((pause * 2).min(Duration::from_millis(100)))
}

fn stored(raw: RawMessage) -> Result<Stored, ReadError> {
    let decode = |text: Option<String>| {
        STANDARD.decode(text.unwrap_or_default()).map_err(|e| ReadError::Refused(format!("a message that is not base64: {e}")))
    };
    Ok(Stored {
        subject: raw.subject,
        sequence: raw.seq,
        at: raw.time,
        headers: parse_headers(&decode(raw.hdrs)?),
        data: decode(raw.data)?.into(),
    })
}

fn direct(reply: async_nats::Message) -> Result<Stored, ReadError> {
    let bad = |what: &str| ReadError::Refused(format!("a direct get's message without {what}"));
    let headers = reply.headers.ok_or_else(|| bad("headers"))?;
    let get = |name: &'static str| headers.get(name).map(async_nats::HeaderValue::as_str).ok_or_else(|| bad(name));
    Ok(Stored {
        subject: get("Nats-Subject")?.to_owned(),
        sequence: get("Nats-Sequence")?.parse().map_err(|_| bad("a good Nats-Sequence"))?,
        at: get("Nats-Time-Stamp")?.parse().map_err(|_| bad("a good Nats-Time-Stamp"))?,
        headers,
        data: reply.payload,
    })
}
