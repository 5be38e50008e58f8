//! Consuming: durable pull consumers, handlers, and what becomes of a message that can't be handled.
//!
//! Guarantees: a message is acknowledged after its handler succeeded; messages of one key are handled one at a time in the order
//! of delivery; while a handler runs or waits out an outage the server is told that work is in progress; an outage never counts
//! towards `max_deliver`; what a handler gave up on, and what ended the process each time, is in the dead-letter stream before it is taken
//! off the consumer. Must not: append anything; handlers do. Must not leave it to the server to give up on a message either: it does so
//! with a word that nobody may hear.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy, IntoConsumerConfig, pull};
use async_trait::async_trait;
use contracts::DecodeError;
use contracts::subjects::streams;
use serde_json::json;

use super::pull::Puller;
use super::wire::{ApiError, PubAck};
use super::work::Work;
use super::{AppendError, Bus, Delivery, ReadError, dead};
use crate::lifecycle::Lifecycle;

/// A durable consumer.
#[derive(Debug, Clone)]
pub struct ConsumerSpec {
    /// The stream.
    pub stream: String,
    /// The durable's name: by convention `<service>` or `<service>-<what>`.
    pub durable: String,
    /// What it gets; not overlapping.
    pub filters: Vec<String>,
    /// How long the server waits for an ack or a sign of work before it delivers again.
    pub ack_wait: Duration,
    /// How many failures a message may have before it becomes a dead letter; outages do not count.
    pub max_deliver: u32,
    /// How many messages may be handled at the same time.
    pub max_in_flight: usize,
}

impl ConsumerSpec {
    /// A consumer with the usual numbers: 30 s, 5 failures, 64 in flight.
    #[must_use]
    pub fn new(stream: &str, durable: &str, filters: Vec<String>) -> Self {
        let (ack_wait, max_deliver, max_in_flight) = (Duration::from_secs(30), 5, 64);
        Self { stream: stream.to_owned(), durable: durable.to_owned(), filters, ack_wait, max_deliver, max_in_flight }
    }

    /// How many deliveries a message may have before it becomes a dead letter unseen: only messages that end the process each time, or
    /// that no replica reports on, come so far.
    pub(super) fn deliveries(&self) -> u64 {
        u64::from(self.max_deliver).saturating_mul(4).max(20)
    }

    /// The consumer of its replayed dead letters.
    fn redelivery(&self, service: &str) -> Self {
        Self {
            stream: streams::DEAD.to_owned(),
            durable: format!("{}-redelivery", self.durable),
            filters: vec![dead::redelivery(service, &self.durable)],
            max_in_flight: 4,
            ..self.clone()
        }
    }

    fn config(&self) -> consumer::Config {
        let mut config = pull::Config {
            durable_name: Some(self.durable.clone()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.ack_wait,
            // For ever: what comes too often is judged here (`work`), where it can be kept. The server would drop it with an advisory, which
            // is sent once and lost when no leader of the stream of advisories hears it.
            max_deliver: -1,
            // Messages that are left alone or wait for their retry stay pending; they must not keep the others from coming.
            max_ack_pending: i64::try_from(self.max_in_flight).unwrap_or(i64::MAX).saturating_add(10_000),
            ..pull::Config::default()
        };
        match self.filters.as_slice() {
            [one] => config.filter_subject.clone_from(one),
            many => config.filter_subjects = many.to_vec(),
        }
        config.into_consumer_config()
    }
}

/// Handles messages. Handlers of different keys run at the same time.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Handles one message to its end; `Ok` acknowledges it. It may see a message more than once.
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError>;

    /// Messages of one key are handled one at a time.
    fn key(&self, delivery: &Delivery) -> String {
        delivery.default_key()
    }
}

/// What to do with a message that was not handled.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HandleError {
    /// Try again.
    #[error("{reason}; again in {after:?}")]
    RetryAfter {
        /// Not before; short of the ack wait (a longer wait is a timer).
        after: Duration,
        /// Why.
        reason: String,
        /// Something that others depend on is away (NATS, an API server, a provider): does not count as a failure.
        outage: bool,
    },
    /// It will never succeed: keep it for people.
    #[error("dead letter: {reason}")]
    DeadLetter {
        /// Why.
        reason: String,
    },
    /// A newer binary's message: not ours to handle, acknowledge or throw away.
    #[error("left alone: {reason}")]
    LeaveAlone {
        /// Why.
        reason: String,
    },
    /// This process can't go on.
    #[error("fatal: {reason}")]
    Fatal {
        /// Why.
        reason: String,
    },
}

