//! Advisories: the server's word that a consumer gave up on a message, kept in a stream like everything else.
//!
//! Guarantee: a captured advisory names the stream, the consumer and the message. Must not: act; the orchestrator makes facts of them.

use contracts::subjects::streams;
use serde::Deserialize;

use super::work::never_reported_on;
use super::{ConsumerSpec, Delivery, HandleError};

/// The streams whose consumers are watched.
const WATCHED: [&str; 5] = [streams::INCIDENTS, streams::ALERTS, streams::LEDGER, streams::TIMERS, streams::DEAD];

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdvisoryKind {
    /// The server delivered it as often as it may.
    MaxDeliveries,
    /// A service put it into the dead-letter stream.
    Terminated,
}

/// A consumer gave up on a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advisory {
    /// Which of both.
    pub kind: AdvisoryKind,
    /// The message's stream.
    pub stream: String,
    /// The durable.
    pub consumer: String,
    /// The message's sequence in its stream: [`super::Bus::message`] reads it.
    pub sequence: u64,
    /// How often it was delivered.
    pub deliveries: u64,
    /// The service's reason, of a terminated one.
    pub reason: Option<String>,
}

impl Advisory {
    /// The reason of the dead letter that a message becomes which the server gave up on.
    #[must_use]
    pub fn never_reported_on(&self) -> String {
        never_reported_on(self.deliveries)
    }
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "type")]
    kind: String,
    stream: String,
    consumer: String,
    stream_seq: u64,
    #[serde(default)]
    deliveries: u64,
    #[serde(default)]
    reason: Option<String>,
}

/// The subjects that the stream of advisories captures.
pub(super) fn captured() -> Vec<String> {
    let kinds = ["MAX_DELIVERIES", "MSG_TERMINATED"];
    let subject = |kind: &str, stream: &str| format!("$JS.EVENT.ADVISORY.CONSUMER.{kind}.{stream}.>");
    WATCHED.iter().flat_map(|stream| kinds.map(|kind| subject(kind, stream))).collect()
}

impl ConsumerSpec {
    /// The consumer of all advisories.
    #[must_use]
    pub fn advisories(durable: &str) -> Self {
        Self::new(streams::ADVISORIES, durable, vec!["$JS.EVENT.ADVISORY.CONSUMER.>".to_owned()])
    }
}

/// Reads an advisory out of a delivery from [`ConsumerSpec::advisories`].
pub fn decode_advisory(delivery: &Delivery) -> Result<Advisory, HandleError> {
    let raw: Raw = serde_json::from_slice(&delivery.stored.data)
        .map_err(|error| HandleError::dead(format!("an advisory that is not understood: {error}")))?;
    let kind = match raw.kind.as_str() {
        "io.nats.jetstream.advisory.v1.max_deliver" => AdvisoryKind::MaxDeliveries,
        "io.nats.jetstream.advisory.v1.terminated" => AdvisoryKind::Terminated,
        other => return Err(HandleError::dead(format!("an advisory of the unexpected type `{other}`"))),
    };
    let Raw { stream, consumer, stream_seq: sequence, deliveries, reason, .. } = raw;
    Ok(Advisory { kind, stream, consumer, sequence, deliveries, reason })
}
