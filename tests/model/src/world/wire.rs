//! A process's connection to the simulated NATS, behind its gate.
//!
//! Guarantees: nothing passes for a dead process; an older binary meets facts of some types as of a type that it has never heard of; every
//! connection watch has one waiter, so that nothing wakes in a random order. Must not: lose or repeat anything by itself; the server does.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::Message;
use async_trait::async_trait;
use bytes::Bytes;
use chassis::bus::{Connection, Outgoing, Subscription, Transport, TransportError};
use futures::{Stream, StreamExt as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::gate::Gate;
use super::history::{Handling, What};
use super::sabotage::Sabotage;
use super::{Shared, tampered};

/// What a type is called that this binary doesn't know.
const UNHEARD_OF: &str = "from_the_future";

/// The connection.
pub struct Wire {
    inner: Arc<dyn Transport>,
    gate: Arc<Gate>,
    unknown: Arc<[&'static str]>,
    swallows: bool,
    world: Shared,
    watchers: Arc<Mutex<Vec<watch::Sender<Connection>>>>,
    follower: JoinHandle<()>,
}

impl Wire {
    /// Over this transport; `unknown` are the event types that this binary does not know.
    #[must_use]
    pub fn new(inner: Arc<dyn Transport>, gate: Arc<Gate>, unknown: Arc<[&'static str]>, world: &Shared) -> Self {
        let watchers = Arc::new(Mutex::new(Vec::<watch::Sender<Connection>>::new()));
        let (mut connection, listeners) = (inner.connection(), Arc::clone(&watchers));
        let follower = tokio::spawn(async move {
            while connection.changed().await.is_ok() {
                let now = *connection.borrow_and_update();
                let mut listeners = listeners.lock().unwrap_or_else(PoisonError::into_inner);
                listeners.retain(|listener| listener.send(now).is_ok());
            }
        });
        // An older binary that acknowledges what it does not know makes a mistake.
        let swallows = world.saboteur.makes(Sabotage::UnknownAcknowledged);
        Self { inner, gate, unknown, swallows, world: Arc::clone(world), watchers, follower }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

/// What an operation on this subject is called at the gate.
fn operation(subject: &str) -> String {
    if subject.starts_with("lastgood.incident.") {
        return format!("append {}", subject.rsplit('.').next().unwrap_or_default());
    }
    let word = if subject.starts_with("$JS.ACK") {
        "ack"
    } else if subject.starts_with("$JS.API") {
        "api"
    } else {
        subject.split('.').nth(1).unwrap_or_default()
    };
    format!("bus {word}")
}

/// The consumer whose messages make somebody send something to people: what becomes of each of them is recorded.
const TELLING: &str = "notifier";

/// Records what a process is given of that consumer (without a body), and what it says of it.
fn handled(world: &Shared, gate: &Gate, ack: &str, said: Option<&[u8]>) {
    let mut tokens = ack.strip_prefix("$JS.ACK.").into_iter().flat_map(|rest| rest.split('.'));
    let (Some(stream), Some(TELLING), Some(_), Some(sequence)) = (tokens.next(), tokens.next(), tokens.next(), tokens.next())
    else {
        return;
    };
    let handling = match said {
        None => Handling::Given,
        Some(said) if said.starts_with(b"+WPI") => Handling::InHand,
        Some(said) if said.starts_with(b"-NAK") => Handling::HandedBack,
        Some(_) => Handling::Done,
    };
    let (process, stream, sequence) = (gate.process().to_owned(), stream.to_owned(), sequence.parse().unwrap_or_default());
    world.record(What::Handled { process, stream, sequence, handling });
}

#[async_trait]
impl Transport for Wire {
    async fn publish(&self, message: Outgoing) -> Result<(), TransportError> {
        let operation = operation(&message.subject);
        self.gate.before(&operation).await;
        handled(&self.world, &self.gate, &message.subject, Some(&message.payload));
        let sent = self.inner.publish(message).await;
        self.gate.after(&operation).await;
        sent
    }

    async fn request(&self, message: Outgoing, timeout: Duration) -> Result<Bytes, TransportError> {
        let operation = operation(&message.subject);
        self.gate.before(&operation).await;
        handled(&self.world, &self.gate, &message.subject, Some(&message.payload));
        let reply = self.inner.request(message, timeout).await;
        self.gate.after(&operation).await;
        reply
    }

    async fn subscribe(&self, subject: String) -> Result<Box<dyn Subscription>, TransportError> {
        self.gate.before("bus subscribe").await;
        let inner = self.inner.subscribe(subject).await?;
        let (gate, transport) = (Arc::clone(&self.gate), Arc::clone(&self.inner));
        let (unknown, swallows, world) = (Arc::clone(&self.unknown), self.swallows, Arc::clone(&self.world));
        Ok(Box::new(Filtered { inner, gate, transport, unknown, swallows, world }))
    }

    fn new_inbox(&self) -> String {
        self.inner.new_inbox()
    }

    async fn flush(&self) -> Result<(), TransportError> {
        self.gate.before("bus flush").await;
        self.inner.flush().await
    }

    fn connection(&self) -> watch::Receiver<Connection> {
        let (sender, receiver) = watch::channel(*self.inner.connection().borrow());
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }

    fn server_version(&self) -> String {
        self.inner.server_version()
    }
}

struct Filtered {
    inner: Box<dyn Subscription>,
    gate: Arc<Gate>,
    transport: Arc<dyn Transport>,
    unknown: Arc<[&'static str]>,
    swallows: bool,
    world: Shared,
}

impl Stream for Filtered {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        if self.gate.is_dead() {
            return Poll::Pending;
        }
        loop {
            let message = match self.inner.poll_next_unpin(context) {
                Poll::Ready(Some(message)) if self.unknown.is_empty() => message,
                Poll::Ready(Some(message)) => renamed(message, &self.unknown),
                other => return other,
            };
            if let Some(reply) = message.reply.as_ref() {
                handled(&self.world, &self.gate, reply, None);
            }
            if self.swallows && message.reply.is_some() && message.subject.ends_with(UNHEARD_OF) {
                tampered::acknowledge(&self.transport, &message);
                continue;
            }
            return Poll::Ready(Some(message));
        }
    }
}

#[async_trait]
impl Subscription for Filtered {
    async fn drain(&mut self) -> Result<(), TransportError> {
        self.gate.before("bus drain").await;
        self.inner.drain().await
    }
}

/// What the subjects of facts begin with.
const FACTS: [&str; 4] = ["lastgood.incident.", "lastgood.occurrence.", "lastgood.ledger.", "lastgood.switch."];

/// The message as a binary reads it that does not know these types of facts.
fn renamed(mut message: Message, unknown: &[&str]) -> Message {
    let other = |subject: &str| {
        let (path, event_type) = subject.rsplit_once('.')?;
        let is_fact = FACTS.iter().any(|facts| subject.starts_with(facts));
        (is_fact && unknown.contains(&event_type)).then(|| format!("{path}.{UNHEARD_OF}"))
    };
    if let Some(subject) = other(message.subject.as_str()) {
        message.subject = subject.into();
    }
    let told = message.headers.as_ref().and_then(|headers| headers.get("Nats-Subject")).and_then(|value| other(value.as_str()));
    if let (Some(subject), Some(headers)) = (told, message.headers.as_mut()) {
        headers.insert("Nats-Subject", subject.as_str());
    }
    message
}
