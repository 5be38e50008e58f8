//! S1: an alert that was answered with 2xx is stored, and its occurrence has exactly one disposition.
//!
//! An occurrence begins with its disposition and ends with `occurrence_resolved`; a second disposition before that would be a second one of
//! the same occurrence. In the end the last occurrence of a fingerprint reaches to its last firing, and is over if that is.

use std::collections::{BTreeMap, BTreeSet};

use contracts::OccurrenceFact;
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
    /// By fingerprint: the last firing that was stored.
    firing: BTreeMap<String, Firing>,
    /// By fingerprint: when its end was last told, on the server's clock.
    ends: BTreeMap<String, Timestamp>,
    /// By fingerprint: the last occurrence.
    disposed: BTreeMap<String, Occurrence>,
}

/// The last firing of an alert by what was heard of it.
#[derive(Debug, Clone, Copy)]
struct Firing {
    starts_at: Timestamp,
    /// When that was told, on the server's clock, where it was detected by a replica of alert-ingest: each goes by its host's clock, so one's
    /// beginning may lie after another's end of the same firing.
    detected: Option<Timestamp>,
    /// Whether its end was heard as well.
    over: bool,
}

/// The last occurrence.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Occurrence {
    Open,
    Ended(Timestamp),
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
        self.firing.iter().try_for_each(|(fingerprint, firing)| match self.disposed.get(fingerprint) {
            None => Err(format!("{fingerprint} was stored as firing and has no disposition")),
            Some(Occurrence::Ended(at)) if *at < firing.starts_at && !self.ended_since(fingerprint, firing) => {
                Err(format!("{fingerprint} fired again at {}, after its end at {at}, and has no disposition", firing.starts_at))
            }
            Some(Occurrence::Open) if firing.over => {
                Err(format!("the end of {fingerprint}, which fired since {}, is not on its occurrence", firing.starts_at))
            }
            Some(_) => Ok(()),
        })
    }
}

impl Dispositions {
    /// Whether an end was told after a firing that a replica of alert-ingest detected.
    fn ended_since(&self, fingerprint: &str, firing: &Firing) -> bool {
        firing.detected.is_some_and(|at| self.ends.get(fingerprint).is_some_and(|end| at <= *end))
    }

    fn keep(&mut self, message: &Message) {
        let Ok(notification) = AlertNotification::decode(message.data.clone()) else { return };
        for alert in notification.alerts {
            let starts_at = contracts::time::from_proto(alert.starts_at.as_ref()).unwrap_or(message.at);
            let firing = alert.status() == AlertStatus::Firing;
            let detected = message.subject.ends_with(".rollout").then_some(message.at);
            let told = Firing { starts_at, detected, over: !firing };
            if !firing {
                self.ends.insert(alert.fingerprint.clone(), message.at);
            }
            let last = self.firing.entry(alert.fingerprint.clone()).or_insert(told);
            if starts_at > last.starts_at {
                *last = told;
            }
            last.over |= !firing && starts_at == last.starts_at;
            self.stored.insert((alert.fingerprint, firing, starts_at));
        }
    }

    fn dispose(&mut self, message: &Message) -> Result<(), String> {
        let fingerprint = message.subject.split('.').nth(2).unwrap_or_default().to_owned();
        if message.event_type() == "occurrence_repeated" {
            let known = self.disposed.contains_key(&fingerprint);
            return if known { Ok(()) } else { Err(format!("{} repeats what has no disposition", message.subject)) };
        }
        let resolved = message.event_type() == "occurrence_resolved";
        let open = self.disposed.get(&fingerprint) == Some(&Occurrence::Open);
        if open && !resolved {
            return Err(format!("{} is a second disposition of an occurrence that has not ended", message.subject));
        }
        if !self.disposed.contains_key(&fingerprint) && resolved {
            return Err(format!("{} ends an occurrence that has no disposition", message.subject));
        }
        let occurrence = match OccurrenceFact::decode(message.event_type(), &message.data) {
            Ok(OccurrenceFact::OccurrenceResolved(end)) => {
                Occurrence::Ended(contracts::time::from_proto(end.ends_at.as_ref()).unwrap_or(Timestamp::MIN))
            }
            Ok(_) => Occurrence::Open,
            Err(error) => return Err(format!("{} does not decode: {error}", message.subject)),
        };
        self.disposed.insert(fingerprint, occurrence);
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
        let over = vec![alert(), occurrence("occurrence_opened"), occurrence("occurrence_resolved")];
        broken(Dispositions::default(), over.clone(), "fired again");
        holds(Dispositions::default(), [over, vec![occurrence("occurrence_joined")]].concat());
        let ended = vec![alert(), occurrence("occurrence_opened"), forge::alert("f1", false)];
        broken(Dispositions::default(), ended, "is not on its occurrence");
        broken(Dispositions::default(), vec![heard(true)], "is not stored");
        broken(Dispositions::default(), vec![alert(), heard(true)], "no disposition");
        let twice = vec![alert(), occurrence("occurrence_opened"), occurrence("occurrence_joined")];
        broken(Dispositions::default(), twice, "second disposition");
        broken(Dispositions::default(), vec![occurrence("occurrence_resolved")], "ends an occurrence");
        broken(Dispositions::default(), vec![occurrence("occurrence_repeated")], "repeats what has no disposition");
    }
}
