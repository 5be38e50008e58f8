//! S1: an alert that was answered with 2xx is stored, and its occurrence has exactly one disposition.
//!
//! An occurrence begins with its disposition and ends with `occurrence_resolved`; a second disposition before that would be a second one of
//! the same occurrence.

use std::collections::{BTreeMap, BTreeSet};

use contracts::subjects::streams;
use contracts::v1::{AlertNotification, AlertStatus};
use jiff::Timestamp;
use prost::Message as _;

use super::Invariant;
use crate::world::history::{Event, Message, What};

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Dispositions {
    /// What the stream of alerts holds: fingerprint, whether it fires, since when.
    stored: BTreeSet<(String, bool, Timestamp)>,
    /// By fingerprint: the first time that a firing was stored, and of the last disposition whether it is still open.
    firing: BTreeMap<String, Timestamp>,
    disposed: BTreeMap<String, bool>,
}

impl Invariant for Dispositions {
    fn name(&self) -> &'static str {
        "S1 one disposition for every accepted alert"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        match &event.what {
            What::Stored(message) if message.stream == streams::ALERTS => self.keep(message),
            What::Stored(message) if message.subject.starts_with("lastgood.occurrence.") => return self.dispose(message),
            What::Heard(heard) => {
                let key = (heard.fingerprint.clone(), heard.firing, heard.starts_at);
                if !self.stored.contains(&key) {
                    return Err(format!("{key:?} was answered with 2xx and is not stored"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&self) -> Result<(), String> {
        match self.firing.keys().find(|fingerprint| !self.disposed.contains_key(*fingerprint)) {
            Some(fingerprint) => Err(format!("{fingerprint} was stored as firing and has no disposition")),
            None => Ok(()),
        }
    }
}

impl Dispositions {
    fn keep(&mut self, message: &Message) {
        let Ok(notification) = AlertNotification::decode(message.data.clone()) else { return };
        for alert in notification.alerts {
            let starts_at = contracts::time::from_proto(alert.starts_at.as_ref()).unwrap_or(message.at);
            let firing = alert.status() == AlertStatus::Firing;
            if firing {
                self.firing.entry(alert.fingerprint.clone()).or_insert(message.at);
            }
            self.stored.insert((alert.fingerprint, firing, starts_at));
        }
    }

    fn dispose(&mut self, message: &Message) -> Result<(), String> {
        let fingerprint = message.subject.split('.').nth(2).unwrap_or_default().to_owned();
        let resolved = message.event_type() == "occurrence_resolved";
        let open = self.disposed.get(&fingerprint).copied().unwrap_or_default();
        if open && !resolved {
            return Err(format!("{} is a second disposition of an occurrence that has not ended", message.subject));
        }
        if !self.disposed.contains_key(&fingerprint) && resolved {
            return Err(format!("{} ends an occurrence that has no disposition", message.subject));
        }
        self.disposed.insert(fingerprint, !resolved);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::forge::{self, broken, holds};
    use crate::world::history::Heard;

    fn heard(firing: bool) -> What {
        What::Heard(Heard { fingerprint: "f1".into(), firing, starts_at: forge::at(0) })
    }

    fn occurrence(word: &str) -> What {
        forge::stored(streams::INCIDENTS, &format!("lastgood.occurrence.f1.{word}"), &[])
    }

    #[test]
    fn it_can_fail() {
        let alert = || forge::alert("f1", true);
        holds(Dispositions::default(), vec![alert(), heard(true), occurrence("occurrence_opened")]);
        let again =
            vec![alert(), occurrence("occurrence_opened"), occurrence("occurrence_resolved"), occurrence("occurrence_joined")];
        holds(Dispositions::default(), again);
        broken(Dispositions::default(), vec![heard(true)], "is not stored");
        broken(Dispositions::default(), vec![alert(), heard(true)], "no disposition");
        let twice = vec![alert(), occurrence("occurrence_opened"), occurrence("occurrence_joined")];
        broken(Dispositions::default(), twice, "second disposition");
        broken(Dispositions::default(), vec![occurrence("occurrence_resolved")], "ends an occurrence");
    }
}
