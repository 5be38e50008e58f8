//! Occurrences: one continuous firing of one alert, and what a notification about it means.
//!
//! Guarantees: an occurrence that has its disposition never gets another; a firing that began before the last one ended is a repeat,
//! whatever its `startsAt` says by then (it can move), and so is the very firing that ended; an end from before an occurrence began is not
//! its end. Must not: read or write; the last fact about a fingerprint is all it needs, and the disposition before it where that is an end.

use contracts::{IncidentId, IncidentSubject, OccurrenceFact, v1};
use jiff::{SignedDuration, Timestamp};

/// A firing that was heard this long after the alert's end still says that it fires; anything earlier was under way when it ended.
const STRAGGLERS: SignedDuration = SignedDuration::from_mins(2);

/// The type of the fact that says no more than that an alert was heard to fire on: it changes the age of what is known.
pub const REPEATED: &str = "occurrence_repeated";

/// Where an occurrence went.
#[derive(Debug, Clone, PartialEq)]
pub enum Disposition {
    /// It belongs to this incident, as its opener or not.
    Incident(IncidentSubject),
    /// It was dismissed.
    Dismissed,
}

/// What is known of a fingerprint.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// Where its last occurrence went.
    pub disposition: Option<Disposition>,
    /// When that began, as it was told then.
    pub began_at: Option<Timestamp>,
    /// When its disposition was stored.
    pub disposed_at: Option<Timestamp>,
    /// When that ended; `None` while it fires.
    pub ended_at: Option<Timestamp>,
    /// The sequence of the last fact: what an append expects.
    pub sequence: u64,
    /// The sequence of that disposition.
    pub disposed_as: u64,
    /// When the last fact was stored.
    pub told_at: Option<Timestamp>,
}

impl Known {
    /// With one more fact, which the stream stored as this one then.
    #[must_use]
    pub fn with(self, sequence: u64, at: Timestamp, fact: &OccurrenceFact) -> Self {
        let began_at = match fact {
            OccurrenceFact::OccurrenceOpened(f) => f.starts_at.as_ref(),
            OccurrenceFact::OccurrenceJoined(f) => f.starts_at.as_ref(),
            OccurrenceFact::OccurrenceDismissed(f) => f.starts_at.as_ref(),
            OccurrenceFact::OccurrenceResolved(_) | OccurrenceFact::OccurrenceRepeated(_) => None,
        };
        let began_at = contracts::time::from_proto(began_at);
        let told_at = Some(at);
        let to = |disposition| Self {
            disposition,
            began_at,
            disposed_at: told_at,
            ended_at: None,
            sequence,
            disposed_as: sequence,
            told_at,
        };
        match fact {
            OccurrenceFact::OccurrenceOpened(f) => to(incident(&f.workload_subject, &f.incident)),
            OccurrenceFact::OccurrenceJoined(f) => to(incident(&f.workload_subject, &f.incident)),
            OccurrenceFact::OccurrenceDismissed(_) => to(Some(Disposition::Dismissed)),
            OccurrenceFact::OccurrenceResolved(f) => {
                let ended_at = contracts::time::from_proto(f.ends_at.as_ref()).unwrap_or(Timestamp::MIN);
                Self { ended_at: Some(ended_at), sequence, told_at, ..self }
            }
            OccurrenceFact::OccurrenceRepeated(_) => Self { sequence, told_at, ..self },
        }
    }
}

/// Whether an alert that is heard to fire on has to be noted: what is last known of it is so old that it would soon be forgotten, and the
/// alert's next repeat would get a second disposition. Nothing that is heard at least every `forgotten_after / 2` ever is.
#[must_use]
pub fn is_stale(known: &Known, heard_at: Timestamp, forgotten_after: SignedDuration) -> bool {
    known.told_at.is_some_and(|told_at| heard_at.duration_since(told_at) > forgotten_after / 2)
}

/// The incident that an occurrence fact names by its workload's path and its id.
fn incident(path: &str, id: &str) -> Option<Disposition> {
    let id: IncidentId = id.parse().ok()?;
    let (subject, _) = IncidentSubject::parse(&format!("lastgood.incident.{path}.{id}.any")).ok()?;
    Some(Disposition::Incident(subject))
}

