//! What must hold whatever happens: the promises S1 to S8, each judged on the recorded history alone.
//!
//! Guarantees: pure folds over events, so that a forged history can prove that each of them can fail; a violation says what is broken and by
//! which event. Must not: ask the services, or forgive.

mod alerts;
mod closing;
mod dead_letters;
mod fold;
#[cfg(test)]
pub(crate) mod forge;
mod intent;
mod legality;
mod others;
mod repeats;
mod sight;
mod single;

use std::collections::BTreeSet;

use contracts::subjects::streams;
use contracts::{DecodeError, Fact, IncidentSubject};

use crate::world::history::{Event, Message};

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: &'static str,
    /// How.
    pub detail: String,
    /// The number of the event that broke it.
    pub event: usize,
    /// What else the same event broke.
    pub also: Vec<&'static str>,
}

impl Violation {
    /// Of this promise alone.
    #[must_use]
    pub const fn new(invariant: &'static str, detail: String, event: usize) -> Self {
        Self { invariant, detail, event, also: Vec::new() }
    }

    /// The numbers of the promises that are broken, `S1` to `S8`; `log` for what is on the log and could not be.
    #[must_use]
    pub fn promises(&self) -> BTreeSet<&'static str> {
        let number = |name: &'static str| name.split(' ').next().filter(|word| word.starts_with('S')).unwrap_or("log");
        std::iter::once(self.invariant).chain(self.also.iter().copied()).map(number).collect()
    }
}

/// One promise.
pub trait Invariant: Send {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Judges one more event.
    fn see(&mut self, event: &Event) -> Result<(), String>;

    /// Judges the whole, once all faults are over and everything had its time to settle.
    fn end(&self) -> Result<(), String> {
        Ok(())
    }
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(alerts::Dispositions::default()),
        Box::new(single::OneRollback::default()),
        Box::new(intent::IntentFirst::default()),
        Box::new(others::OthersWin::default()),
        Box::new(closing::EverybodyIsTold::default()),
        Box::new(repeats::NeverBack::default()),
        Box::new(sight::SeenHealthy::default()),
        Box::new(dead_letters::OnlyTheUndecodable::default()),
        Box::new(legality::Legal::default()),
    ]
}

/// The incident's fact in a stored message, if it is one that decodes.
fn fact(message: &Message) -> Option<(IncidentSubject, Fact)> {
    if message.stream != streams::INCIDENTS || !message.subject.starts_with("lastgood.incident.") {
        return None;
    }
    let (subject, event_type) = IncidentSubject::parse(&message.subject).ok()?;
    Some((subject, Fact::decode(event_type, &message.data).ok()?))
}

/// The incident of a stored message that should be a fact of it and does not decode.
fn undecodable(message: &Message) -> Option<IncidentSubject> {
    let (subject, event_type) = IncidentSubject::parse(&message.subject).ok().filter(|_| message.stream == streams::INCIDENTS)?;
    matches!(Fact::decode(event_type, &message.data), Err(DecodeError::Damaged { .. })).then_some(subject)
}
