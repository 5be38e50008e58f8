//! S8: what can't be decoded ends in the dead-letter stream with a reason; nothing else does, and no message is given up for an outage.

use std::collections::BTreeSet;

use contracts::subjects::streams;
use contracts::v1::{AlertNotification, DeadLetter};
use prost::Message as _;

use super::Invariant;
use crate::world::history::{Event, Message, What};

/// The promise.
#[derive(Debug, Default)]
pub(super) struct OnlyTheUndecodable {
    /// Stream and sequence of what can't be decoded.
    damaged: BTreeSet<(String, u64)>,
    dead: BTreeSet<(String, u64)>,
}

impl Invariant for OnlyTheUndecodable {
    fn name(&self) -> &'static str {
        "S8 dead letters are the undecodable, and they alone"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        let What::Stored(message) = &event.what else { return Ok(()) };
        match message.stream.as_str() {
            streams::ALERTS if AlertNotification::decode(message.data.clone()).is_err() => {
                self.damaged.insert((message.stream.clone(), message.sequence));
            }
            streams::DEAD if message.subject.starts_with("lastgood.dead.") => return self.bury(message),
            streams::ADVISORIES if message.subject.contains("MAX_DELIVERIES") => {
                return Err(format!("the server gave up on a message: {}", String::from_utf8_lossy(&message.data)));
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&self) -> Result<(), String> {
        match self.damaged.difference(&self.dead).next() {
            Some(message) => Err(format!("{message:?} can't be decoded and is no dead letter")),
            None => Ok(()),
        }
    }
}

impl OnlyTheUndecodable {
    fn bury(&mut self, message: &Message) -> Result<(), String> {
        let letter = DeadLetter::decode(message.data.clone()).map_err(|error| format!("an undecodable dead letter: {error}"))?;
        let original = (letter.stream.clone(), letter.sequence);
        if !self.damaged.contains(&original) {
            return Err(format!("{original:?} ({}) is a dead letter of {}: {}", letter.subject, letter.service, letter.reason));
        }
        if letter.reason.is_empty() {
            return Err(format!("{original:?} is a dead letter without a reason"));
        }
        self.dead.insert(original);
        Ok(())
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
        let given_up = forge::stored(streams::ADVISORIES, "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.X.y", b"{}");
        broken(OnlyTheUndecodable::default(), vec![given_up], "gave up");
    }
}
