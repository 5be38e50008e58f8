//! What the server does with a message that has arrived.
//!
//! Guarantees: acknowledged is only what is stored; an effect may happen and its answer be lost. Must not: touch time; that is
//! `state`'s.

use std::sync::Arc;

use async_nats::{HeaderMap, Message, StatusCode};
use bytes::Bytes;
use chassis::bus::{Outgoing, Stored};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::api::{self, Effects};
use super::state::{Event, State};
use super::stream::{Incoming, Outcome, Refused};

/// A message for a client.
pub(super) fn message(subject: &str, headers: Option<HeaderMap>, payload: Bytes) -> Message {
    Message { subject: subject.into(), reply: None, payload, headers, status: None, description: None, length: 0 }
}

pub(super) fn status(to: &str, code: u16, description: &str, headers: Option<HeaderMap>) -> Message {
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
            self.asked(call, &message, now);
        } else if let Some(ack) = subject.strip_prefix("$JS.ACK.") {
            self.acknowledged(ack, &message, now);
        } else {
            self.published(message, now);
        }
    }

    /// Sends an answer, if one is wanted and it is not lost.
    pub(super) fn reply(&mut self, to: Option<&str>, answer: impl Into<Bytes>, now: Instant) {
        let Some(to) = to else { return };
        if !self.chance("lost reply", self.faults.lost_reply) {
            self.deliver(to, &message(to, None, answer.into()), false, now);
        }
    }

    /// Says that nobody listens on a subject.
    pub(super) fn nobody(&mut self, subject: &str, to: Option<&str>, now: Instant) {
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
        let message = Incoming { subject, headers, data: payload };
        match self.turn_on(&name, now) {
            Some(later) => self.push(later, Event::Store { stream: name, life: self.life, message, reply }),
            None => self.store(&name, message, reply.as_deref(), now),
        }
    }

    /// When a message's turn to be stored comes; `None`: at once.
    fn turn_on(&mut self, name: &str, now: Instant) -> Option<Instant> {
        let slow = self.chance("slow store", self.faults.slow_store).then(|| self.up_to(self.faults.longest_delay));
        let stream = self.streams.get_mut(name)?;
        let free = stream.busy_until.unwrap_or(now).max(now) + slow.unwrap_or_default();
        stream.busy_until = Some(free).filter(|free| *free > now);
        stream.busy_until
    }

    /// Stores a message, or refuses it, and says so.
    pub(super) fn store(&mut self, name: &str, message: Incoming, reply: Option<&str>, now: Instant) {
        let outcome = self.take(name, message, now);
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
        self.reply(reply, answer, now);
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
        self.appended(name, stored, now);
        // Also when nothing was due: the one that this look was for may have been purged or replaced, and others wait behind it.
        self.watch_schedules(name, now);
    }

    // The API.

    fn asked(&mut self, call: &str, request: &Outgoing, now: Instant) {
        if let Some(name) = call.strip_prefix("DIRECT.GET.") {
            return self.direct(name, request, now);
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
                let last = parts.last().and_then(|(headers, _)| headers.get("Nats-Sequence").cloned());
                for (headers, data) in parts {
                    self.deliver(to, &message(to, Some(headers), data), false, now);
                }
                let mut headers = HeaderMap::new();
                headers.insert("Nats-Num-Pending", left.to_string().as_str());
                headers.insert("Nats-Last-Sequence", last.as_ref().map_or("0", async_nats::HeaderValue::as_str));
                self.deliver(to, &status(to, 204, "EOB", Some(headers)), false, now);
            }
        }
    }
}
