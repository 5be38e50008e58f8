//! What can go wrong between a service and NATS, and the points at which a process can be made to die.
//!
//! Guarantee: with [`Faults::none`] nothing goes wrong. Must not: decide when; the server's seeded randomness and the world do.

use std::time::Duration;

/// How likely each kind of trouble is, from 0 (never) to 1 (always), for each message that it can befall.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// The shortest and the longest way of a message, in milliseconds.
    pub latency: (u64, u64),
    /// What a process sends never arrives.
    pub lost_request: f64,
    /// What was asked for has happened, and the answer never arrives.
    pub lost_reply: f64,
    /// A consumer's message never arrives; it comes again after the ack wait.
    pub lost_delivery: f64,
    /// A consumer's message is delivered again though nobody has failed, perhaps to another replica.
    pub duplicate_delivery: f64,
    /// A consumer's message is overtaken by later ones.
    pub reordered_delivery: f64,
    /// A message is late, and all that follow it on the connection.
    pub delay: f64,
    /// How late at most, also of a slow store.
    pub longest_delay: Duration,
    /// What was sent to a stream is stored late (a slow disk, a slow quorum), and what is sent to it later waits; reads overtake it.
    pub slow_store: f64,
    /// A batched direct get is answered by a replica that lags.
    pub stale_read: f64,
    /// How far behind at most.
    pub longest_lag: Duration,
    /// A guarded append is refused because another "is in flight" (10164), though its expectation may be right.
    pub in_flight: f64,
    /// A request is refused because `JetStream` is "temporarily unavailable" (10008).
    pub unavailable: f64,
    /// A restarted server has forgotten what a consumer did last, confirmed acks included: nats-server writes a consumer's progress to
    /// disk now and then only, whatever `sync_interval` says.
    pub forgotten_acks: f64,
    /// The connection breaks while a message is sent.
    pub disconnect: f64,
    /// How long it is down at most.
    pub longest_disconnect: Duration,
}

impl Faults {
    /// None at all; messages take no time to speak of.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            latency: (0, 1),
            lost_request: 0.0,
            lost_reply: 0.0,
            lost_delivery: 0.0,
            duplicate_delivery: 0.0,
            reordered_delivery: 0.0,
            delay: 0.0,
            longest_delay: Duration::ZERO,
            slow_store: 0.0,
            stale_read: 0.0,
            longest_lag: Duration::ZERO,
            in_flight: 0.0,
            unavailable: 0.0,
            forgotten_acks: 0.0,
            disconnect: 0.0,
            longest_disconnect: Duration::ZERO,
        }
    }

    /// All kinds, each this likely.
    #[must_use]
    pub const fn all(likelihood: f64) -> Self {
        Self {
            latency: (0, 5),
            lost_request: likelihood,
            lost_reply: likelihood,
            lost_delivery: likelihood,
            duplicate_delivery: likelihood,
            reordered_delivery: likelihood,
            delay: likelihood,
            longest_delay: Duration::from_secs(3),
            slow_store: likelihood / 2.0,
            stale_read: likelihood,
            longest_lag: Duration::from_secs(1),
            in_flight: likelihood,
            unavailable: likelihood,
            forgotten_acks: 0.5,
            disconnect: likelihood,
            longest_disconnect: Duration::from_secs(10),
        }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::none()
    }
}

/// What a process is about to say to NATS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The name that it connected with.
    pub process: String,
    /// Its how-manieth operation on this connection, from 1.
    pub n: u64,
    /// What kind.
    pub kind: OperationKind,
    /// The subject, which of an append names the fact.
    pub subject: String,
}

/// Kinds of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperationKind {
    /// An append under an expectation.
    Append,
    /// A part of a batch that does not end it.
    BatchPart,
    /// The end of a batch, which stores all of it.
    BatchCommit,
    /// Another message for a stream: an alert, a timer, a dead letter.
    Publish,
    /// A read of a stream.
    Read,
    /// A pull.
    Pull,
    /// A message is done with, for good.
    Ack,
    /// A message is handed back.
    Nak,
    /// A message is being worked on.
    Progress,
    /// A message is taken off the consumer as a dead letter.
    Term,
    /// Streams and consumers are looked after.
    Administration,
}

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Go,
    /// The process dies right before: nothing is sent, and nothing of this process ever is again.
    DropBefore,
    /// The process dies right after: it is sent and has its effect, and the process hears and says nothing any more.
    DropAfter,
}
