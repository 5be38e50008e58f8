//! What may leave the log, as pure questions (`runbooks/decisions/0008`).
//!
//! Guarantees: an incident stays while it is open, young, its workload's newest, while it has its workload's last word, while a consumer
//! may still need a message of it, and while an occurrence's last disposition names it. So nothing that is on the log refers to
//! anything that is not, and no workload's last sequence ever changes by archiving. Must not: read anything.

use chassis::bus::ConsumerState;
use contracts::{IncidentSubject, OccurrenceFact};
use jiff::{SignedDuration, Timestamp};
use lastgood_core::incident::Incident;

use crate::config::Settings;
use crate::occurrences::{Disposition, Known};

/// How long what stays, from when, on the server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What ended before this may go.
    pub ended_before: Timestamp,
    /// An alert that was last heard of before this, and never of its end, counts as ended.
    pub unresolved_before: Timestamp,
}

impl Limits {
    /// The limits at this time.
    #[must_use]
    pub fn at(now: Timestamp, settings: &Settings) -> Self {
        let before = |length: std::time::Duration| {
            let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
            now.checked_sub(length).unwrap_or(Timestamp::MIN)
        };
        let archive = &settings.archive;
        Self { ended_before: before(archive.after), unresolved_before: before(archive.unresolved_after.max(archive.after)) }
    }
}

/// Why an incident stays on the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stays {
    /// It is not closed, or not for long enough.
    Young,
    /// It is its workload's newest: whatever runs now may be what it restored.
    Newest,
    /// The last fact of its workload is one of its own: appends expect it.
    LastWord,
    /// This consumer may not have handled all of it.
    Unhandled(String),
    /// This fingerprint's last disposition names it.
    Occurrence(String),
    /// Its opening is not there, nor archived: nothing is known of it.
    Headless,
    /// A newer binary has written on it, or it is damaged.
    Unreadable,
}

impl Stays {
    /// For the metric's label.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Young => "young",
            Self::Newest => "newest",
            Self::LastWord => "last_word",
            Self::Unhandled(_) => "unhandled",
            Self::Occurrence(_) => "occurrence",
            Self::Headless => "headless",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Whether an incident has been closed for long enough, by its fold.
#[must_use]
pub fn is_old(incident: &Incident, limits: &Limits) -> bool {
    incident.opened.is_some() && incident.closed.as_ref().is_some_and(|closed| closed.at < limits.ended_before)
}

/// Whether this incident is among those that its workload's decisions and appends rest on: the incident of its newest opening, and the one
/// that has the last word.
#[must_use]
pub fn needed(incident: &IncidentSubject, newest: Option<&IncidentSubject>, last: Option<&IncidentSubject>) -> Option<Stays> {
    let is = |other: Option<&IncidentSubject>| other.is_some_and(|other| other.incident == incident.incident);
    if is(newest) {
        return Some(Stays::Newest);
    }
    // A workload without a newest incident was archived by hand, or lost a part of its log: no more of it goes.
    (is(last) || newest.is_none()).then_some(Stays::LastWord)
}

/// The consumer that may not have handled one of these messages (subject and sequence).
#[must_use]
pub fn unhandled(consumers: &[ConsumerState], messages: &[(&str, u64)]) -> Option<Stays> {
    let needs = |consumer: &&ConsumerState| messages.iter().any(|(subject, sequence)| consumer.may_need(subject, *sequence));
    consumers.iter().find(needs).map(|consumer| Stays::Unhandled(consumer.name.clone()))
}

/// All fingerprints that an incident knows.
#[must_use]
pub fn fingerprints(incident: &Incident) -> Vec<String> {
    let trigger = incident.opened.iter().map(|opened| opened.trigger.fingerprint.clone());
    let mut all: Vec<_> = trigger.chain(incident.joined.keys().cloned()).collect();
    all.sort();
    all.dedup();
    all
}

/// Whether a fingerprint's last disposition names this incident.
#[must_use]
pub fn names(known: &Known, incident: &IncidentSubject) -> bool {
    matches!(&known.disposition, Some(Disposition::Incident(subject)) if subject.incident == incident.incident)
}

/// What follows a fact about a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// Nothing: it is the last one.
    Nothing,
    /// The last one says that the alert fires on.
    Repeat,
    /// The last one is of another kind.
    Other,
}

/// Whether everything about a fingerprint up to this fact may go. `heard_before`: every notification that was stored before this has been
/// handled.
#[must_use]
pub fn may_forget(fact: &OccurrenceFact, at: Timestamp, follows: Follows, limits: &Limits, heard_before: Timestamp) -> bool {
    let handled = at < heard_before;
    match fact {
        // A notification from before the end would otherwise look like a new firing; and so would a repeat of what fires on, though
        // somebody saw its end.
        OccurrenceFact::OccurrenceResolved(_) => handled && follows != Follows::Repeat && at < limits.ended_before,
        _ => handled && follows == Follows::Nothing && at < limits.unresolved_before,
    }
}

