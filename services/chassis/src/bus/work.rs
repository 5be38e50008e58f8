//! One message's way through its handler to an ack, a nak, or the dead-letter stream.
//!
//! Guarantees: see `consume`. A panic of a handler is a failure of that message. Must not: ask the server for messages.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::transport::Outgoing;
use super::{Bus, ConsumerSpec, Delivery, HandleError, Handler};
use crate::lifecycle::{Lifecycle, panic_text};

/// The longest pause between two tries during an outage.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a message that a newer binary wrote is handed back for.
const LEFT_ALONE: Duration = Duration::from_secs(30);
/// How often one that was handed back often enough is looked at again, in hand.
const PARKED: Duration = Duration::from_mins(5);
/// How many failures are remembered; beyond, the oldest knowledge is dropped (the server's own count goes on).
const REMEMBERED: usize = 100_000;

/// What a consumer's hands share; cheap to clone.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) bus: Bus,
    pub(super) spec: ConsumerSpec,
    pub(super) handler: Arc<dyn Handler>,
    pub(super) stopping: CancellationToken,
    pub(super) hard: CancellationToken,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Of each message in hand: where to acknowledge it.
    held: Mutex<BTreeMap<u64, String>>,
    /// Of each message that failed here: how often.
    failures: Mutex<BTreeMap<u64, u32>>,
    parked: AtomicUsize,
}

/// A message that is out of hand.
pub(super) struct Done {
    pub(super) key: String,
    /// Set when the process must end.
    pub(super) fatal: Option<String>,
}

