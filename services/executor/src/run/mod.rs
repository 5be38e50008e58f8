//! The loop around the pure parts: a fact wakes it, it loads the incident, acts, and reports.
//!
//! Guarantees: what is to be done follows from the log and the cluster alone, so a second delivery, a second replica or a restart
//! in the middle comes to the same end. Must not: keep anything between two messages that the log doesn't have.

mod configuration;
mod finish;
mod history;
mod moved;
mod observe;
mod pods;
mod switch;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use chassis::bus::{AppendError, Appended, Delivery, HandleError, Handler, Stored};
use chassis::incidents::{ExecuteError, Executed, Incidents};
use chassis::{Bus, Clock, ConsumerSpec, Lifecycle};
use contracts::subjects::{cluster_facts_of_type, streams};
use contracts::{DeadlineKind, Fact, IncidentSubject};
use jiff::Timestamp;
use lastgood_core::configuration::Key;
use lastgood_core::incident::{Command, Incident, Phase, Recorded, decide, evolve};
use serde_json::Value;

use crate::cluster::{ApiError, Cluster, Kind};
use crate::config;
use crate::snapshots::Snapshots;

/// What the name of its durable consumer begins with.
const DURABLE: &str = "executor";
/// The facts that can give it something to do.
const WAKERS: &[&str] = &["rollback_planned", "announced", "deadline_passed", "person_acted", "verification_passed"];

/// What an incident asks of the executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Nothing (yet).
    Nothing,
    /// Put the version back, or go on with it.
    Rollback,
    /// Write the status, tidy up.
    Finish,
}

/// What this incident asks of the executor now.
#[must_use]
pub fn duty(incident: &Incident) -> Duty {
    // A plan that waits for an approval or its grace period is not `Planned` yet.
    let may_begin = incident.announced.is_some() || incident.deadlines_passed.contains(&DeadlineKind::Announce);
    match incident.phase() {
        Phase::Planned if may_begin => Duty::Rollback,
        Phase::Acting => Duty::Rollback,
        Phase::Mitigated if !(incident.status_updated && incident.cleaned) => Duty::Finish,
        _ => Duty::Nothing,
    }
}

/// Handles the facts that wake the executor.
#[derive(Debug, Clone)]
pub struct Executor {
    incidents: Incidents,
    cluster: Cluster,
    clock: Arc<dyn Clock>,
    config: config::Executor,
    snapshots: Snapshots,
}

/// One incident in hand.
#[derive(Debug, Clone)]
struct Case {
    subject: IncidentSubject,
    /// The workload's kind.
    kind: Kind,
    incident: Incident,
    /// The sequence that the next load has to reach.
    at_least: u64,
    /// The workload's last sequence as far as is known here: what the next append expects.
    expected: u64,
}

impl Executor {
    /// On this bus and this cluster.
    #[must_use]
    pub fn new(incidents: Incidents, cluster: Cluster, clock: Arc<dyn Clock>, config: config::Executor) -> Self {
        let snapshots = Snapshots::new(cluster.clone(), None);
        Self { incidents, cluster, clock, config, snapshots }
    }

    /// With the key for the fingerprints of Secrets; without one none is restored.
    #[must_use]
    pub fn with_key(self, key: Option<Key>) -> Self {
        Self { snapshots: Snapshots::new(self.cluster.clone(), key), ..self }
    }

    /// Starts consuming the facts of this cluster's incidents.
    pub fn start(self, bus: &Bus, life: &Lifecycle, cluster: &str) {
        let filters = WAKERS.iter().map(|event_type| cluster_facts_of_type(cluster, event_type)).collect();
        let mut spec = ConsumerSpec::new(streams::INCIDENTS, &durable(cluster), filters);
        spec.ack_wait = self.config.ack_wait;
        spec.max_in_flight = self.config.at_once;
        bus.consume(spec, Arc::new(self), life);
    }

    /// The workload as it is now.
    async fn read(&self, kind: Kind, subject: &IncidentSubject) -> Result<Option<Value>, ApiError> {
        self.cluster.get(kind, &subject.workload.namespace, &subject.workload.name).await
    }