/// Whether this repeat, and those before it, may go and leave the rest: a later one says the same.
#[must_use]
pub fn is_superseded(fact: &OccurrenceFact, at: Timestamp, follows: Follows, limits: &Limits) -> bool {
    matches!(fact, OccurrenceFact::OccurrenceRepeated(_)) && follows == Follows::Repeat && at < limits.ended_before
}

#[cfg(test)]
mod tests {
    use contracts::v1;
    use lastgood_core::incident::{Closed, Opened};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn subject(last: u8) -> IncidentSubject {
        let path = format!("lastgood.incident.eu.shop.deployment.web.inc_{last:032x}.any");
        IncidentSubject::parse(&path).unwrap().0
    }

    fn limits() -> Limits {
        Limits { ended_before: at(100), unresolved_before: at(50) }
    }

    #[test]
    fn only_what_has_been_closed_for_long_is_old() {
        let opened = Opened {
            at: at(0),
            trigger: v1::Occurrence::default(),
            workload_uid: String::new(),
            deadlines: v1::Deadlines::default(),
            requested: None,
        };
        let closed = |second| Closed { at: at(second), outcome: v1::Outcome::Completed, reason: "completed".into() };
        let incident = |closed| Incident { opened: Some(opened.clone()), closed, ..Incident::default() };
        assert!(is_old(&incident(Some(closed(99))), &limits()));
        assert!(!is_old(&incident(Some(closed(100))), &limits()));
        assert!(!is_old(&incident(None), &limits()), "an open incident");
        assert!(!is_old(&Incident { closed: Some(closed(1)), ..Incident::default() }, &limits()), "one without its opening");
    }

    #[test]
    fn the_newest_and_the_one_with_the_last_word_stay() {
        let (old, late, new) = (subject(1), subject(2), subject(3));
        assert_eq!(needed(&old, Some(&new), Some(&late)), None);
        assert_eq!(needed(&late, Some(&new), Some(&late)), Some(Stays::LastWord));
        assert_eq!(needed(&new, Some(&new), Some(&late)), Some(Stays::Newest));
        assert_eq!(needed(&old, None, Some(&late)), Some(Stays::LastWord));
    }

    #[test]
    fn what_a_consumer_may_need_stays() {
        let consumer = ConsumerState { name: "notifier".into(), filters: vec!["a.>".into()], floor: 5, idle: false };
        assert_eq!(unhandled(std::slice::from_ref(&consumer), &[("a.b", 4), ("a.b", 5)]), None);
        assert_eq!(unhandled(&[consumer], &[("a.b", 4), ("a.b", 6)]), Some(Stays::Unhandled("notifier".into())));
    }

    #[test]
    fn an_occurrence_goes_once_its_end_is_old_and_everything_before_it_was_heard() {
        let ended = OccurrenceFact::from(v1::OccurrenceResolved::default());
        let opened = OccurrenceFact::from(v1::OccurrenceOpened::default());
        let dismissed = OccurrenceFact::from(v1::OccurrenceDismissed::default());
        let repeated = OccurrenceFact::from(v1::OccurrenceRepeated::default());
        for (fact, second, follows, heard, expected) in [
            (&ended, 99, Follows::Nothing, 1000, true),
            (&ended, 99, Follows::Other, 1000, true),
            (&ended, 99, Follows::Repeat, 1000, false),
            (&ended, 100, Follows::Nothing, 1000, false),
            (&ended, 99, Follows::Nothing, 99, false),
            (&opened, 99, Follows::Nothing, 1000, false),
            (&opened, 49, Follows::Nothing, 1000, true),
            (&opened, 49, Follows::Other, 1000, false),
            (&opened, 49, Follows::Repeat, 1000, false),
            (&repeated, 49, Follows::Nothing, 1000, true),
            (&repeated, 49, Follows::Repeat, 1000, false),
            (&repeated, 99, Follows::Nothing, 1000, false),
            (&dismissed, 49, Follows::Nothing, 1000, true),
            (&dismissed, 49, Follows::Nothing, 40, false),
        ] {
            let forgotten = may_forget(fact, at(second), follows, &limits(), at(heard));
            assert_eq!(forgotten, expected, "{fact:?} {second} {follows:?} {heard}");
        }
        let superseded = |fact, second, follows| is_superseded(fact, at(second), follows, &limits());
        assert!(superseded(&repeated, 99, Follows::Repeat));
        assert!(!superseded(&repeated, 100, Follows::Repeat) && !superseded(&repeated, 99, Follows::Nothing));
        assert!(!superseded(&opened, 1, Follows::Repeat), "the disposition stays");
    }
}
