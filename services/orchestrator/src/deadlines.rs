//! Timers: sets those that an incident's facts call for, and says what passed when one fires.
//!
//! Guarantees: a fact is acknowledged only after the timers that it calls for are stored, so none is missing after a crash; setting one
//! twice is harmless (it replaces itself, and one that had fired is refused by core the second time); a deadline that comes back after its
//! timer has fired for nothing is set again; what waited is not let begin in a freeze window. Time is the stream's. Must not: decide what a passed deadline means; core does.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use chassis::bus::{Delivery, HandleError, Handler};
use chassis::incidents::ExecuteError;
use contracts::v1::{OnTimeout, Outcome};
use contracts::{DeadlineKind, Fact, IncidentId, IncidentSubject};
use jiff::Timestamp;
use lastgood_core::incident::{Command, Incident, Refusal, ends_wait, pending_deadlines};

use crate::decision::Engine;
use crate::occurrences::{Disposition, Known};

/// Facts after which an incident's pending deadlines are never others than before: no need to look.
const QUIET: [&str; 6] = [
    "notifications_routed",
    "bad_pods_scaled_down",
    "previous_version_deployed",
    "pods_ready",
    "smoke_test_finished",
    "status_updated",
];

/// Handles all incident facts: sets timers, counts ends, ends occurrences that others saw end.
pub struct Schedule {
    engine: Engine,
    set: Mutex<HashMap<IncidentId, HashMap<DeadlineKind, Timestamp>>>,
}

impl Schedule {
    /// With this engine.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine, set: Mutex::default() }
    }

    fn is_set(&self, incident: IncidentId, kind: DeadlineKind, at: Timestamp) -> bool {
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        set.get(&incident).and_then(|kinds| kinds.get(&kind)) == Some(&at)
    }

    /// Whether an alert that joined can bring a deadline back: a page that nobody needed to acknowledge any more needs somebody again. Not in
    /// an incident of which only deadlines from before its end are known to be set: alerts join it by the thousand.
    fn may_return(&self, incident: IncidentId) -> bool {
        let of_its_end = [DeadlineKind::Notify, DeadlineKind::Acknowledge, DeadlineKind::Escalate];
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        set.get(&incident).is_none_or(|kinds| of_its_end.iter().any(|kind| kinds.contains_key(kind)))
    }

    fn note(&self, incident: IncidentId, kind: DeadlineKind, at: Timestamp) {
        self.set.lock().unwrap_or_else(PoisonError::into_inner).entry(incident).or_default().insert(kind, at);
    }

    fn forget(&self, incident: IncidentId) {
        self.set.lock().unwrap_or_else(PoisonError::into_inner).remove(&incident);
    }
}

#[async_trait]
impl Handler for Schedule {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        // Each fact passes here, so a damaged one is found, and told of, also where no other service looks at it.
        delivery.fact()?;
        let (subject, event_type) = delivery.incident()?;
        if QUIET.contains(&event_type) {
            return Ok(());
        }
        if event_type == "alert_resolved" {
            // It only ever takes a deadline away; what it implies is a fact of its own, and an incident may have thousands of these.
            return self.engine.end_occurrence(delivery).await;
        }
        if event_type == "incident_closed" {
            count_end(delivery)?;
            self.forget(subject.incident);
            self.engine.bus.cancel_timers(&subject).await?;
            return Ok(());
        }
        if event_type == "alert_joined" && !self.may_return(subject.incident) {
            return Ok(());
        }
        let loaded = self.engine.load_or_give_up(&subject, Some(delivery.sequence())).await?;
        for (kind, at) in pending_deadlines(&loaded.incident) {
            // The timer of one that is due may have fired while it was not pending.
            if at <= delivery.stored.at || !self.is_set(subject.incident, kind, at) {
                self.engine.bus.schedule(&subject, kind, at).await?;
                self.note(subject.incident, kind, at);
            }
        }
        Ok(())
    }
}

fn count_end(delivery: &Delivery) -> Result<(), HandleError> {
    if let (subject, Fact::IncidentClosed(closed)) = delivery.fact()? {
        let outcome = Outcome::try_from(closed.outcome).unwrap_or(Outcome::Unspecified);
        let name = outcome.as_str_name().trim_start_matches("OUTCOME_").to_ascii_lowercase();
        tracing::info!(incident = %subject, outcome = name, reason = closed.reason, "incident closed");
        metrics::counter!("lastgood_incidents_closed_total", "outcome" => name, "reason" => closed.reason).increment(1);
    }
    Ok(())
}

