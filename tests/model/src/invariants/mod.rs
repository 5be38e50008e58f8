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

use contracts::subjects::streams;
use contracts::{Fact, IncidentSubject};

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

/// All of them. `repeats_allowed`: the bus loses and repeats messages, so that a notification may be sent twice without a crash.
#[must_use]
pub fn all(repeats_allowed: bool) -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(alerts::Dispositions::default()),
        Box::new(single::OneRollback::default()),
        Box::new(intent::IntentFirst::default()),
        Box::new(others::OthersWin::default()),
        Box::new(closing::EverybodyIsTold::new(repeats_allowed)),
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
