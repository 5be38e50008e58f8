//! The seam under the bus: core NATS messages over something that carries them.
//!
//! Guarantees: everything that [`super::Bus`] says to NATS goes through [`Transport`], so whoever implements it sees (and can withhold,
//! delay or repeat) every message; an error tells "away" from "refused". Must not: know `JetStream`, whose requests and replies are
//! messages like any others.

use std::time::Duration;

use async_nats::{HeaderMap, Message};
use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use tokio::sync::watch;

/// The state of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Connection {
    /// Whether it is up.
    pub up: bool,
    /// How often it came up.
    pub times: u64,
}

/// Why a request has no good reply, or a message was not sent.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// Nobody answered: away, electing, or the reply was lost. Whether the request took effect is not known.
    #[error("NATS is away or did not answer: {0}")]
    Away(String),
    /// The request or its reply makes no sense.
    #[error("{0}")]
    Bad(String),
}

/// A message to send.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Where to.
    pub subject: String,
    /// Where answers are expected, if any are.
    pub reply: Option<String>,
    /// Its headers.
    pub headers: Option<HeaderMap>,
    /// Its body.
    pub payload: Bytes,
}

impl Outgoing {
    /// A bare message.
    #[must_use]
    pub fn new(subject: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self { subject: subject.into(), reply: None, headers: None, payload: payload.into() }
    }

    /// With a place for answers.
    #[must_use]
    pub fn reply_to(self, inbox: impl Into<String>) -> Self {
        Self { reply: Some(inbox.into()), ..self }
    }

    /// With headers.
    #[must_use]
    pub fn with_headers(self, headers: HeaderMap) -> Self {
        Self { headers: Some(headers), ..self }
    }
}

/// Messages of a subscription; the stream ends when the connection is given up or after [`Subscription::drain`]. Dropping it
/// unsubscribes.
#[async_trait]
pub trait Subscription: Stream<Item = Message> + Send + Unpin {
    /// Takes no new messages: what is on its way still comes, and then the stream ends.
    async fn drain(&mut self) -> Result<(), TransportError>;
}

/// Carries core NATS messages.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends a message and waits for nothing; `Ok` means that it is on its way.
    async fn publish(&self, message: Outgoing) -> Result<(), TransportError>;

    /// Sends a message and waits this long for the body of its first reply. "No responders" is [`TransportError::Away`].
    async fn request(&self, message: Outgoing, timeout: Duration) -> Result<Bytes, TransportError>;

    /// Subscribes to a subject, wildcards allowed.
    async fn subscribe(&self, subject: String) -> Result<Box<dyn Subscription>, TransportError>;

    /// A subject for replies that nobody else has.
    fn new_inbox(&self) -> String;

    /// Waits until what was sent has left.
    async fn flush(&self) -> Result<(), TransportError>;

    /// Whether the connection is up; a receiver sees the changes.
    fn connection(&self) -> watch::Receiver<Connection>;

    /// The version of the server.
    fn server_version(&self) -> String;

    /// The NATS client that this is, if it is one.
    fn client(&self) -> Option<&async_nats::Client> {
        None
    }
}