impl HandleError {
    /// Something is away: kept in hand and tried again, without counting.
    #[must_use]
    pub fn outage(reason: impl Display) -> Self {
        Self::RetryAfter { after: Duration::from_millis(200), reason: reason.to_string(), outage: true }
    }

    /// It failed: tried again after this long, and a dead letter after `max_deliver` failures.
    #[must_use]
    pub fn retry(after: Duration, reason: impl Display) -> Self {
        Self::RetryAfter { after, reason: reason.to_string(), outage: false }
    }

    /// A dead letter.
    #[must_use]
    pub fn dead(reason: impl Display) -> Self {
        Self::DeadLetter { reason: reason.to_string() }
    }
}

impl From<DecodeError> for HandleError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::UnknownType(_) => Self::LeaveAlone { reason: error.to_string() },
            DecodeError::Damaged { .. } => Self::DeadLetter { reason: error.to_string() },
        }
    }
}

impl From<AppendError> for HandleError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Lost => Self::retry(Duration::from_millis(50), error),
            // Full is an outage too: people make room, and then everything goes on.
            AppendError::Full(_) | AppendError::Unavailable(_) => Self::outage(error),
            AppendError::Refused(_) => Self::retry(Duration::from_secs(1), error),
        }
    }
}

impl From<ReadError> for HandleError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(_) | ReadError::Stale { .. } => Self::outage(error),
            ReadError::Refused(_) => Self::retry(Duration::from_secs(1), error),
        }
    }
}

impl Bus {
    /// Starts a durable consumer, and one for its replayed dead letters, as critical tasks of the process.
    pub fn consume(&self, spec: ConsumerSpec, handler: Arc<dyn Handler>, life: &Lifecycle) {
        let start = |spec: ConsumerSpec, handler| {
            let name = format!("consumer {}", spec.durable);
            life.spawn(name, Puller::new(Work::new(self.clone(), spec, handler, life)).run());
        };
        start(spec.redelivery(self.service()), Arc::clone(&handler));
        start(spec, handler);
    }

    /// Makes the consumer or brings it up to date.
    pub(super) async fn ensure_consumer(&self, spec: &ConsumerSpec) -> Result<(), String> {
        // Several filters go into the body only; one goes into the subject as well, where permissions can tell it.
        let call = match spec.filters.as_slice() {
            [one] => format!("CONSUMER.CREATE.{}.{}.{one}", spec.stream, spec.durable),
            _ => format!("CONSUMER.CREATE.{}.{}", spec.stream, spec.durable),
        };
        let body = json!({ "stream_name": spec.stream, "config": spec.config(), "action": "" });
        let reply: PubAck = self.api(&call, &body).await.map_err(|error| error.to_string())?;
        let Some(error) = reply.error else { return Ok(()) };
        if error.err_code == ApiError::NO_STREAM {
            tracing::error!(stream = spec.stream, "the stream is gone, and what was in it; making it again");
            self.remake_streams().await;
        }
        Err(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_not_a_failure() {
        let outage = |error: HandleError| matches!(error, HandleError::RetryAfter { outage: true, .. });
        assert!(outage(AppendError::Unavailable("away".into()).into()));
        assert!(outage(AppendError::Full("disk".into()).into()));
        assert!(!outage(AppendError::Lost.into()));
        assert!(outage(ReadError::Unavailable("away".into()).into()));
        assert!(!outage(ReadError::Refused("no".into()).into()));
    }

    #[test]
    fn one_filter_and_several() {
        let one = ConsumerSpec::new(streams::INCIDENTS, "executor", vec!["a".into()]).config();
        assert_eq!((one.filter_subject.as_str(), one.filter_subjects.len()), ("a", 0));
        let two = ConsumerSpec::new(streams::INCIDENTS, "executor", vec!["a".into(), "b".into()]).config();
        assert_eq!((two.filter_subject.as_str(), two.filter_subjects.len()), ("", 2));
        assert_eq!(one.max_deliver, -1, "the server never gives up on a message");
    }
}