/// What one alert of a notification means.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    /// A firing that nobody has seen: it needs its disposition.
    New,
    /// What was dismissed fires in a firing that began since: the old one's end was never told (an alert that is silenced as it resolves),
    /// and the new one needs a disposition of its own.
    Anew,
    /// It fires on; its incident may want to know.
    Repeat(Option<IncidentSubject>),
    /// It has ended.
    Ended(Option<IncidentSubject>, Timestamp),
    /// It had ended before it was ever looked at: dismissed, and ended.
    EndedUnseen(Timestamp),
    /// Known already.
    Nothing,
}

/// What this alert means, given what is known of its fingerprint. `heard_at` is when the notification was stored.
#[must_use]
pub fn meaning(known: &Known, alert: &v1::Alert, heard_at: Timestamp) -> Meaning {
    let starts_at = contracts::time::from_proto(alert.starts_at.as_ref()).unwrap_or(heard_at);
    let incident = || match &known.disposition {
        Some(Disposition::Incident(subject)) => Some(subject.clone()),
        _ => None,
    };
    // Whatever a clock that is behind said of its end.
    let is_same = known.began_at == Some(starts_at);
    if alert.status() == v1::AlertStatus::Resolved {
        let ends_at = contracts::time::from_proto(alert.ends_at.as_ref()).unwrap_or(heard_at);
        return match (&known.disposition, known.ended_at) {
            // An earlier firing's end, told late.
            (Some(_), None) if known.began_at.is_some_and(|began_at| starts_at.max(ends_at) < began_at) => Meaning::Nothing,
            (Some(_), None) => Meaning::Ended(incident(), ends_at),
            (Some(_), Some(ended_at)) if starts_at <= ended_at || is_same => Meaning::Nothing,
            _ => Meaning::EndedUnseen(ends_at),
        };
    }
    match (&known.disposition, known.ended_at) {
        (None, _) => Meaning::New,
        (Some(_), Some(ended_at)) if starts_at > ended_at && !is_same => Meaning::New,
        (Some(_), Some(ended_at)) if heard_at.duration_since(ended_at) < STRAGGLERS => Meaning::Nothing,
        // Both, since clocks differ: what goes on began when it was told to have begun, and before it was disposed of.
        (Some(Disposition::Dismissed), None)
            if [known.began_at, known.disposed_at].into_iter().all(|before| before.is_some_and(|before| starts_at > before)) =>
        {
            Meaning::Anew
        }
        (Some(_), _) => Meaning::Repeat(incident()),
    }
}