impl Engine {
    /// An alert that somebody else (the verifier, by Prometheus) saw end has ended as an occurrence too; its next firing is a new one.
    async fn end_occurrence(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let (subject, Fact::AlertResolved(resolved)) = delivery.fact()? else { return Ok(()) };
        let known = self.known(&resolved.fingerprint).await?;
        if !fires_for(&known, subject.incident, delivery.sequence()) {
            return Ok(());
        }
        let ends_at = resolved.ends_at.or_else(|| Some(contracts::time::to_proto(delivery.stored.at)));
        let fact = contracts::v1::OccurrenceResolved { ends_at }.into();
        let events = vec![chassis::bus::NewEvent::occurrence(self.bus.ids().event(), &resolved.fingerprint, &fact)];
        let filter = contracts::subjects::occurrence_filter(&resolved.fingerprint);
        self.bus.append(vec![chassis::bus::Group { filter, expected: known.sequence, events }]).await?;
        Ok(())
    }
}

/// Whether the occurrence that ended with the fact of this sequence is still held to fire; one that began since is another.
fn fires_for(known: &Known, incident: IncidentId, ended_by: u64) -> bool {
    known.ended_at.is_none()
        && known.disposed_as < ended_by
        && matches!(&known.disposition, Some(Disposition::Incident(subject)) if subject.incident == incident)
}

/// Handles fired timers.
pub struct Fired {
    engine: Engine,
}

impl Fired {
    /// With this engine.
    #[must_use]
    pub const fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// What a deadline comes to: where it ends what a plan waited for, it is asked again whether a freeze window holds.
    async fn passed(&self, subject: &IncidentSubject, kind: DeadlineKind, now: Timestamp) -> Result<Command, HandleError> {
        if !matches!(kind, DeadlineKind::Approve | DeadlineKind::Grace) {
            return Ok(Command::PassDeadline(kind));
        }
        let incident = self.engine.incidents.load(subject, None).await?.incident;
        // What is let begin begins now: an outage may lie between, and a window may have begun in it.
        let now = now.max(self.engine.clock.now());
        let frozen = if ends_wait(&incident, kind) { self.engine.frozen(&subject.workload, now).await } else { Ok(None) };
        match frozen {
            Ok(Some(why)) => Ok(Command::PassDeadlineFrozen(kind, why)),
            Ok(None) => Ok(Command::PassDeadline(kind)),
            // It halts whether or not one holds.
            Err(_) if kind == DeadlineKind::Approve && !is_yes(&incident) => Ok(Command::PassDeadline(kind)),
            Err(outage) => Err(outage),
        }
    }

    /// A timer that fired for a deadline which was moved, or a moment too early, is set again.
    async fn set_again(&self, subject: &IncidentSubject, kind: DeadlineKind) -> Result<(), HandleError> {
        let incident = self.engine.incidents.load(subject, None).await?.incident;
        for (_, at) in pending_deadlines(&incident).into_iter().filter(|(pending, _)| *pending == kind) {
            self.engine.bus.schedule(subject, kind, at).await?;
        }
        Ok(())
    }
}

/// Whether silence counts as a yes.
fn is_yes(incident: &Incident) -> bool {
    incident.approval.as_ref().is_some_and(|approval| approval.request.on_timeout() == OnTimeout::Proceed)
}

#[async_trait]
impl Handler for Fired {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let (subject, word) = delivery.incident()?;
        let Some(kind) = DeadlineKind::parse(word) else {
            return Err(HandleError::LeaveAlone { reason: format!("deadline `{word}` is not known to this binary") });
        };
        let (incidents, now) = (&self.engine.incidents, delivery.stored.at);
        match incidents.execute(&subject, None, &self.passed(&subject, kind, now).await?, now).await {
            Ok(_) => {
                tracing::warn!(incident = %subject, deadline = kind.code(), "a deadline passed");
                metrics::counter!("lastgood_deadlines_passed_total", "deadline" => kind.code()).increment(1);
                Ok(())
            }
            // Something happened in time, or it passed already.
            Err(ExecuteError::Refused(Refusal::AlreadySo | Refusal::Illegal { .. })) => Ok(()),
            Err(ExecuteError::Refused(Refusal::NotDue(_))) => self.set_again(&subject, kind).await,
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firing_that_began_after_the_end_is_not_ended_by_it() {
        let id = "inc_0000000000000000000000000000002a";
        let (subject, _) = IncidentSubject::parse(&format!("lastgood.incident.eu.shop.deployment.web.{id}.any")).unwrap();
        let incident = subject.incident;
        let known = Known { disposition: Some(Disposition::Incident(subject)), disposed_as: 12, ..Known::default() };
        assert!(fires_for(&known, incident, 13));
        assert!(!fires_for(&known, incident, 10), "it came back before the word of its end was handled");
        assert!(!fires_for(&Known { ended_at: Some(Timestamp::UNIX_EPOCH), ..known }, incident, 13));
    }
}
