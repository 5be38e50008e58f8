//! What happened: every stored message, cluster write, accepted alert and told message, in the order in which it happened.
//!
//! Guarantees: each event is judged by every invariant as it is recorded, and folded into a hash, so that two runs can be compared; the
//! first broken invariant is kept and nothing is recorded after it. Must not: influence what happens.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use contracts::subjects::streams;
use contracts::v1::{Audience, Urgency};
use jiff::Timestamp;
use serde_json::Value;

use super::describe::describe;
use crate::invariants::{Invariant, Violation};

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its place.
    pub number: usize,
    /// When, in true time.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum What {
    /// A message was stored in a stream.
    Stored(Message),
    /// Somebody changed an object.
    Wrote(Write),
    /// An alert of a notification was answered with 2xx.
    Heard(Heard),
    /// A person got a message.
    Told(Told),
    /// A verifier was shown the pods.
    Looked {
        /// By whom.
        process: String,
        /// The namespace.
        namespace: String,
    },
    /// A probe was answered.
    Probed {
        /// Where.
        address: SocketAddr,
        /// The path.
        path: String,
        /// Whether with a success.
        good: bool,
        /// The Deployment's name, by the pod that was asked.
        app: String,
    },
    /// A verifier was told by Prometheus which alerts fire.
    Asked {
        /// By whom.
        process: String,
        /// The workloads whose alert fires.
        firing: Vec<String>,
    },
    /// What became of a message that asks the notifier to tell somebody.
    Handled {
        /// In which process.
        process: String,
        /// The message's stream.
        stream: String,
        /// Its sequence there.
        sequence: u64,
        /// What became of it.
        handling: Handling,
    },
    /// A process began.
    Started(String),
    /// A process ended: which, and why.
    Ended(String, String),
    /// The weather changed, or a person did something that is no write.
    Noted(String),
    /// An operator had these dead letters delivered again: the streams and sequences of their messages.
    Replayed(Vec<(String, u64)>),
    /// No fault happens from here on.
    Calm,
}

/// What becomes of a delivered message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// The process was given it.
    Given,
    /// The process says that it is at work on it.
    InHand,
    /// The process says that it is done with it.
    Done,
    /// The process hands it back.
    HandedBack,
}

/// A stored message.
#[derive(Debug, Clone)]
pub struct Message {
    /// The stream.
    pub stream: String,
    /// Its sequence there.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// The server's time.
    pub at: Timestamp,
    /// Its body.
    pub data: Bytes,
}

impl Message {
    /// The subject's last token.
    #[must_use]
    pub fn event_type(&self) -> &str {
        self.subject.rsplit('.').next().unwrap_or_default()
    }
}

/// A change of an object.
#[derive(Debug, Clone)]
pub struct Write {
    /// The process; `None` is a person.
    pub process: Option<String>,
    /// The kind's `plural` or `plural.group`.
    pub resource: String,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The object right before it.
    pub before: Option<Arc<Value>>,
    /// The object right after it.
    pub after: Option<Arc<Value>>,
}

/// An accepted alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// Its fingerprint.
    pub fingerprint: String,
    /// Whether it fires.
    pub firing: bool,
    /// Since when.
    pub starts_at: Timestamp,
}

/// A message to people.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// By which process.
    pub process: String,
    /// Over which channel.
    pub channel: &'static str,
    /// About which incident.
    pub incident: String,
    /// To whom.
    pub audience: Audience,
    /// How urgently.
    pub urgency: Urgency,
    /// Which notification.
    pub reason: String,
    /// Whether the sender was told that it failed.
    pub answer_lost: bool,
}

/// The record.
pub struct History {
    events: Vec<Event>,
    hash: DefaultHasher,
    invariants: Vec<Box<dyn Invariant>>,
    violation: Option<Violation>,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("events", &self.events.len()).field("violation", &self.violation).finish_non_exhaustive()
    }
}

impl History {
    /// An empty one, judged by these.
    #[must_use]
    pub fn new(invariants: Vec<Box<dyn Invariant>>) -> Self {
        Self { events: Vec::new(), hash: DefaultHasher::new(), invariants, violation: None }
    }

    /// Records and judges; false once something is broken.
    pub fn record(&mut self, at: Timestamp, what: What) -> bool {
        if self.violation.is_some() {
            return false;
        }
        let event = Event { number: self.events.len(), at, what };
        describe(&event).hash(&mut self.hash);
        for invariant in &mut self.invariants {
            let Err(detail) = invariant.see(&event) else { continue };
            match &mut self.violation {
                Some(first) => first.also.push(invariant.name()),
                None => self.violation = Some(Violation::new(invariant.name(), detail, event.number)),
            }
        }
        self.events.push(event);
        self.violation.is_none()
    }

    /// Stirs something into the hash that is no event.
    pub fn trace(&mut self, what: &str) {
        what.hash(&mut self.hash);
    }

    /// The last judgement, once everything has settled.
    pub fn finish(&mut self) {
        for invariant in &self.invariants {
            if self.violation.is_some() {
                return;
            }
            if let Err(detail) = invariant.end() {
                self.violation = Some(Violation::new(invariant.name(), detail, self.events.len()));
            }
        }
    }

    /// Declares this broken.
    pub fn fail(&mut self, invariant: &'static str, detail: String) {
        let event = self.events.len();
        self.violation.get_or_insert_with(|| Violation::new(invariant, detail, event));
    }

    /// The first broken invariant.
    #[must_use]
    pub const fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// All events.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The paths of the incidents that are open by what was stored, oldest first.
    #[must_use]
    pub fn open_incidents(&self) -> Vec<String> {
        let mut open = Vec::new();
        for event in &self.events {
            let What::Stored(message) = &event.what else { continue };
            let Some((path, event_type)) = message.subject.rsplit_once('.').filter(|_| message.stream == streams::INCIDENTS)
            else {
                continue;
            };
            match event_type {
                "anomaly_detected" if !message.data.starts_with(b"\xff") => open.push(path.to_owned()),
                "incident_closed" if !message.data.starts_with(b"\xff") => open.retain(|other| other != path),
                _ => {}
            }
        }
        open
    }

    /// The hash of everything so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.hash.finish()
    }
}
