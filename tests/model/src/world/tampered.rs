//! A sabotaged connection to NATS: between a process's gate and the server.
//!
//! Guarantees: what is not the sabotage's business passes as it is. Must not: be there in a run without sabotage.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::{HeaderMap, Message};
use async_trait::async_trait;
use bytes::Bytes;
use chassis::bus::{Connection, Outgoing, Subscription, Transport, TransportError};
use contracts::v1::RollbackStarted;
use futures::{Stream, StreamExt as _};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::sabotage::Sabotage;

/// The connection.
pub(super) struct Tampered {
    inner: Arc<dyn Transport>,
    sabotage: Sabotage,
}

/// What becomes of a message.
enum Deed {
    /// It goes out.
    Send(Outgoing),
    /// It does not, and this is the answer.
    Pretend(Bytes),
    /// It goes out, nobody waits for its answer, and this is taken for it.
    Post(Outgoing, Bytes),
}

impl Tampered {
    /// This connection under this sabotage.
    #[must_use]
    pub(super) fn new(inner: Arc<dyn Transport>, sabotage: Sabotage) -> Self {
        Self { inner, sabotage }
    }

    fn deed(&self, mut message: Outgoing) -> Deed {
        let subject = message.subject.clone();
        let is = |prefix: &str| subject.starts_with(prefix);
        let pretend = |message: &Outgoing| Deed::Pretend(stored(expected(message).unwrap_or(1)));
        match self.sabotage {
            Sabotage::AnsweredTooEarly if is("lastgood.alert.") => Deed::Post(message, stored(1)),
            Sabotage::UnguardedAppend => {
                strip(&mut message, "Nats-Expected-");
                Deed::Send(message)
            }
            Sabotage::OccurrenceForgotten if is("lastgood.occurrence.") => {
                strip(&mut message, "Nats-Expected-");
                Deed::Send(message)
            }
            Sabotage::OccurrenceForgotten if is("$JS.API.") => Deed::Send(without_occurrences(message)),
            Sabotage::MessageIdLost => {
                strip(&mut message, "Nats-Msg-Id");
                Deed::Send(message)
            }
            Sabotage::TornBatch => {
                strip(&mut message, "Nats-Batch-");
                Deed::Send(message)
            }
            Sabotage::IntentNotStored if subject.ends_with(".rollback_started") => pretend(&message),
            Sabotage::IntentOfAnother if subject.ends_with(".rollback_started") => {
                if let Ok(mut intent) = RollbackStarted::decode(message.payload.clone()) {
                    intent.workload_generation += 1;
                    message.payload = intent.encode_to_vec().into();
                }
                Deed::Send(message)
            }
            Sabotage::TimerLost if is("lastgood.timer.") => pretend(&message),
            Sabotage::MarkLost if subject.ends_with(".version_rolled_back_from") => pretend(&message),
            Sabotage::LetterLost if is("lastgood.dead.") => pretend(&message),
            Sabotage::AckLost if is("$JS.ACK.") && message.payload.starts_with(b"+ACK") => Deed::Pretend(Bytes::new()),
            _ => Deed::Send(message),
        }
    }
}

/// What the server says of a message that it has stored at this sequence.
fn stored(sequence: u64) -> Bytes {
    json!({"stream": "LASTGOOD", "seq": sequence}).to_string().into()
}

fn expected(message: &Outgoing) -> Option<u64> {
    message.headers.as_ref()?.get("Nats-Expected-Last-Subject-Sequence")?.as_str().parse().ok()
}

/// Which part of a batch it is: the one that ends it says how many there are.
fn batched(message: &Outgoing) -> Option<u64> {
    message.headers.as_ref()?.get("Nats-Batch-Sequence")?.as_str().parse().ok()
}

/// Takes the headers away whose names begin like this.
fn strip(message: &mut Outgoing, prefix: &str) {
    let Some(headers) = message.headers.take() else { return };
    let mut left = HeaderMap::new();
    for (name, values) in headers.iter().filter(|(name, _)| !name.to_string().starts_with(prefix)) {
        for value in values {
            left.append(name.clone(), value.clone());
        }
    }
    message.headers = Some(left);
}

