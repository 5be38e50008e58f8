//! What the server does with a message that has arrived.
//!
//! Guarantees: acknowledged is only what is stored; an effect may happen and its answer be lost. Must not: touch time; that is
//! `state`'s.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message, StatusCode};
use bytes::Bytes;
use chassis::bus::{Outgoing, Stored};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::api::{self, Effects, PullRequest};
use super::consumer::{Outbox, Pull};
use super::state::State;
use super::stream::{Incoming, Outcome, Refused};

/// A duplicate comes within this time.
const SOON: Duration = Duration::from_millis(50);

/// A message for a client.
fn message(subject: &str, headers: Option<HeaderMap>, payload: Bytes) -> Message {
    Message { subject: subject.into(), reply: None, payload, headers, status: None, description: None, length: 0 }
}

fn status(to: &str, code: u16, description: &str, headers: Option<HeaderMap>) -> Message {
    let status = StatusCode::from_u16(code).ok();
    Message { status, description: Some(description.to_owned()), ..message(to, headers, Bytes::new()) }
}

impl State {
    /// Takes in a message; `live` says whether its sender can still be answered.
    pub(super) fn arrived(&mut self, message: Outgoing, live: bool, now: Instant) {
        let subject = message.subject.clone();
        if let Some(pull) = subject.strip_prefix("$JS.API.CONSUMER.MSG.NEXT.") {
            // A pull lives no longer than the connection that it came by.
            if let Some((stream, durable)) = pull.split_once('.').filter(|_| live) {
                self.pulled(stream, durable, &message, now);
            }
        } else if let Some(call) = subject.strip_prefix("$JS.API.") {
            self.asked(call, message, now);
        } else if let Some(ack) = subject.strip_prefix("$JS.ACK.") {
            self.acknowledged(ack, &message, now);
        } else {
            self.published(message, now);
        }
    }

    /// Sends an answer, if one is wanted and it is not lost.
    fn reply(&mut self, to: Option<&str>, answer: impl Into<Bytes>, now: Instant) {
        let Some(to) = to else { return };
        if !self.chance("lost reply", self.faults.lost_reply) {
            self.deliver(to, &message(to, None, answer.into()), false, now);
        }
    }

    /// Says that nobody listens on a subject.
    fn nobody(&mut self, subject: &str, to: Option<&str>, now: Instant) {
        if let Some(to) = to {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Subject", subject);
            self.deliver(to, &status(to, 503, "", Some(headers)), false, now);
        }
    }

    // Publishing.

    pub(super) fn published(&mut self, published: Outgoing, now: Instant) {
        let Outgoing { subject, reply, headers, payload } = published;
        let headers = headers.unwrap_or_default();
        let plain = message(&subject, Some(headers.clone()), payload.clone());
        let heard = self.deliver(&subject, &plain, false, now);
        let Some(name) = self.streams.iter().find(|(_, s)| s.captures(&subject)).map(|(name, _)| name.clone()) else {
            if !heard {
                self.nobody(&subject, reply.as_deref(), now);
            }
            return;
        };
        let outcome = self.take(&name, Incoming { subject, headers, data: payload }, now);
        let answer = match outcome {
            Ok(Outcome::Staged) => Bytes::new(),
            Ok(Outcome::Stored { sequence, duplicate: false }) => json!({ "stream": name, "seq": sequence }).to_string().into(),
            Ok(Outcome::Stored { sequence, duplicate: true }) => {
                json!({ "stream": name, "seq": sequence, "duplicate": true }).to_string().into()
            }
            Ok(Outcome::Batch { last, id, count }) => {
                json!({ "stream": name, "seq": last, "batch": id, "count": count }).to_string().into()
            }
            Err(refused) => json!({ "error": refused.json(), "stream": name, "seq": 0 }).to_string().into(),
        };
        self.reply(reply.as_deref(), answer, now);
    }

