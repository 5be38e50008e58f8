//! The loop of one consumer: asks for as many messages as can be handled, hands them out by key, and ends in order.
//!
//! Guarantees: a message waits in the server rather than here when all hands are full; a pull that the server has forgotten
//! (reconnect, new leader, missed heartbeats) is asked for again. Must not: decide what becomes of a message (`work` does).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use async_nats::{Message, StatusCode};
use futures::StreamExt;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::transport::{Outgoing, Subscription};
use super::work::{Done, Work};
use super::{ConsumerSpec, Delivery};

/// How long the server keeps a pull. While it does, it goes on delivering what is in hand here into a connection through which nothing
/// comes any more, once an ack wait, and counts that as deliveries, of which a message may have so many: five or six times, not fifty.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often it says that the pull is still there.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Two heartbeats missed: ask again.
const SILENCE: Duration = Duration::from_secs(25);
/// After a refused pull or consumer.
const PAUSE: Duration = Duration::from_millis(250);

/// One consumer's loop.
pub(super) struct Puller {
    work: Work,
    stopping: CancellationToken,
    /// Messages asked for and not come yet.
    asked: usize,
    /// Of each key that is being handled: what waits behind.
    queues: BTreeMap<String, VecDeque<Delivery>>,
    hands: JoinSet<Done>,
    /// When the server is taken to have forgotten us.
    silent_at: Instant,
    /// When to ask again after a refusal.
    retry_at: Option<Instant>,
    /// Whether the consumer must be looked after first.
    unmade: bool,
}

/// The server's answer to a pull.
enum Status {
    Heartbeat,
    /// The pull has ended with this many messages left of it.
    Over(usize),
    /// The consumer is gone or nobody answers.
    Gone(String),
}

impl Puller {
    pub(super) fn new(work: Work) -> Self {
        let stopping = work.stopping.clone();
        let (queues, hands, silent_at) = (BTreeMap::new(), JoinSet::new(), Instant::now() + SILENCE);
        Self { work, stopping, asked: 0, queues, hands, silent_at, retry_at: None, unmade: true }
    }

    const fn spec(&self) -> &ConsumerSpec {
        &self.work.spec
    }

    /// Runs until told to stop; an error is one that the process must end with.
    pub(super) async fn run(mut self) -> Result<(), String> {
        let inbox = self.work.bus.transport().new_inbox();
        let subscribed = self.work.bus.transport().subscribe(inbox.clone()).await;
        let mut messages = subscribed.map_err(|error| error.to_string())?;
        let mut connection = self.work.bus.connection();
        connection.mark_unchanged(); // the first connection is not a reconnection
        let mut progress = interval(self.spec().ack_wait / 3);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopping = self.stopping.clone();
        let mut fatal = None;
        while fatal.is_none() {
            if self.retry_at.is_none() && (self.unmade || self.free() > 0) {
                self.ask(&inbox).await;
            }
            let retry_at = self.retry_at.unwrap_or(self.silent_at);
            tokio::select! {
               biased;
                () = stopping.cancelled() => break,
                Some(done) = self.hands.join_next(), if !self.hands.is_empty() => fatal = self.finished(done),
                message = messages.next() => match message {
                    Some(message) => self.received(message),
                    None => fatal = Some("the subscription ended".to_owned()),
                },
                _ = progress.tick() => self.work.in_progress().await,
                Ok(()) = connection.changed() => {
                    // After a reconnect the server knows no pull of ours.
                    if connection.borrow_and_update().up { self.ask_afresh(); }
                }
                () = sleep_until(self.silent_at.min(retry_at)) => {
                    if self.retry_at.take().is_none() {
                        tracing::debug!(durable = self.spec().durable, "no sign of life of the pull; asking again");
                        self.unmade = true;
                        self.asked = 0;
                    }
                }
            }
        }
        self.drain(messages.as_mut()).await;
        fatal.map_or(Ok(()), Err)
    }

    /// How many more messages there is room for.
    fn free(&self) -> usize {
        let waiting: usize = self.queues.values().map(VecDeque::len).sum();
        let busy = self.hands.len().saturating_sub(self.work.parked()) + waiting + self.asked;
        let free = self.spec().max_in_flight.saturating_sub(busy);
        // Few large pulls rather than one for each message; but never none while nothing is asked for.
        if self.asked == 0 || free * 2 >= self.spec().max_in_flight { free } else { 0 }
    }

