//! A process's connection to the server in memory: the transport that its bus stands on.
//!
//! Guarantees: behaves as the NATS client does: what is sent while the connection is down is sent when it is up again, subscriptions
//! outlive it, a request that is not answered in time is "away". A dead process's calls never return. Must not: know `JetStream`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::{Message, StatusCode};
use async_trait::async_trait;
use bytes::Bytes;
use chassis::bus::{Connection, Outgoing, Subscription, Transport, TransportError};
use futures::Stream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::connections::Link;
use super::faults::{Operation, OperationKind, Verdict};
use super::{Server, Shared};

/// One connection.
pub(super) struct LinkEnd {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u64,
    pub(super) process: String,
}

impl LinkEnd {
    /// Sends a message, unless the process dies of it.
    async fn send(&self, message: Outgoing) {
        let operation = {
            let mut state = self.shared.lock();
            let link = state.links.get_mut(&self.id).filter(|link| !link.dead);
            link.map(|link| {
                link.operations += 1;
                let (process, n, kind) = (self.process.clone(), link.operations, kind(&message));
                Operation { process, n, kind, subject: message.subject.clone() }
            })
        };
        // Asked without the lock, so that the hook may look at the server or end the process.
        let verdict = operation.map_or(Verdict::DropBefore, |operation| self.shared.verdict(&operation));
        if verdict != Verdict::DropBefore {
            self.shared.lock().send(self.id, message, Instant::now());
            self.shared.changed();
        }
        if verdict != Verdict::Go {
            self.shared.lock().kill(self.id);
            std::future::pending::<()>().await;
        }
    }
}

/// What kind of operation a message is.
fn kind(message: &Outgoing) -> OperationKind {
    let has = |name: &str| message.headers.as_ref().is_some_and(|headers| headers.get(name).is_some());
    let subject = message.subject.as_str();
    let payload: &[u8] = &message.payload;
    if let Some(call) = subject.strip_prefix("$JS.API.") {
        return match call {
            _ if call.starts_with("CONSUMER.MSG.NEXT.") => OperationKind::Pull,
            _ if call.starts_with("DIRECT.GET.") || call.starts_with("STREAM.MSG.GET.") => OperationKind::Read,
            _ => OperationKind::Administration,
        };
    }
    if subject.starts_with("$JS.ACK.") {
        return match payload {
            _ if payload.starts_with(b"-NAK") => OperationKind::Nak,
            _ if payload.starts_with(b"+WPI") => OperationKind::Progress,
            _ if payload.starts_with(b"+TERM") => OperationKind::Term,
            _ => OperationKind::Ack,
        };
    }
    match (has("Nats-Batch-Id"), has("Nats-Batch-Commit")) {
        (true, true) => OperationKind::BatchCommit,
        (true, false) => OperationKind::BatchPart,
        (false, _) if has("Nats-Expected-Last-Subject-Sequence") => OperationKind::Append,
        (false, _) => OperationKind::Publish,
    }
}

/// Forgets a request that nobody waits for any more.
struct Waiting<'a> {
    shared: &'a Shared,
    inbox: &'a str,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.lock().give_up(self.inbox);
    }
}

#[async_trait]
impl Transport for LinkEnd {
    async fn publish(&self, message: Outgoing) -> Result<(), TransportError> {
        self.send(message).await;
        Ok(())
    }

    async fn request(&self, message: Outgoing, timeout: Duration) -> Result<Bytes, TransportError> {
        let inbox = self.new_inbox();
        let (sender, receiver) = oneshot::channel();
        self.shared.lock().await_reply(self.id, inbox.clone(), sender);
        let waiting = Waiting { shared: &self.shared, inbox: &inbox };
        let exchange = async {
            self.send(message.reply_to(inbox.as_str())).await;
            receiver.await
        };
        let reply = tokio::time::timeout(timeout, exchange).await;
        drop(waiting);
        match reply {
            Ok(Ok(reply)) if reply.status == Some(StatusCode::NO_RESPONDERS) => Err(TransportError::Away("no responders".into())),
            Ok(Ok(reply)) => Ok(reply.payload),
            Ok(Err(_)) => Err(TransportError::Away("the connection is closed".into())),
            Err(_) if self.shared.is_dead(self.id) => std::future::pending().await,
            Err(_) => Err(TransportError::Away(format!("no reply within {timeout:?}"))),
        }
    }

    async fn subscribe(&self, subject: String) -> Result<Box<dyn Subscription>, TransportError> {
        let (sender, messages) = mpsc::unbounded_channel();
        let id = self.shared.lock().subscribe(self.id, subject, sender);
        Ok(Box::new(Listener { shared: Arc::clone(&self.shared), id, messages }))
    }

    fn new_inbox(&self) -> String {
        let mut state = self.shared.lock();
        let number = state.links.get_mut(&self.id).map_or(0, |link| {
            link.inboxes += 1;
            link.inboxes
        });
        format!("_INBOX.{}.{number}", self.id)
    }

    async fn flush(&self) -> Result<(), TransportError> {
        Ok(())
    }

    fn connection(&self) -> watch::Receiver<Connection> {
        let mut state = self.shared.lock();
        state.links.get_mut(&self.id).map_or_else(|| watch::channel(Connection::default()).1, Link::show)
    }

    fn server_version(&self) -> String {
        Server::VERSION.to_owned()
    }
}

/// A subscription.
struct Listener {
    shared: Arc<Shared>,
    id: u64,
    messages: mpsc::UnboundedReceiver<Message>,
}

impl Stream for Listener {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.messages.poll_recv(cx)
    }
}

#[async_trait]
impl Subscription for Listener {
    async fn drain(&mut self) -> Result<(), TransportError> {
        self.shared.lock().unsubscribe(self.id, false, Instant::now());
        self.shared.changed();
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.lock().unsubscribe(self.id, true, Instant::now());
    }
}
