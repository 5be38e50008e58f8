//! What the server delivers to consumers, and what it hears back.
//!
//! Guarantees: an acknowledged message does not come again while the server stands; what was given up or terminated is an advisory on
//! its subject. Must not: decide what is due; the consumer does.

use std::time::Duration;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use chassis::bus::Outgoing;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::consumer::{Outbox, Pull};
use super::consumers_api::PullRequest;
use super::serve::{message, status};
use super::state::State;

/// A duplicate comes within this time.
const SOON: Duration = Duration::from_millis(50);

impl State {
    pub(super) fn pulled(&mut self, stream: &str, durable: &str, request: &Outgoing, now: Instant) {
        let Some(inbox) = request.reply.clone() else { return };
        let known = self.streams.get_mut(stream).and_then(|stream| stream.consumers.get_mut(durable));
        let Some(consumer) = known else { return self.nobody(&request.subject, Some(&inbox), now) };
        let Ok(wish) = PullRequest::read(&request.payload) else {
            self.deliver(&inbox, &status(&inbox, 400, "Bad Request", None), false, now);
            return;
        };
        consumer.pulls.push_back(Pull {
            left: wish.batch.max(1),
            expires: wish.expires().map(|length| now + length),
            heartbeat: wish.heartbeat(),
            quiet_since: now,
            inbox,
        });
        self.pump(stream, durable, now);
    }

    /// Delivers whatever a stream's consumers have to deliver.
    pub(super) fn pump_all(&mut self, stream: &str, now: Instant) {
        let Some(there) = self.streams.get(stream) else { return };
        let names: Vec<String> = there.consumers.keys().cloned().collect();
        for name in names {
            self.pump(stream, &name, now);
        }
    }

    fn pump(&mut self, stream: &str, name: &str, now: Instant) {
        if self.is_away() {
            return;
        }
        let Some(there) = self.streams.get_mut(stream) else { return };
        let Some(consumer) = there.consumers.get_mut(name) else { return };
        let outbox = consumer.pump(stream, &there.log, now);
        self.ship(stream, name, outbox, now);
        self.watch_consumer(stream, name);
    }

    pub(super) fn consumer_due(&mut self, stream: &str, name: &str, now: Instant) {
        let known = self.streams.get_mut(stream).and_then(|stream| stream.consumers.get_mut(name));
        let Some(consumer) = known else { return };
        if consumer.due.is_some_and(|due| due <= now) {
            consumer.due = None;
            let outbox = consumer.expire(now);
            self.ship(stream, name, outbox, now);
            self.pump(stream, name, now);
            self.watch_consumer(stream, name);
        }
    }

    fn ship(&mut self, stream: &str, name: &str, outbox: Outbox, now: Instant) {
        for pull in outbox.over {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Pending-Messages", pull.left.to_string().as_str());
            headers.insert("Nats-Pending-Bytes", "0");
            self.deliver(&pull.inbox, &status(&pull.inbox, 408, "Request Timeout", Some(headers)), false, now);
        }
        for (inbox, consumer_sequence, sequence) in outbox.alive {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Last-Consumer", consumer_sequence.to_string().as_str());
            headers.insert("Nats-Last-Stream", sequence.to_string().as_str());
            self.deliver(&inbox, &status(&inbox, 100, "Idle Heartbeat", Some(headers)), false, now);
        }
        for sending in outbox.messages {
            let stored = &sending.stored;
            let headers = (!stored.headers.is_empty()).then(|| stored.headers.clone());
            let delivered =
                Message { reply: Some(sending.reply.into()), ..message(&stored.subject, headers, stored.data.clone()) };
            if self.chance("duplicate delivery", self.faults.duplicate_delivery) {
                self.duplicate(stream, name, stored.sequence, now);
            }
            if self.chance("lost delivery", self.faults.lost_delivery) {
                continue;
            }
            let reordered = self.chance("reordered delivery", self.faults.reordered_delivery);
            self.deliver(&sending.inbox, &delivered, reordered, now);
        }
        for (sequence, count) in outbox.given_up {
            self.given_up(stream, name, sequence, count, now);
        }
    }

    fn duplicate(&mut self, stream: &str, name: &str, sequence: u64, now: Instant) {
        let again_at = now + self.up_to(SOON);
        let known = self.streams.get_mut(stream).and_then(|stream| stream.consumers.get_mut(name));
        if let Some(consumer) = known {
            consumer.duplicate(sequence, again_at);
        }
    }

    /// An ack, a nak or a sign of work; the subject is `<stream>.<consumer>.<deliveries>.<sequence>.<consumer's sequence>.…`.
    pub(super) fn acknowledged(&mut self, subject: &str, ack: &Outgoing, now: Instant) {
        let tokens: Vec<&str> = subject.split('.').collect();
        let [stream, name, _, sequence, ..] = tokens.as_slice() else { return };
        let Ok(sequence) = sequence.parse::<u64>() else { return };
        let known = self.streams.get_mut(*stream).and_then(|stream| stream.consumers.get_mut(*name));
        let Some(consumer) = known else { return self.nobody(&ack.subject, ack.reply.as_deref(), now) };
        let body = String::from_utf8_lossy(&ack.payload);
        if let Some(options) = body.strip_prefix("-NAK") {
            let delay = serde_json::from_str::<Value>(options.trim()).ok();
            let nanos = delay.and_then(|options| options.get("delay")?.as_u64()).unwrap_or(0);
            consumer.hand_back(sequence, Duration::from_nanos(nanos), now);
        } else if body.starts_with("+WPI") {
            consumer.in_progress(sequence, now);
        } else if let Some(reason) = body.strip_prefix("+TERM") {
            if let Some((count, own)) = consumer.acknowledge(sequence) {
                self.terminated(stream, name, (sequence, count, own), reason.trim(), now);
            }
        } else {
            consumer.acknowledge(sequence);
        }
        self.pump(stream, name, now);
        self.reply(ack.reply.as_deref(), Bytes::new(), now);
    }

    // Advisories.

    fn given_up(&mut self, stream: &str, consumer: &str, sequence: u64, deliveries: u64, now: Instant) {
        let advisory = json!({
            "type": "io.nats.jetstream.advisory.v1.max_deliver", "id": format!("{stream}-{consumer}-{sequence}"),
            "timestamp": self.time(now).to_string(), "stream": stream, "consumer": consumer, "stream_seq": sequence,
            "deliveries": deliveries,
        });
        self.advise("MAX_DELIVERIES", stream, consumer, &advisory, now);
    }

    fn terminated(&mut self, stream: &str, consumer: &str, of: (u64, u64, u64), reason: &str, now: Instant) {
        let (sequence, deliveries, own) = of;
        let mut advisory = json!({
            "type": "io.nats.jetstream.advisory.v1.terminated", "id": format!("{stream}-{consumer}-{sequence}"),
            "timestamp": self.time(now).to_string(), "stream": stream, "consumer": consumer, "consumer_seq": own,
            "stream_seq": sequence, "deliveries": deliveries,
        });
        if !reason.is_empty() {
            advisory["reason"] = reason.into();
        }
        self.advise("MSG_TERMINATED", stream, consumer, &advisory, now);
    }

    fn advise(&mut self, kind: &str, stream: &str, consumer: &str, advisory: &Value, now: Instant) {
        let subject = format!("$JS.EVENT.ADVISORY.CONSUMER.{kind}.{stream}.{consumer}");
        self.published(Outgoing::new(subject, advisory.to_string()), now);
    }
}