    /// Decides and appends; `false` when the log has moved on and the case was loaded again.
    async fn tell(&self, case: &mut Case, command: Command) -> Result<bool, HandleError> {
        let (name, now) = (command.name(), self.clock.now());
        if self.tell_at_once(case, &command, now).await? {
            tracing::info!(incident = %case.subject, "{name}");
            return Ok(true);
        }
        match self.incidents.execute(&case.subject, Some(case.at_least), &command, now).await {
            Ok(Executed { facts, appended: Some(appended), before }) => {
                tracing::info!(incident = %case.subject, "{name}");
                case.incident = before.incident;
                case.take(&facts, &appended, now);
                Ok(true)
            }
            Ok(_) => Ok(true),
            Err(ExecuteError::Refused(refusal)) => {
                tracing::info!(incident = %case.subject, "{name}: {refusal}");
                self.reload(case).await?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Appends what is decided on the case as it was last seen, which saves a read; `false` when that was not the latest.
    async fn tell_at_once(&self, case: &mut Case, command: &Command, now: Timestamp) -> Result<bool, HandleError> {
        let Ok(facts) = decide(&case.incident, command, now) else { return Ok(false) };
        match self.incidents.append(&case.subject, case.expected, &facts).await {
            Ok(appended) => {
                case.take(&facts, &appended, now);
                Ok(true)
            }
            Err(AppendError::Lost) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn reload(&self, case: &mut Case) -> Result<(), HandleError> {
        let loaded = self.incidents.load(&case.subject, Some(case.at_least)).await?;
        case.at_least = case.at_least.max(loaded.incident.last_sequence);
        case.expected = loaded.expected;
        case.incident = loaded.incident;
        Ok(())
    }
}

impl Case {
    /// When the stream stored the intent that was appended last: what was folded here has our own clock's time.
    fn stored(&mut self, last: Option<&Stored>) {
        let intent = last.filter(|last| last.event_type() == "rollback_started");
        if let (Some(intent), Some(attempt)) = (intent, self.incident.attempts.last_mut()) {
            attempt.at = intent.at;
        }
    }

    /// Folds what was just appended, which saves a read.
    fn take(&mut self, facts: &[Fact], appended: &Appended, at: Timestamp) {
        for (sequence, fact) in (appended.first..).zip(facts) {
            self.incident = evolve(std::mem::take(&mut self.incident), &Recorded { sequence, at, fact: fact.clone() });
        }
        self.expected = appended.last;
        self.at_least = self.at_least.max(appended.last);
    }
}

/// The durable's name carries the cluster: executors of several clusters on one bus would otherwise take turns in setting the one
/// durable's filters to their own cluster, and the others' rollbacks would never be begun.
fn durable(cluster: &str) -> String {
    format!("{DURABLE}-{}", cluster.replace('.', "_"))
}

/// An API error as what to do about the message.
fn hand_back(error: &ApiError) -> HandleError {
    match error {
        ApiError::Outage(_) => HandleError::outage(error),
        _ => HandleError::retry(std::time::Duration::from_millis(500), error),
    }
}

#[async_trait]
impl Handler for Executor {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let (subject, event_type) = delivery.incident()?;
        let Some(kind) = Kind::workload(&subject.workload.kind) else {
            return Err(HandleError::dead(format!("no strategy puts a `{}` back", subject.workload.kind)));
        };
        // Most of these wake a rollback: the workload is read while the log is.
        let likely = matches!(event_type, "announced" | "rollback_planned");
        let early = async { if likely { Some(self.read(kind, &subject).await) } else { None } };
        let (loaded, early) = tokio::join!(self.incidents.load(&subject, Some(delivery.sequence())), early);
        let (incident, expected) = loaded.map(|loaded| (loaded.incident, loaded.expected))?;
        let at_least = delivery.sequence().max(incident.last_sequence);
        let mut case = Case { subject, kind, incident, at_least, expected };
        match duty(&case.incident) {
            Duty::Nothing => Ok(()),
            Duty::Rollback => self.roll_back(&mut case, early).await,
            Duty::Finish => self.finish(&mut case).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executors_of_two_clusters_share_no_durable() {
        assert_eq!(durable("default"), "executor-default");
        assert_eq!(durable("eu.prod"), "executor-eu_prod");
    }
}