    /// Stores a message if it may be, and lets everybody know who waits for it.
    fn take(&mut self, name: &str, incoming: Incoming, now: Instant) -> Result<Outcome, Refused> {
        let guarded = incoming.header("Nats-Expected-Last-Subject-Sequence").is_some();
        let parted = incoming.header("Nats-Batch-Id").is_some();
        if guarded && !parted && self.chance("in flight", self.faults.in_flight) {
            return Err(Refused::new(400, 10164, "wrong last sequence"));
        }
        if self.chance("unavailable", self.faults.unavailable) {
            return Err(Refused::unavailable());
        }
        let at = self.time(now);
        let mut stored = Vec::new();
        let Some(stream) = self.streams.get_mut(name) else { return Err(Refused::new(404, 10059, "stream not found")) };
        let outcome = stream.take(incoming, at, now, &mut stored);
        self.appended(name, stored, now);
        self.watch_schedules(name, now);
        outcome
    }

    fn appended(&mut self, name: &str, stored: Vec<Arc<Stored>>, now: Instant) {
        if !stored.is_empty() {
            self.stored.extend(stored.into_iter().map(|stored| (name.to_owned(), stored)));
            self.pump_all(name, now);
        }
    }

    pub(super) fn schedules_due(&mut self, name: &str, now: Instant) {
        let at = self.time(now);
        if self.is_away() {
            return; // looked at when the server is back
        }
        let mut stored = Vec::new();
        if let Some(stream) = self.streams.get_mut(name) {
            stream.fire(at, &mut stored);
        }
        if !stored.is_empty() {
            self.appended(name, stored, now);
            self.watch_schedules(name, now);
        }
    }

    // The API.

    fn asked(&mut self, call: &str, request: Outgoing, now: Instant) {
        if let Some(name) = call.strip_prefix("DIRECT.GET.") {
            return self.direct(name, &request, now);
        }
        let reply = request.reply.as_deref();
        if self.chance("unavailable", self.faults.unavailable) {
            return self.reply(reply, json!({ "error": Refused::unavailable().json() }).to_string(), now);
        }
        let (at, mut effects) = (self.time(now), Effects::default());
        let answer: Value = match api::answer(&mut self.streams, call, &request.payload, (at, now), &mut effects) {
            None => return self.nobody(&request.subject, reply, now),
            Some(Ok(answer)) => answer,
            Some(Err(refused)) if call.starts_with("STREAM.PURGE.") => json!({ "error": refused.json(), "purged": 0 }),
            Some(Err(refused)) => json!({ "error": refused.json() }),
        };
        if let Some(stream) = effects.touched {
            self.pump_all(&stream, now);
        }
        self.reply(reply, answer.to_string(), now);
    }

    fn direct(&mut self, name: &str, request: &Outgoing, now: Instant) {
        let Some(to) = request.reply.as_deref() else { return };
        if !self.streams.contains_key(name) {
            return self.nobody(&request.subject, Some(to), now);
        }
        if self.chance("lost reply", self.faults.lost_reply) {
            return;
        }
        let lag = SignedDuration::try_from(self.lag()).unwrap_or_default();
        let seen = self.time(now).saturating_sub(lag).unwrap_or_default();
        let Some(stream) = self.streams.get(name) else { return };
        match api::direct(stream, name, &request.payload, seen) {
            Err(refused) => {
                self.deliver(to, &status(to, 408, &refused.description, None), false, now);
            }
            Ok((parts, _)) if parts.is_empty() => {
                self.deliver(to, &status(to, 404, "Message Not Found", None), false, now);
            }
            Ok((parts, left)) => {
                for (headers, data) in parts {
                    self.deliver(to, &message(to, Some(headers), data), false, now);
                }
                let mut headers = HeaderMap::new();
                headers.insert("Nats-Num-Pending", left.to_string().as_str());
                self.deliver(to, &status(to, 204, "EOB", Some(headers)), false, now);
            }
        }
    }

    // Consumers.

    fn pulled(&mut self, stream: &str, durable: &str, request: &Outgoing, now: Instant) {
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
    fn acknowledged(&mut self, subject: &str, ack: &Outgoing, now: Instant) {
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
