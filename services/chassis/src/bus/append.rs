//! Appending: the one function that writes facts.
//!
//! Guarantees: all events of a call are stored, or none, and only if each group's filter still ends where the caller read it.
//! `Ok` is returned only for what is stored, also when the reply was lost: the leader is asked whether the event with our id is
//! there. Must not: append without an expectation, or retry with another one; only who decides can do that.

use std::collections::HashSet;

use async_nats::HeaderMap;
use bytes::Bytes;
use contracts::{BudgetFact, EventId, Fact, IncidentSubject, LedgerFact, OccurrenceFact};
use futures::future;

use super::transport::{Outgoing, TransportError};
use super::wire::{ApiError, PubAck, envelope_headers};
use super::{Bus, streams};

/// JetStream's "wrong last sequence".
pub(super) const WRONG_LAST: u32 = 10071;
/// The same, because another message for the same subject is being stored.
pub(super) const IN_FLIGHT: u32 = 10164;

/// The last sequence that a message expects, of which filter, and the message's place in its batch, from 1: the headers of JetStream's
/// optimistic concurrency (ADR-4) and atomic batches (ADR-50), which it stores with the message.
pub(super) const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
pub(super) const EXPECTED_OF: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
pub(super) const BATCH_SEQUENCE: &str = "Nats-Batch-Sequence";

/// Events under one expectation.
#[derive(Debug, Clone)]
pub struct Group {
    /// The literal filter of the expectation: a workload's, a fingerprint's, a ledger's.
    pub filter: String,
    /// The filter's last sequence that the decision is based on; 0 for none.
    pub expected: u64,
    /// The events, each on a subject within the filter.
    pub events: Vec<NewEvent>,
}

/// An event to append.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Its `ce-id`.
    pub id: EventId,
    /// Where it goes.
    pub subject: String,
    /// Its `ce-type`.
    pub ce_type: String,
    /// Protobuf bytes.
    pub data: Vec<u8>,
}

impl NewEvent {
    /// A fact of an incident.
    #[must_use]
    pub fn incident(id: EventId, incident: &IncidentSubject, fact: &Fact) -> Self {
        Self { id, subject: incident.fact(fact.event_type()), ce_type: fact.ce_type().to_owned(), data: fact.encode() }
    }

    /// A fact about a fingerprint.
    #[must_use]
    pub fn occurrence(id: EventId, fingerprint: &str, fact: &OccurrenceFact) -> Self {
        let subject = contracts::subjects::occurrence(fingerprint, fact.event_type());
        Self { id, subject, ce_type: fact.ce_type().to_owned(), data: fact.encode() }
    }

    /// A fact about a cluster's budgets.
    #[must_use]
    pub fn budget(id: EventId, cluster: &str, fact: &BudgetFact) -> Self {
        let subject = contracts::subjects::budget(cluster, fact.event_type());
        Self { id, subject, ce_type: fact.ce_type().to_owned(), data: fact.encode() }
    }

    /// A fact of a ledger or a switch, on the subject that the caller made with [`contracts::subjects`].
    #[must_use]
    pub fn ledger(id: EventId, subject: String, fact: &LedgerFact) -> Self {
        Self { id, subject, ce_type: fact.ce_type().to_owned(), data: fact.encode() }
    }
}

/// What was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The sequence of the first event.
    pub first: u64,
    /// The sequence of the last event.
    pub last: u64,
}

/// Why nothing is known to be stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended first, or it is not known: read again and decide again.
    #[error("somebody else appended first")]
    Lost,
    /// The stream is full; people have been told long before.
    #[error("the stream is full: {0}")]
    Full(String),
    /// NATS is away; the same may succeed later, and may even have been stored.
    #[error("NATS is unavailable: {0}")]
    Unavailable(String),
    /// It can never succeed as it is.
    #[error("the append was refused: {0}")]
    Refused(String),
}

impl Bus {
    /// Appends all events in one atomic batch. See the module's guarantees.
    #[tracing::instrument(level = "debug", skip_all, fields(events = tracing::field::Empty))]
    pub async fn append(&self, groups: Vec<Group>) -> Result<Appended, AppendError> {
        let batch = Batch::new(self, groups)?;
        tracing::Span::current().record("events", batch.messages.len());
        let started = tokio::time::Instant::now();
        let result = match self.send_batch(&batch).await {
            Ok(last) => Ok(Appended { first: last + 1 - batch.count(), last }),
            Err(Failure::Wrong) => self.own_win(&batch).await,
            Err(Failure::Away(reason)) => match self.own_win(&batch).await {
                Err(AppendError::Unavailable(_)) => Err(AppendError::Unavailable(reason)),
                known => known,
            },
            Err(Failure::Other(error)) => Err(error),
        };
        metrics::histogram!("lastgood_append_seconds", "result" => label(&result)).record(started.elapsed());
        result
    }