/// A read of a fingerprint's facts finds none.
fn without_occurrences(mut message: Outgoing) -> Outgoing {
    let Ok(mut body) = serde_json::from_slice::<Value>(&message.payload) else { return message };
    for name in ["last_by_subj", "next_by_subj"] {
        if body[name].as_str().is_some_and(|filter| filter.starts_with("lastgood.occurrence.")) {
            body[name] = "lastgood.occurrence.nobody.nothing".into();
        }
    }
    message.payload = body.to_string().into();
    message
}

/// A reply "wrong last sequence" as if it had been "stored", of a batch all of it.
fn as_if_won(reply: Bytes, expected: Option<u64>, count: u64) -> Bytes {
    let code = serde_json::from_slice::<Value>(&reply).ok().and_then(|reply| reply["error"]["err_code"].as_u64());
    if matches!(code, Some(10071 | 10164)) { stored(expected.unwrap_or_default() + count) } else { reply }
}

#[async_trait]
impl Transport for Tampered {
    async fn publish(&self, message: Outgoing) -> Result<(), TransportError> {
        match self.deed(message) {
            Deed::Send(message) | Deed::Post(message, _) => self.inner.publish(message).await,
            Deed::Pretend(_) => Ok(()),
        }
    }

    async fn request(&self, message: Outgoing, timeout: Duration) -> Result<Bytes, TransportError> {
        let message = match self.deed(message) {
            Deed::Send(message) => message,
            Deed::Pretend(answer) => return Ok(answer),
            Deed::Post(message, answer) => return self.inner.publish(message).await.map(|()| answer),
        };
        let (expected, count, subject) = (expected(&message), batched(&message).unwrap_or(1), message.subject.clone());
        let reply = self.inner.request(message, timeout).await;
        match (self.sabotage, reply) {
            (Sabotage::LossTakenForWin, Ok(reply)) if !subject.starts_with('$') => Ok(as_if_won(reply, expected, count)),
            (Sabotage::OutageTakenForRefusal, Err(TransportError::Away(why))) => Err(TransportError::Bad(why)),
            (_, reply) => reply,
        }
    }

    async fn subscribe(&self, subject: String) -> Result<Box<dyn Subscription>, TransportError> {
        let inner = self.inner.subscribe(subject).await?;
        Ok(Box::new(Listener { inner, transport: Arc::clone(&self.inner), sabotage: self.sabotage }))
    }

    fn new_inbox(&self) -> String {
        self.inner.new_inbox()
    }

    async fn flush(&self) -> Result<(), TransportError> {
        self.inner.flush().await
    }

    fn connection(&self) -> watch::Receiver<Connection> {
        self.inner.connection()
    }

    fn server_version(&self) -> String {
        self.inner.server_version()
    }
}

struct Listener {
    inner: Box<dyn Subscription>,
    transport: Arc<dyn Transport>,
    sabotage: Sabotage,
}

/// How often a delivered message was delivered; `None` for anything else.
fn deliveries(message: &Message) -> Option<u64> {
    let tokens: Vec<&str> = message.reply.as_ref()?.strip_prefix("$JS.ACK.")?.split('.').collect();
    tokens.get(2)?.parse().ok()
}

/// Acknowledges a delivery, some time.
pub(super) fn acknowledge(transport: &Arc<dyn Transport>, message: &Message) {
    let Some(reply) = message.reply.as_ref().map(ToString::to_string) else { return };
    let transport = Arc::clone(transport);
    tokio::spawn(async move {
        // Nobody waits for it: that is the mistake.
        let _ = transport.publish(Outgoing::new(reply, b"+ACK".as_slice())).await;
    });
}

impl Stream for Listener {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        loop {
            let polled = self.inner.poll_next_unpin(context);
            let Poll::Ready(Some(message)) = &polled else { return polled };
            let Some(count) = deliveries(message) else { return polled };
            match self.sabotage {
                Sabotage::AckOnDelivery => acknowledge(&self.transport, message),
                Sabotage::RedeliverySwallowed if count > 1 => {
                    acknowledge(&self.transport, message);
                    continue;
                }
                _ => {}
            }
            return polled;
        }
    }
}

#[async_trait]
impl Subscription for Listener {
    async fn drain(&mut self) -> Result<(), TransportError> {
        self.inner.drain().await
    }
}
