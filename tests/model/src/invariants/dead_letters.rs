//! S8: what can't be decoded ends in the dead-letter stream with a reason, and makes its incident ask for a person; nothing else does, and
//! no message is given up for an outage. What is replayed is looked at again.

use std::collections::BTreeMap;

use contracts::subjects::streams;
use contracts::v1::{AlertNotification, DeadLetter};
use contracts::{Fact, IncidentId, IncidentSubject};
use prost::Message as _;

use super::{Invariant, fact, undecodable};
use crate::world::history::{Event, Message, What};

/// A stream and a sequence.
type Place = (String, u64);

/// The promise.
#[derive(Debug, Default)]
pub(super) struct OnlyTheUndecodable {
    /// What can't be decoded, and how many dead letters there are of it.
    damaged: BTreeMap<Place, u32>,
    /// The incidents whose log is damaged, and whether a person was asked for since the first damage.
    incidents: BTreeMap<IncidentId, bool>,
    /// How many letters there were of what an operator replayed, when that was done.
    replayed: BTreeMap<Place, u32>,
}

impl Invariant for OnlyTheUndecodable {
    fn name(&self) -> &'static str {
        "S8 dead letters are the undecodable, and they alone"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        let message = match &event.what {
            What::Stored(message) => message,
            What::Replayed(places) => {
                for place in places {
                    let letters = self.damaged.get(place).copied().unwrap_or_default();
                    self.replayed.insert(place.clone(), letters);
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        match message.stream.as_str() {
            streams::ALERTS if AlertNotification::decode(message.data.clone()).is_err() => self.damage(message),
            streams::INCIDENTS => self.fact(message),
            streams::DEAD if message.subject.starts_with("lastgood.dead.") => return self.bury(message),
            streams::ADVISORIES if message.subject.contains("MAX_DELIVERIES") => {
                return Err(format!("the server gave up on a message: {}", String::from_utf8_lossy(&message.data)));
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&self) -> Result<(), String> {
        if let Some((place, _)) = self.damaged.iter().find(|(_, letters)| **letters == 0) {
            return Err(format!("{place:?} can't be decoded and is no dead letter"));
        }
        if let Some((incident, _)) = self.incidents.iter().find(|(_, asked)| !**asked) {
            return Err(format!("the log of {incident} is damaged, and nobody was asked for"));
        }
        let silent = |(place, before): &(&Place, &u32)| self.damaged.get(*place).is_some_and(|now| now <= before);
        match self.replayed.iter().find(silent) {
            Some((place, _)) => Err(format!("{place:?} was replayed, and nobody has looked at it")),
            None => Ok(()),
        }
    }
}

impl OnlyTheUndecodable {
    fn damage(&mut self, message: &Message) {
        self.damaged.insert((message.stream.clone(), message.sequence), 0);
    }

    fn fact(&mut self, message: &Message) {
        if let Some(subject) = undecodable(message) {
            self.damage(message);
            // Once for all: whoever was asked reads the whole log.
            self.incidents.entry(subject.incident).or_insert(false);
        } else if let Some((subject, Fact::NotificationRequested(_))) = fact(message) {
            self.incidents.entry(subject.incident).and_modify(|asked| *asked = true);
        }
    }

    fn bury(&mut self, message: &Message) -> Result<(), String> {
        let letter = DeadLetter::decode(message.data.clone()).map_err(|error| format!("an undecodable dead letter: {error}"))?;
        let original = (letter.stream.clone(), letter.sequence);
        if letter.reason.is_empty() {
            return Err(format!("{original:?} is a dead letter without a reason"));
        }
        if let Some(letters) = self.damaged.get_mut(&original) {
            *letters += 1;
            return Ok(());
        }
        // Nothing can be decided on a log that can't be read: what wakes somebody to do so can't be processed either.
        let about = IncidentSubject::parse(&letter.subject).ok().map(|(subject, _)| subject.incident);
        if about.is_some_and(|incident| self.incidents.contains_key(&incident)) {
            return Ok(());
        }
        Err(format!("{original:?} ({}) is a dead letter of {}: {}", letter.subject, letter.service, letter.reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::forge::{self, broken, holds};

    #[test]
    fn it_can_fail() {
        let damage = || forge::stored_at(streams::ALERTS, 5, "lastgood.alert.alertmanager", b"\xff\xff");
        let letter = |sequence: u64, reason: &str| {
            let letter = DeadLetter { stream: streams::ALERTS.into(), sequence, reason: reason.into(), ..DeadLetter::default() };
            forge::stored(streams::DEAD, "lastgood.dead.orchestrator", &letter.encode_to_vec())
        };
        holds(OnlyTheUndecodable::default(), vec![damage(), letter(5, "the bytes do not decode")]);
        broken(OnlyTheUndecodable::default(), vec![damage()], "is no dead letter");
        broken(OnlyTheUndecodable::default(), vec![damage(), letter(5, "")], "without a reason");
        broken(OnlyTheUndecodable::default(), vec![letter(6, "an outage")], "is a dead letter of");
        let replayed = || What::Replayed(vec![(streams::ALERTS.into(), 5)]);
        broken(OnlyTheUndecodable::default(), vec![damage(), letter(5, "no"), replayed()], "nobody has looked");
        holds(OnlyTheUndecodable::default(), vec![damage(), letter(5, "no"), replayed(), letter(5, "no")]);
        let of_incident = |sequence: u64| {
            let (stream, subject) = (streams::INCIDENTS.into(), forge::path(1, "pods_ready"));
            let letter = DeadLetter { stream, sequence, subject, reason: "no".into(), ..DeadLetter::default() };
            forge::stored(streams::DEAD, "lastgood.dead.executor", &letter.encode_to_vec())
        };
        let fact = || vec![forge::stored_at(streams::INCIDENTS, 5, &forge::path(1, "pods_ready"), b"\xff"), of_incident(5)];
        broken(OnlyTheUndecodable::default(), fact(), "nobody was asked for");
        holds(OnlyTheUndecodable::default(), [fact(), vec![of_incident(6), forge::asked(1)]].concat());
        broken(OnlyTheUndecodable::default(), vec![of_incident(6)], "is a dead letter of");
        let given_up = forge::stored(streams::ADVISORIES, "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.X.y", b"{}");
        broken(OnlyTheUndecodable::default(), vec![given_up], "gave up");
    }
}
