//! The kills, made of the undisturbed runs' logs: each service, right before and right after each append.
//!
//! Guarantees: an append is known again by its writer, one of its event types and its number; with `LASTGOOD_DEPTH=deep` every service is killed
//! on both sides of all appends of all ways (of the ledger's, the first of each kind), otherwise the writer on both sides of each (service,
//! event type), and one of the others, in turn, on one side. Must not: name an event type by hand.

use std::collections::{BTreeMap, BTreeSet};

use testbed::journal::Entry;
use testbed::proxy::nats::{Moment, Trap, event_type};
use testbed::world::SERVICES;

use super::courses::Course;

/// One append of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Who wrote it.
    pub service: String,
    /// The event types in it.
    pub events: Vec<String>,
    /// The one that it is known by.
    pub event: String,
    /// Which of the service's appends with that one, from 1.
    pub nth: u32,
}

impl Append {
    fn of_ledger(&self) -> bool {
        contracts::LedgerFact::EVENT_TYPES.contains(&self.event.as_str())
    }
}

/// One kill.
#[derive(Clone)]
pub struct Kill {
    /// The way in which it happens.
    pub course: Course,
    /// At which append.
    pub append: Append,
    /// On which side of it.
    pub moment: Moment,
    /// Who is killed: the one who wrote it, or one who may wait for it, or be busy with what came before.
    pub victim: String,
}

impl Kill {
    /// Whether the append's own writer is killed.
    #[must_use]
    pub fn is_of_writer(&self) -> bool {
        self.victim == self.append.service
    }

    /// Its name in the test's output.
    #[must_use]
    pub fn name(&self) -> String {
        let Append { service, event, nth, .. } = &self.append;
        let nth = if *nth == 1 { String::new() } else { format!("#{nth}") };
        let moment = if self.moment == Moment::Before { "before" } else { "after" };
        let other = if self.is_of_writer() { String::new() } else { format!("::{}", self.victim) };
        format!("{}::{service}::{event}{nth}::{moment}{other}", self.course.name)
    }

    /// What to tell the proxy.
    #[must_use]
    pub fn trap(&self) -> Trap {
        Trap { event_type: self.append.event.clone(), nth: self.append.nth, moment: self.moment }
    }
}

/// The appends of a run, from its log.
#[must_use]
pub fn appends(log: &[Entry]) -> Vec<Append> {
    let mut found: Vec<(Option<&str>, Append)> = Vec::new();
    // What people write by the command line is no service's.
    for entry in log.iter().filter(|entry| SERVICES.contains(&entry.source.as_str())) {
        let Some(event) = event_type(&entry.subject) else { continue };
        let batch = entry.batch.as_deref();
        if let Some((_, append)) = found.iter_mut().find(|(known, _)| known.is_some() && *known == batch) {
            append.events.push(event.to_owned());
        } else {
            let events = vec![event.to_owned()];
            found.push((batch, Append { service: entry.source.clone(), events, event: event.to_owned(), nth: 0 }));
        }
    }
    let mut counts: BTreeMap<(String, String), u32> = BTreeMap::new();
    let numbered = found.into_iter().map(|(_, mut append)| {
        for event in append.events.iter().collect::<BTreeSet<_>>() {
            *counts.entry((append.service.clone(), event.clone())).or_default() += 1;
        }
        append.nth = counts[&(append.service.clone(), append.event.clone())];
        append
    });
    numbered.collect()
}

/// The kills of these runs; `covered` gets every (service, event type) that one of them hits.
#[must_use]
pub fn kills(runs: &[(Course, Vec<Append>)], deep: bool) -> (Vec<Kill>, BTreeSet<(String, String)>) {
    let mut covered = BTreeSet::new();
    let mut kills = Vec::new();
    let both = [Moment::Before, Moment::After];
    for (course, appends) in runs {
        // What the ledger's watch sees in one look, and so appends at once, differs from run to run: only its first ones are sure to come.
        for append in appends.iter().filter(|append| append.nth == 1 || !append.of_ledger()) {
            let keys: BTreeSet<_> = append.events.iter().map(|event| (append.service.clone(), event.clone())).collect();
            if deep || !keys.is_subset(&covered) {
                let kill =
                    |victim: &str, moment| Kill { course: *course, append: append.clone(), moment, victim: victim.to_owned() };
                kills.extend(both.map(|moment| kill(&append.service, moment)));
                let others: Vec<_> = SERVICES.into_iter().filter(|service| *service != append.service).collect();
                let turn = kills.len() / 3;
                if deep {
                    kills.extend(others.iter().flat_map(|other| both.map(|moment| kill(other, moment))));
                } else {
                    kills.push(kill(others[turn % others.len()], both[turn / others.len() % 2]));
                }
            }
            covered.extend(keys);
        }
    }
    (kills, covered)
}