    /// Sends the batch and returns the last sequence.
    async fn send_batch(&self, batch: &Batch) -> Result<u64, Failure> {
        let send = |index: usize| {
            let (subject, headers, data) = &batch.messages[index];
            self.request(subject.clone(), Some(headers.clone()), data.clone())
        };
        let last = batch.messages.len() - 1;
        let commit = async {
            for (subject, headers, data) in batch.messages.iter().take(last).skip(1) {
                let message = Outgoing::new(subject.clone(), data.clone()).with_headers(headers.clone());
                self.transport().publish(message).await.map_err(|error| Failure::Away(error.to_string()))?;
            }
            outcome(send(last).await)
        };
        if last == 0 {
            return commit.await;
        }
        // Polled in this order, so the first message is on the wire before the rest; its reply (an empty body) needs no wait.
        let first = async { send(0).await };
        let (first, commit) = future::join(first, commit).await;
        match first {
            // The reason that a batch could not begin is in its first reply; the commit only says that there is no such batch.
            Ok(body) if !body.is_empty() => outcome(Ok(body)).and(commit),
            _ => commit,
        }
    }

    /// Whether the first event after the expected sequence is ours.
    async fn own_win(&self, batch: &Batch) -> Result<Appended, AppendError> {
        let found = self.next_from_leader(batch.stream, &batch.filter, batch.expected + 1).await;
        match found {
            Ok(Some(stored)) if stored.header("ce-id") == Some(batch.id.as_str()) => {
                Ok(Appended { first: stored.sequence, last: stored.sequence + batch.count() - 1 })
            }
            Ok(_) => Err(AppendError::Lost),
            Err(error) => Err(AppendError::Unavailable(error.to_string())),
        }
    }
}

/// Why a batch has no good reply.
enum Failure {
    Wrong,
    Away(String),
    Other(AppendError),
}

fn outcome(reply: Result<Bytes, TransportError>) -> Result<u64, Failure> {
    let body = match reply {
        Ok(body) => body,
        Err(TransportError::Away(reason)) => return Err(Failure::Away(reason)),
        Err(TransportError::Bad(reason)) => return Err(Failure::Other(AppendError::Refused(reason))),
    };
    let ack: PubAck =
        serde_json::from_slice(&body).map_err(|e| Failure::Away(format!("the reply to an append is not understood: {e}")))?;
    ack.error.map_or(Ok(ack.seq), |error| Err(classify(&error)))
}

fn classify(error: &ApiError) -> Failure {
    if [WRONG_LAST, IN_FLIGHT].contains(&error.err_code) {
        Failure::Wrong
    } else if error.is_full() {
        Failure::Other(AppendError::Full(error.to_string()))
    } else if error.is_temporary() {
        Failure::Away(error.to_string())
    } else {
        Failure::Other(AppendError::Refused(error.to_string()))
    }
}

const fn label(result: &Result<Appended, AppendError>) -> &'static str {
    match result {
        Ok(_) => "appended",
        Err(AppendError::Lost) => "lost",
        Err(AppendError::Full(_)) => "full",
        Err(AppendError::Unavailable(_)) => "unavailable",
        Err(AppendError::Refused(_)) => "refused",
    }
}

/// A batch, ready to send.
struct Batch {
    stream: &'static str,
    /// The filter, expectation and `ce-id` of the first event, by which it is known again.
    filter: String,
    expected: u64,
    id: String,
    messages: Vec<(String, HeaderMap, Bytes)>,
}

impl Batch {
    fn new(bus: &Bus, groups: Vec<Group>) -> Result<Self, AppendError> {
        let refused = |reason: &str| AppendError::Refused(reason.to_owned());
        if groups.is_empty() || groups.iter().any(|group| group.events.is_empty()) {
            return Err(refused("a group without events"));
        }
        let filters: HashSet<&str> = groups.iter().map(|group| group.filter.as_str()).collect();
        if filters.len() != groups.len() {
            return Err(refused("two groups with one filter"));
        }
        let mut names = groups.iter().flat_map(|g| &g.events).map(|event| streams::of_subject(&event.subject));
        let stream = names.next().flatten().ok_or_else(|| refused("a subject that no stream of facts holds"))?;
        if !names.all(|name| name == Some(stream)) {
            return Err(refused("events of different streams"));
        }
        let (filter, expected) = (groups[0].filter.clone(), groups[0].expected);
        let id = groups[0].events[0].id.to_string();
        let mut messages: Vec<(String, HeaderMap, Bytes)> = Vec::new();
        for group in groups {
            for (index, event) in group.events.into_iter().enumerate() {
                let mut headers = envelope_headers(&bus.envelope(event.id, &event.ce_type));
                if index == 0 {
                    headers.insert(EXPECTED, group.expected.to_string().as_str());
                    headers.insert(EXPECTED_OF, group.filter.as_str());
                }
                messages.push((event.subject, headers, event.data.into()));
            }
        }
        // A single event is a publish under the same expectation: the server stages a batch in a store of its own, which costs more
        // than the append itself.
        let count = messages.len();
        for (index, (_, headers, _)) in messages.iter_mut().enumerate().filter(|_| count > 1) {
            headers.insert("Nats-Batch-Id", id.as_str());
            headers.insert(BATCH_SEQUENCE, (index + 1).to_string().as_str());
            if index + 1 == count {
                headers.insert("Nats-Batch-Commit", "1");
            }
        }
        Ok(Self { stream, filter, expected, id, messages })
    }

    fn count(&self) -> u64 {
        self.messages.len() as u64
    }
}
