//! Incidents as the log has them, folded by the core's own `evolve`.
//!
//! Must not: judge.

use std::collections::BTreeMap;

use contracts::{Fact, IncidentId, IncidentSubject};
use lastgood_core::incident::{Incident, Recorded, evolve};

use super::fact;
use crate::world::history::{Event, What};

/// One incident.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) subject: IncidentSubject,
    pub(super) incident: Incident,
    /// The number of the event that stored its plan.
    pub(super) planned: Option<usize>,
    /// The number of the event that stored that traffic has shifted.
    pub(super) shifted: Option<usize>,
    /// The number of the event that stored that it is verified.
    pub(super) mitigated: Option<usize>,
}

/// All incidents.
#[derive(Debug, Default)]
pub(super) struct Incidents {
    pub(super) all: BTreeMap<IncidentId, Known>,
}

impl Incidents {
    /// Folds an event; answers with the fact that it stored, if it did.
    pub(super) fn see(&mut self, event: &Event) -> Option<(IncidentSubject, Fact)> {
        let What::Stored(message) = &event.what else { return None };
        let (subject, fact) = fact(message)?;
        let known = self.all.entry(subject.incident).or_insert_with(|| Known {
            subject: subject.clone(),
            incident: Incident::default(),
            planned: None,
            shifted: None,
            mitigated: None,
        });
        match &fact {
            Fact::RollbackPlanned(_) => known.planned = Some(event.number),
            Fact::Mitigated(_) => known.mitigated = Some(event.number),
            Fact::TrafficShifted(_) => known.shifted = Some(event.number),
            _ => {}
        }
        let recorded = Recorded { sequence: message.sequence, at: message.at, fact: fact.clone() };
        known.incident = evolve(std::mem::take(&mut known.incident), &recorded);
        Some((subject, fact))
    }

    /// The incident of this id, as annotations write it.
    pub(super) fn named(&self, id: &str) -> Option<&Known> {
        self.all.get(&id.parse().ok()?)
    }
}
