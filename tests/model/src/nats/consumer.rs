//! A durable pull consumer: who waits for messages, which are out, which come again.
//!
//! Guarantees: a message is out until it is acknowledged, and is delivered again when its ack wait has passed or it was handed back,
//! at most `max_deliver` times; what comes again goes first. Must not: send anything; it says what to send.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::Config;
use chassis::bus::Stored;
use tokio::time::Instant;

use super::log::Log;
use super::subjects::matches;

/// What nats-server takes for an ack wait of none.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// How often a consumer's progress is written to disk.
const SAVED_EVERY: Duration = Duration::from_secs(1);
/// What nats-server takes for no limit of messages that are out.
const ACK_PENDING: i64 = 1000;

/// A client's wish for messages.
#[derive(Debug, Clone)]
pub(super) struct Pull {
    /// Where the messages go.
    pub(super) inbox: String,
    /// How many more.
    pub(super) left: usize,
    /// When it ends.
    pub(super) expires: Option<Instant>,
    /// How often a sign of life is sent.
    pub(super) heartbeat: Option<Duration>,
    /// When the last message or sign of life was sent.
    pub(super) quiet_since: Instant,
}

#[derive(Debug, Clone)]
struct Out {
    again_at: Instant,
    queued: bool,
    consumer_sequence: u64,
}

/// One message to send.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) inbox: String,
    pub(super) stored: Arc<Stored>,
    pub(super) reply: String,
}

/// What is to be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) messages: Vec<Sending>,
    /// Sequences that were delivered as often as they may be, and how often.
    pub(super) given_up: Vec<(u64, u64)>,
    /// Pulls that are over, with what is left of them.
    pub(super) over: Vec<Pull>,
    /// Inboxes that need a sign of life, with the last sequences of the consumer and of the stream that were delivered.
    pub(super) alive: Vec<(String, u64, u64)>,
}

/// How far a consumer is.
#[derive(Debug, Clone)]
struct Progress {
    /// The next sequence that was never looked at.
    next: u64,
    /// How many deliveries there were.
    delivered: u64,
    /// The highest sequence that was delivered.
    reached: u64,
    out: BTreeMap<u64, Out>,
    counts: BTreeMap<u64, u64>,
    again: VecDeque<u64>,
}

/// A consumer.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) name: String,
    pub(super) config: Config,
    pub(super) pulls: VecDeque<Pull>,
    progress: Progress,
    /// What is on the disk, and since when; nats-server writes a consumer's progress now and then, confirmed acks included.
    saved: (Instant, Progress),
    /// When the server looks at it next by itself.
    pub(super) due: Option<Instant>,
}

impl Consumer {
    pub(super) fn new(name: &str, config: Config, now: Instant) -> Self {
        let (out, counts, again) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        let progress = Progress { next: 1, delivered: 0, reached: 0, out, counts, again };
        let (pulls, saved) = (VecDeque::new(), (now, progress.clone()));
        Self { name: name.to_owned(), config, pulls, progress, saved, due: None }
    }

    /// Writes the progress to disk, if it is time to.
    fn save(&mut self, now: Instant) {
        if self.saved.0 + SAVED_EVERY <= now {
            self.saved = (now, self.progress.clone());
        }
    }

    fn ack_wait(&self) -> Duration {
        if self.config.ack_wait.is_zero() { ACK_WAIT } else { self.config.ack_wait }
    }

    fn room(&self) -> bool {
        let most = if self.config.max_ack_pending == 0 { ACK_PENDING } else { self.config.max_ack_pending };
        most < 0 || self.progress.out.len() < usize::try_from(most).unwrap_or(usize::MAX)
    }

    /// Whether this consumer gets this subject.
    pub(super) fn wants(&self, subject: &str) -> bool {
        match (self.config.filter_subject.as_str(), self.config.filter_subjects.as_slice()) {
            ("", []) => true,
            ("", many) => many.iter().any(|filter| matches(filter, subject)),
            (one, _) => matches(one, subject),
        }
    }

    /// Delivers what can be delivered to who waits.
    pub(super) fn pump(&mut self, stream: &str, log: &Log, now: Instant) -> Outbox {
        self.save(now);
        let mut outbox = Outbox::default();
        while !self.pulls.is_empty() {
            let Some(stored) = self.take(log, &mut outbox.given_up) else { break };
            let Some(mut pull) = self.pulls.pop_front() else { break };
            let count = self.progress.counts.entry(stored.sequence).or_default();
            *count += 1;
            self.progress.delivered += 1;
            self.progress.reached = self.progress.reached.max(stored.sequence);
            let (count, at) = (*count, stored.at.as_nanosecond());
            let reply = format!("$JS.ACK.{stream}.{}.{count}.{}.{}.{at}.0", self.name, stored.sequence, self.progress.delivered);
            let out = Out { again_at: now + self.ack_wait(), queued: false, consumer_sequence: self.progress.delivered };
            self.progress.out.insert(stored.sequence, out);
            outbox.messages.push(Sending { inbox: pull.inbox.clone(), stored, reply });
            pull.left -= 1;
            pull.quiet_since = now;
            if pull.left > 0 {
                self.pulls.push_back(pull);
            }
        }
        outbox
    }

