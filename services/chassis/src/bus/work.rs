//! One message's way through its handler to an ack, a nak, or the dead-letter stream.
//!
//! Guarantees: see `consume`. A panic of a handler is a failure of that message; one that ends the process each time is a dead letter in the
//! end, and its neighbours get a head start before it. Must not: ask the server for messages.

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
/// From how many deliveries on a message may be one that ends the process; an outage of a minute costs fewer.
const OFTEN: u64 = 6;
/// How long such a message waits at most before it is handled.
const HEAD_START: Duration = Duration::from_secs(2);
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

/// The reason of a dead letter that came this often, and never got as far as a report.
pub(super) fn never_reported_on(deliveries: u64) -> String {
    format!("delivered {deliveries} times and never reported on: each time the process ended, or was cut off")
}

/// How long a message waits before it is handled that has come often: whatever ends the process each time takes all that is in hand with
/// it, so who begins first changes from delivery to delivery, and the others are done before it in some of them. The same for the same
/// message and delivery, so that a simulation repeats.
fn head_start(sequence: u64, deliveries: u64) -> Duration {
    if deliveries <= OFTEN {
        return Duration::ZERO;
    }
    // SplitMix64's finaliser: neighbouring numbers come out far apart.
    let mut mixed = sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(deliveries.wrapping_mul(0xd1b5_4a32_d192_ed03));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    HEAD_START.mul_f64(f64::from(u32::try_from(mixed >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX))
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
        if delivery.deliveries > self.spec.deliveries() {
            return Verdict::Dead(never_reported_on(delivery.deliveries));
        }
        let wait = head_start(delivery.delivered_sequence, delivery.deliveries);
        if !wait.is_zero() && tokio::time::timeout(wait, self.stopping.cancelled()).await.is_ok() {
            return Verdict::Nak(Duration::ZERO);
        }
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
        let last = delivery.deliveries >= self.spec.deliveries();
        if *count >= self.spec.max_deliver || last {
            return Verdict::Dead(format!("failed {count} times, last: {reason}"));
        }
        tracing::warn!(reason, failures = *count, "failed; the message comes again");
        Verdict::Nak(after)
    }

    /// Hands a newer binary's message back for whoever knows it; after many times it is kept in hand, so that it does not come too often
    /// to be told from one that ends the process. `None` means: look again.
    async fn left_alone(&self, delivery: &Delivery, reason: &str) -> Option<Verdict> {
        metrics::counter!("lastgood_left_alone_total", "consumer" => self.spec.durable.clone()).increment(1);
        tracing::warn!(reason, "the message is left alone");
        if delivery.deliveries < self.spec.deliveries() / 2 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_waits_until_it_has_come_often() {
        for sequence in 1..100 {
            assert!((1..=OFTEN).all(|deliveries| head_start(sequence, deliveries).is_zero()));
            assert!((OFTEN + 1..30).all(|deliveries| head_start(sequence, deliveries) <= HEAD_START));
        }
    }

    #[test]
    fn of_nearly_any_two_messages_each_has_a_good_start_before_the_other_in_some_delivery() {
        let good = Duration::from_millis(200);
        let pairs = (1..100).flat_map(|one| (1..100).map(move |other| (one, other))).filter(|(one, other)| one != other);
        let never = pairs.filter(|&(one, other)| {
            (OFTEN + 1..=20).all(|deliveries| head_start(one, deliveries) + good >= head_start(other, deliveries))
        });
        let never = never.count();
        assert!(never < 99 * 98 / 200, "{never} pairs of 9702");
    }
}