/// An alert as incidents record it.
#[must_use]
pub fn occurrence(source: &str, alert: &v1::Alert) -> v1::Occurrence {
    v1::Occurrence {
        fingerprint: alert.fingerprint.clone(),
        starts_at: alert.starts_at,
        source: source.to_owned(),
        alert_name: alert.labels.get("alertname").cloned().unwrap_or_default(),
        labels: alert.labels.clone(),
        annotations: alert.annotations.clone(),
        generator_url: alert.generator_url.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    #[expect(clippy::unnecessary_wraps, reason = "protobuf fields are options")]
    fn proto(minute: i64) -> Option<prost_types::Timestamp> {
        Some(contracts::time::to_proto(at(minute)))
    }

    fn firing(minute: i64) -> v1::Alert {
        v1::Alert { status: v1::AlertStatus::Firing.into(), starts_at: proto(minute), ..v1::Alert::default() }
    }

    fn resolved(from: i64, to: i64) -> v1::Alert {
        v1::Alert { status: v1::AlertStatus::Resolved.into(), ends_at: proto(to), ..firing(from) }
    }

    const ID: &str = "inc_0000000000000000000000000000002a";

    fn opened() -> OccurrenceFact {
        v1::OccurrenceOpened { incident: ID.into(), workload_subject: "eu.shop.deployment.web".into(), starts_at: proto(0) }
            .into()
    }

    fn ended(minute: i64) -> OccurrenceFact {
        v1::OccurrenceResolved { ends_at: proto(minute) }.into()
    }

    fn fold(facts: &[OccurrenceFact]) -> Known {
        (1..).zip(facts).fold(Known::default(), |known, (sequence, fact)| known.with(sequence, at(1), fact))
    }

    fn kind(known: &Known, alert: &v1::Alert, heard: i64) -> &'static str {
        match meaning(known, alert, at(heard)) {
            Meaning::New => "new",
            Meaning::Anew => "anew",
            Meaning::Repeat(Some(subject)) if subject.incident.to_string() == ID && subject.workload.name == "web" => "repeat",
            Meaning::Repeat(_) => "repeat of nothing",
            Meaning::Ended(Some(_), _) => "ended",
            Meaning::Ended(None, _) => "ended, dismissed before",
            Meaning::EndedUnseen(_) => "unseen",
            Meaning::Nothing => "nothing",
        }
    }

    #[test]
    fn a_notification_means_what_the_facts_before_it_make_of_it() {
        let dismissed = || OccurrenceFact::from(v1::OccurrenceDismissed { starts_at: proto(0), ..Default::default() });
        let (none, open, over) = (Known::default(), fold(&[opened()]), fold(&[opened(), ended(10)]));
        let told_early = fold(&[opened(), ended(-1)]);
        for (known, alert, heard, expected) in [
            (&none, firing(0), 1, "new"),
            (&none, resolved(0, 5), 6, "unseen"),
            (&open, firing(0), 30, "repeat"),
            (&open, firing(7), 30, "repeat"),
            (&open, resolved(0, 10), 11, "ended"),
            (&open, resolved(-10, 10), 11, "ended"),
            (&open, resolved(0, -5), 11, "ended"),
            (&open, resolved(-10, -5), 11, "nothing"),
            (&over, resolved(0, 10), 12, "nothing"),
            (&over, firing(0), 11, "nothing"),
            (&over, firing(0), 30, "repeat"),
            (&over, firing(11), 12, "new"),
            (&told_early, firing(0), 0, "nothing"),
            (&told_early, firing(0), 9, "repeat"),
            (&told_early, resolved(0, 9), 10, "nothing"),
            (&told_early, firing(1), 2, "new"),
            (&told_early, resolved(1, 9), 10, "unseen"),
            (&over, resolved(11, 15), 16, "unseen"),
            (&fold(&[dismissed()]), firing(0), 9, "repeat of nothing"),
            (&fold(&[dismissed()]), firing(1), 9, "repeat of nothing"),
            (&fold(&[dismissed()]), firing(3), 9, "anew"),
            (&fold(&[OccurrenceFact::from(v1::OccurrenceDismissed::default())]), firing(3), 9, "repeat of nothing"),
            (&fold(&[dismissed()]), resolved(0, 3), 9, "ended, dismissed before"),
            (&fold(&[dismissed(), ended(3)]), firing(4), 9, "new"),
        ] {
            assert_eq!(kind(known, &alert, heard), expected, "{known:?} {alert:?}");
        }
    }

    #[test]
    fn a_repeat_that_was_noted_changes_nothing_but_what_is_fresh() {
        let repeated = || OccurrenceFact::from(v1::OccurrenceRepeated::default());
        for before in [vec![opened()], vec![opened(), ended(10)]] {
            let known = fold(&before);
            let with = known.clone().with(9, at(100), &repeated());
            assert_eq!(with, Known { sequence: 9, told_at: Some(at(100)), ..known });
        }
        let (known, limit) = (fold(&[opened()]), SignedDuration::from_mins(60));
        let stale = |minute| is_stale(&known, at(minute), limit);
        assert_eq!([stale(1), stale(31), stale(32)], [false, false, true]);
        assert!(!is_stale(&Known::default(), at(100), limit), "of what was never heard nothing is old");
    }

    #[test]
    fn the_sequence_is_the_last_facts() {
        assert_eq!(fold(&[opened(), ended(1)]).sequence, 2);
    }
}