    /// The next message to deliver: one that comes again, else a new one.
    fn take(&mut self, log: &Log, given_up: &mut Vec<(u64, u64)>) -> Option<Arc<Stored>> {
        while let Some(sequence) = self.progress.again.pop_front() {
            if !self.progress.out.get(&sequence).is_some_and(|out| out.queued) {
                continue;
            }
            let Some(stored) = log.get(sequence) else {
                self.forget(sequence);
                continue;
            };
            let count = self.progress.counts.get(&sequence).copied().unwrap_or(0);
            if u64::try_from(self.config.max_deliver).is_ok_and(|most| most > 0 && count >= most) {
                self.progress.out.remove(&sequence);
                given_up.push((sequence, count));
                continue;
            }
            return Some(Arc::clone(stored));
        }
        if !self.room() {
            return None;
        }
        let found = log.from(self.progress.next).find(|stored| self.wants(&stored.subject)).cloned();
        self.progress.next = found.as_ref().map_or(log.last, |stored| stored.sequence) + 1;
        found
    }

    fn forget(&mut self, sequence: u64) {
        self.progress.out.remove(&sequence);
        self.progress.counts.remove(&sequence);
    }

    /// Marks what is due as coming again, and says which pulls are over or need a sign of life.
    pub(super) fn expire(&mut self, now: Instant) -> Outbox {
        for (sequence, out) in self.progress.out.iter_mut().filter(|(_, out)| !out.queued && out.again_at <= now) {
            out.queued = true;
            self.progress.again.push_back(*sequence);
        }
        let mut outbox = Outbox::default();
        for mut pull in std::mem::take(&mut self.pulls) {
            if pull.expires.is_some_and(|expires| expires <= now) {
                outbox.over.push(pull);
                continue;
            }
            if pull.heartbeat.is_some_and(|length| pull.quiet_since + length <= now) {
                pull.quiet_since = now;
                outbox.alive.push((pull.inbox.clone(), self.progress.delivered, self.progress.reached));
            }
            self.pulls.push_back(pull);
        }
        outbox
    }

    /// When [`Consumer::expire`] has something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let again = self.progress.out.values().filter(|out| !out.queued).map(|out| out.again_at).min();
        let pulls = self.pulls.iter().filter_map(|pull| {
            let alive = pull.heartbeat.map(|length| pull.quiet_since + length);
            [pull.expires, alive].into_iter().flatten().min()
        });
        pulls.chain(again).min()
    }

    /// Acknowledged, by whichever delivery. Gives the number of its deliveries and the consumer's sequence if it was out.
    pub(super) fn acknowledge(&mut self, sequence: u64) -> Option<(u64, u64)> {
        let out = self.progress.out.remove(&sequence)?;
        let count = self.progress.counts.remove(&sequence).unwrap_or(0);
        Some((count, out.consumer_sequence))
    }

    /// Handed back: comes again after this long.
    pub(super) fn hand_back(&mut self, sequence: u64, after: Duration, now: Instant) {
        let Some(out) = self.progress.out.get_mut(&sequence) else { return };
        if after.is_zero() && !out.queued {
            out.queued = true;
            self.progress.again.push_back(sequence);
        } else if !after.is_zero() {
            (out.again_at, out.queued) = (now + after, false);
        }
    }

    /// Worked on: the ack wait begins again.
    pub(super) fn in_progress(&mut self, sequence: u64, now: Instant) {
        let again_at = now + self.ack_wait();
        if let Some(out) = self.progress.out.get_mut(&sequence).filter(|out| !out.queued) {
            out.again_at = again_at;
        }
    }

    /// Comes again soon unless it is acknowledged before, as if its ack wait had passed on the way.
    pub(super) fn duplicate(&mut self, sequence: u64, again_at: Instant) {
        if let Some(out) = self.progress.out.get_mut(&sequence) {
            out.again_at = out.again_at.min(again_at);
        }
    }

    /// The server was restarted: nobody waits any more, and the ack waits begin again. What it did since it last wrote its progress is
    /// forgotten, if `forgetful`.
    pub(super) fn restarted(&mut self, forgetful: bool, now: Instant) {
        self.pulls.clear();
        if forgetful {
            self.progress = self.saved.1.clone();
        }
        self.saved = (now, self.progress.clone());
        let again_at = now + self.ack_wait();
        for out in self.progress.out.values_mut().filter(|out| !out.queued) {
            out.again_at = out.again_at.max(again_at);
        }
    }

    /// Up to here everything is acknowledged.
    pub(super) fn floor(&self) -> u64 {
        self.progress.out.first_key_value().map_or(self.progress.reached, |(sequence, _)| sequence - 1)
    }

    /// How many are out, and how many were never delivered.
    pub(super) fn pending(&self, log: &Log) -> (usize, usize) {
        (self.progress.out.len(), log.from(self.progress.next).filter(|stored| self.wants(&stored.subject)).count())
    }
}