/// What to tell the server.
enum Verdict {
    Ack,
    Nak(Duration),
    Dead(String),
    Fatal(String),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Work {
    pub(super) fn new(bus: Bus, spec: ConsumerSpec, handler: Arc<dyn Handler>, life: &Lifecycle) -> Self {
        let (stopping, hard) = (life.stopping(), life.hard());
        Self { bus, spec, handler, stopping, hard, state: Arc::default() }
    }

    /// Messages in hand that only wait for a newer binary.
    pub(super) fn parked(&self) -> usize {
        self.state.parked.load(Ordering::Relaxed)
    }

    /// Takes a message in hand; false when an earlier delivery of it still is.
    pub(super) fn hold(&self, delivery: &Delivery) -> bool {
        lock(&self.state.held).insert(delivery.delivered_sequence, delivery.reply.clone()).is_none()
    }

    /// Tells the server of every message in hand that it is being worked on.
    pub(super) async fn in_progress(&self) {
        let replies: Vec<String> = lock(&self.state.held).values().cloned().collect();
        for reply in replies {
            self.tell(reply, "+WPI").await;
        }
    }

    /// Handles the message to its end.
    pub(super) async fn process(self, key: String, delivery: Delivery) -> Done {
        let span = tracing::info_span!(
            "handle",
            durable = self.spec.durable,
            subject = delivery.subject(),
            sequence = delivery.sequence()
        );
        crate::telemetry::set_parent(&span, delivery.stored.header("traceparent"));
        let fatal = self.process_inner(&delivery).instrument(span).await;
        lock(&self.state.held).remove(&delivery.delivered_sequence);
        Done { key, fatal }
    }

    async fn process_inner(&self, delivery: &Delivery) -> Option<String> {
        let started = tokio::time::Instant::now();
        let verdict = self.verdict(delivery).await;
        let outcome = match &verdict {
            Verdict::Ack => "handled",
            Verdict::Nak(_) => "handed_back",
            Verdict::Dead(_) => "dead_letter",
            Verdict::Fatal(_) => "fatal",
        };
        let labels = [("consumer", self.spec.durable.clone()), ("outcome", outcome.to_owned())];
        metrics::counter!("lastgood_messages_total", &labels).increment(1);
        metrics::histogram!("lastgood_handle_seconds", &labels).record(started.elapsed());
        match verdict {
            Verdict::Ack => self.acknowledge(delivery, "+ACK".to_owned()).await,
            Verdict::Nak(after) => self.nak(delivery, after).await,
            Verdict::Dead(reason) => self.bury(delivery, &reason).await,
            Verdict::Fatal(reason) => {
                self.nak(delivery, Duration::from_secs(1)).await;
                return Some(format!("handling {} {}: {reason}", delivery.stream, delivery.sequence()));
            }
        }
        None
    }

    /// Runs the handler until there is something to tell the server.
    async fn verdict(&self, delivery: &Delivery) -> Verdict {
        let mut pause = Duration::from_millis(100);
        loop {
            let error = match AssertUnwindSafe(self.handler.handle(delivery)).catch_unwind().await {
                Ok(Ok(())) => return Verdict::Ack,
                Ok(Err(error)) => error,
                Err(panic) => {
                    let reason = format!("the handler panicked: {}", panic_text(panic.as_ref()));
                    HandleError::RetryAfter { after: Duration::from_secs(1), reason, outage: false }
                }
            };
            match error {
                HandleError::RetryAfter { after, reason, outage: true } => {
                    metrics::counter!("lastgood_outage_retries_total", "consumer" => self.spec.durable.clone()).increment(1);
                    tracing::warn!(reason, "an outage; the message is kept in hand");
                    if self.pause(pause.max(after.min(LONGEST_PAUSE))).await {
                        return Verdict::Nak(Duration::ZERO);
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                HandleError::RetryAfter { after, reason, outage: false } => return self.failed(delivery, after, &reason),
                HandleError::DeadLetter { reason } => return Verdict::Dead(reason),
                HandleError::LeaveAlone { reason } => {
                    if let Some(verdict) = self.left_alone(delivery, &reason).await {
                        return verdict;
                    }
                }
                HandleError::Fatal { reason } => return Verdict::Fatal(reason),
            }
        }
    }

    /// Counts a failure: again later, or a dead letter when there were too many.
    fn failed(&self, delivery: &Delivery, after: Duration, reason: &str) -> Verdict {
        let mut failures = lock(&self.state.failures);
        if failures.len() >= REMEMBERED {
            failures.clear();
        }
        let count = failures.entry(delivery.delivered_sequence).or_default();
        *count += 1;
        let last = i64::try_from(delivery.deliveries).unwrap_or(i64::MAX) >= self.spec.deliveries();
        if *count >= self.spec.max_deliver || last {
            return Verdict::Dead(format!("failed {count} times, last: {reason}"));
        }
        tracing::warn!(reason, failures = *count, "failed; the message comes again");
        Verdict::Nak(after)
    }

    /// Hands a newer binary's message back for whoever knows it; after many times it is kept in hand, so that the server does not
    /// give up on it. `None` means: look again.
    async fn left_alone(&self, delivery: &Delivery, reason: &str) -> Option<Verdict> {
        metrics::counter!("lastgood_left_alone_total", "consumer" => self.spec.durable.clone()).increment(1);
        tracing::warn!(reason, "the message is left alone");
        if i64::try_from(delivery.deliveries).unwrap_or(i64::MAX) < self.spec.deliveries() / 2 {
            return Some(Verdict::Nak(self.bus.ids().jitter(LEFT_ALONE)));
        }
        self.state.parked.fetch_add(1, Ordering::Relaxed);
        let stopping = self.pause(PARKED).await;
        self.state.parked.fetch_sub(1, Ordering::Relaxed);
        stopping.then_some(Verdict::Nak(Duration::ZERO))
    }

    /// Waits about this long, or until the process is told to stop: then true.
    async fn pause(&self, length: Duration) -> bool {
        tokio::time::timeout(self.bus.ids().jitter(length), self.stopping.cancelled()).await.is_ok()
    }

    fn reply(&self, delivery: &Delivery) -> String {
        lock(&self.state.held).get(&delivery.delivered_sequence).cloned().unwrap_or_else(|| delivery.reply.clone())
    }

    /// Acknowledges and has the server confirm it. Without a confirmation the message comes again, which handlers bear.
    async fn acknowledge(&self, delivery: &Delivery, how: String) {
        for _ in 0..5 {
            let confirmed = self.bus.request(self.reply(delivery), None, how.clone().into()).await;
            match confirmed {
                Ok(_) => {
                    lock(&self.state.failures).remove(&delivery.delivered_sequence);
                    return;
                }
                Err(error) => tracing::warn!(%error, "the acknowledgement was not confirmed; trying again"),
            }
            // Told to end while NATS is away: the message comes again instead of holding the end up.
            if self.pause(Duration::from_millis(300)).await {
                return;
            }
        }
    }

    async fn nak(&self, delivery: &Delivery, after: Duration) {
        let nanos = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        self.tell(self.reply(delivery), &format!("-NAK {{\"delay\": {nanos}}}")).await;
    }

    /// Stores the dead letter, however long that takes, and then takes the message off the consumer.
    async fn bury(&self, delivery: &Delivery, reason: &str) {
        tracing::error!(reason, "dead letter");
        let mut pause = Duration::from_millis(100);
        while let Err(error) = self.bus.dead_letter(&self.spec.durable, delivery, reason).await {
            tracing::warn!(%error, "the dead letter could not be stored; trying again");
            if self.pause(pause).await {
                return self.nak(delivery, Duration::ZERO).await;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        let labels = [("consumer", self.spec.durable.clone()), ("stream", delivery.stream.clone())];
        metrics::counter!("lastgood_dead_letters_total", &labels).increment(1);
        self.acknowledge(delivery, format!("+TERM {}", reason.replace(['\r', '\n'], " "))).await;
    }

    /// Hands a message back at once, for another replica.
    pub(super) async fn hand_back(&self, delivery: &Delivery) {
        lock(&self.state.held).remove(&delivery.delivered_sequence);
        self.tell(delivery.reply.clone(), "-NAK").await;
    }

    /// Hands back whatever is still in hand.
    pub(super) async fn hand_back_all(&self) {
        let replies: Vec<String> = std::mem::take(&mut *lock(&self.state.held)).into_values().collect();
        for reply in replies {
            self.tell(reply, "-NAK").await;
        }
    }

    async fn tell(&self, reply: String, what: &str) {
        // Lost ones only mean that the message comes again after the ack wait.
        let _ = self.bus.transport().publish(Outgoing::new(reply, what.to_owned())).await;
    }
}