    async fn ask(&mut self, inbox: &str) {
        self.silent_at = Instant::now() + SILENCE;
        if self.unmade {
            if let Err(reason) = self.work.bus.ensure_consumer(&self.work.spec).await {
                tracing::warn!(durable = self.spec().durable, reason, "the consumer can't be made yet; trying again");
                self.retry_at = Some(Instant::now() + PAUSE);
                return;
            }
            self.unmade = false;
        }
        let free = self.free();
        if free == 0 {
            return;
        }
        let pull = json!({ "batch": free, "expires": nanos(EXPIRES), "idle_heartbeat": nanos(HEARTBEAT) });
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.spec().stream, self.spec().durable);
        match self.work.bus.transport().publish(Outgoing::new(subject, pull.to_string()).reply_to(inbox)).await {
            Ok(()) => self.asked += free,
            Err(_) => self.retry_at = Some(Instant::now() + PAUSE),
        }
    }

    fn ask_afresh(&mut self) {
        self.asked = 0;
        self.retry_at = None;
        self.unmade = true;
    }

    fn received(&mut self, message: Message) {
        self.silent_at = Instant::now() + SILENCE;
        match status(&message) {
            None => {
                self.asked = self.asked.saturating_sub(1);
                if let Some(delivery) = Delivery::read(message) {
                    self.accept(delivery);
                }
            }
            Some(Status::Heartbeat) => {}
            Some(Status::Over(left)) => self.asked = self.asked.saturating_sub(left),
            Some(Status::Gone(reason)) => {
                tracing::warn!(durable = self.spec().durable, reason, "the pull was refused; asking again");
                self.ask_afresh();
                self.retry_at = Some(Instant::now() + PAUSE);
            }
        }
    }

    /// Starts a handler, or queues the message behind the one of its key that is being handled.
    fn accept(&mut self, delivery: Delivery) {
        if !self.work.hold(&delivery) {
            // Delivered again while the first delivery is still in hand: that one is acknowledged by the newer reply.
            return;
        }
        let key = self.work.handler.key(&delivery);
        match self.queues.get_mut(&key) {
            Some(queue) => queue.push_back(delivery),
            None => self.start(key, delivery),
        }
    }

    fn start(&mut self, key: String, delivery: Delivery) {
        self.queues.entry(key.clone()).or_default();
        self.hands.spawn(self.work.clone().process(key, delivery));
    }

    /// After a message: the next of its key. Gives the reason when the process must end.
    fn finished(&mut self, done: Result<Done, tokio::task::JoinError>) -> Option<String> {
        let done = match done {
            Ok(done) => done,
            // `process` catches the handler's panics; this is one of our own, or an abort.
            Err(error) => return Some(error.to_string()),
        };
        match self.queues.get_mut(&done.key).and_then(VecDeque::pop_front) {
            Some(next) => self.start(done.key, next),
            None => drop(self.queues.remove(&done.key)),
        }
        done.fatal
    }

    /// Hands back what was not begun, and lets what was begun finish until the hard end.
    async fn drain(&mut self, messages: &mut dyn Subscription) {
        let _ = messages.drain().await; // the connection is gone: then there is nothing to hand back to
        for delivery in std::mem::take(&mut self.queues).into_values().flatten() {
            self.work.hand_back(&delivery).await;
        }
        let rest = async {
            while let Some(message) = messages.next().await {
                if let (None, Some(delivery)) = (status(&message), Delivery::read(message)) {
                    self.work.hand_back(&delivery).await;
                }
            }
        };
        let _ = timeout(Duration::from_millis(500), rest).await; // what comes later is delivered again after the ack wait
        let mut progress = interval(self.spec().ack_wait / 3);
        let hard = self.work.hard.clone();
        while !self.hands.is_empty() {
            tokio::select! {
               biased;
                () = hard.cancelled() => break,
                _ = self.hands.join_next() => {}
                _ = progress.tick() => self.work.in_progress().await,
            }
        }
        self.hands.shutdown().await;
        self.work.hand_back_all().await;
        self.work.bus.flush().await;
    }
}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

/// What a message without content says; `None` for one with content.
fn status(message: &Message) -> Option<Status> {
    let description = message.description.as_deref().unwrap_or_default();
    match message.status? {
        StatusCode::OK => None,
        StatusCode::IDLE_HEARTBEAT => Some(Status::Heartbeat),
        StatusCode::NO_RESPONDERS => Some(Status::Gone("nobody answers".to_owned())),
        // 404, 408, 409: over; how much of it is left stands in a header, or it was not begun at all.
        status => {
            let pending = message.headers.as_ref().and_then(|headers| headers.get("Nats-Pending-Messages"));
            match pending.and_then(|left| left.as_str().parse().ok()) {
                Some(left) => Some(Status::Over(left)),
                None => Some(Status::Gone(format!("{status} {description}"))),
            }
        }
    }
}
