//! A cluster's budgets on the bus: an incident takes before it plans, and returns when it is over.
//!
//! Guarantees: a taking expects what was read, so two replicas can't overspend; an incident that has taken is let through again, so that a
//! crash between taking and planning costs nothing; what is returned or has expired leaves the log, so that it does not grow. An incident that
//! never returns expires after all of its deadlines. Must not: be asked where no budget is set, which is how it is unless a policy says so.

use std::time::Duration;

use async_trait::async_trait;
use chassis::bus::{AppendError, Bus, Delivery, Group, HandleError, Handler, NewEvent, Stored};
use chassis::incidents::Incidents;
use contracts::subjects::{self, streams};
use contracts::{BudgetFact, Fact, HaltReason, IncidentSubject, v1};
use jiff::Timestamp;
use lastgood_core::incident::Incident;
use lastgood_core::policy::Budgets;
use lastgood_core::policy::budget::{Overspent, Spent, evolve};

use crate::alerts::{TRIES, contended};
use crate::ledger::StoreError;

/// Facts that may go before it is worth while to take them away.
const WORTH_PURGING: usize = 64;

/// The facts after which an incident does nothing more to its workload.
pub const ENDS: [&str; 5] = ["rollback_halted", "superseded", "rollback_failed", "verification_failed", "incident_closed"];

/// Reads and appends budgets.
#[derive(Debug, Clone)]
pub struct BudgetStore {
    bus: Bus,
}

/// The budgets as they were read.
struct Read {
    spent: Spent,
    stored: Vec<Stored>,
}

/// Whether any budget is set at all.
#[must_use]
pub const fn is_limited(budgets: &Budgets) -> bool {
    budgets.workload_per_hour.is_some() || budgets.namespace_concurrent.is_some() || budgets.cluster_concurrent.is_some()
}

impl BudgetStore {
    /// On this bus.
    #[must_use]
    pub const fn new(bus: Bus) -> Self {
        Self { bus }
    }

    /// What has been taken in a cluster.
    pub async fn load(&self, cluster: &str) -> Result<Spent, StoreError> {
        Ok(self.read(cluster).await?.spent)
    }

    async fn read(&self, cluster: &str) -> Result<Read, StoreError> {
        let stored = self.bus.read_whole(streams::LEDGER, &subjects::budget_filter(cluster)).await?;
        let mut spent = Spent::default();
        for message in &stored {
            let fact = BudgetFact::decode(message.event_type(), &message.data)?;
            spent = evolve(spent, message.sequence, message.at, &fact);
        }
        Ok(Read { spent, stored })
    }

    /// Takes for an incident, or says which budget is spent. Once taken, always let through.
    pub async fn take(
        &self,
        subject: &IncidentSubject,
        budgets: Budgets,
        expires_after: Duration,
        now: Timestamp,
    ) -> Result<Result<(), Overspent>, HandleError> {
        let incident = subject.incident.to_string();
        let cluster = &subject.workload.cluster;
        for _ in 0..TRIES {
            let read = self.read(cluster).await?;
            if read.spent.holds(&incident) {
                return Ok(Ok(()));
            }
            if let Err(overspent) = read.spent.allows(&incident, &subject.workload, budgets, now) {
                return Ok(Err(overspent));
            }
            let taken = v1::BudgetTaken {
                incident: incident.clone(),
                workload: Some(subject.workload.clone()),
                expires_after: Some(contracts::time::duration_to_proto(expires_after)),
            };
            if self.append(cluster, read.spent.sequence, &taken.into()).await? {
                self.tidy(cluster, &read, now).await;
                return Ok(Ok(()));
            }
        }
        Err(contended())
    }

    /// An incident does nothing more; whether it had taken anything. `unused` tells whether nothing was rolled back.
    pub async fn give_back(&self, subject: &IncidentSubject, unused: bool) -> Result<bool, HandleError> {
        let incident = subject.incident.to_string();
        for _ in 0..TRIES {
            let read = self.read(&subject.workload.cluster).await?;
            if !read.spent.holds(&incident) {
                return Ok(false);
            }
            let returned = v1::BudgetReturned { incident: incident.clone(), unused };
            if self.append(&subject.workload.cluster, read.spent.sequence, &returned.into()).await? {
                return Ok(true);
            }
        }
        Err(contended())
    }

    /// One append; false where it lost.
    async fn append(&self, cluster: &str, expected: u64, fact: &BudgetFact) -> Result<bool, HandleError> {
        let events = vec![NewEvent::budget(self.bus.ids().event(), cluster, fact)];
        match self.bus.append(vec![Group { filter: subjects::budget_filter(cluster), expected, events }]).await {
            Ok(_) => Ok(true),
            Err(AppendError::Lost) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes away what does not matter any more; where that fails, the next one does.
    async fn tidy(&self, cluster: &str, read: &Read, now: Timestamp) {
        let needed_from = read.spent.needed_from(now);
        let over = read.stored.iter().filter(|message| message.sequence < needed_from).count();
        if over < WORTH_PURGING {
            return;
        }
        if let Err(error) = self.bus.purge(streams::LEDGER, &subjects::budget_filter(cluster), needed_from).await {
            tracing::warn!(cluster, %error, "facts about budgets that are over can't be taken away yet");
        }
    }
}

/// The handler of [`ENDS`].
pub struct Returns {
    /// The budgets.
    pub budgets: BudgetStore,
    /// The incidents.
    pub incidents: Incidents,
}

#[async_trait]
impl Handler for Returns {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let (subject, fact) = delivery.fact()?;
        if !may_have_taken(&fact) {
            return Ok(());
        }
        let spent = self.budgets.load(&subject.workload.cluster).await?;
        if !spent.holds(&subject.incident.to_string()) {
            return Ok(());
        }
        let unused = is_unused(&self.incidents.salvage(&subject, Some(delivery.sequence())).await?.loaded.incident);
        self.budgets.give_back(&subject, unused).await?;
        Ok(())
    }
}

/// Whether nothing was rolled back.
#[must_use]
pub const fn is_unused(incident: &Incident) -> bool {
    incident.attempts.is_empty()
}

/// Whether an incident that ends so may have come as far as to take: a storm of incidents that were never planned reads no budgets.
fn may_have_taken(fact: &Fact) -> bool {
    let reason = match fact {
        Fact::RollbackHalted(halted) => &halted.reason,
        Fact::IncidentClosed(closed) => &closed.reason,
        _ => return true,
    };
    !matches!(
        HaltReason::parse(reason),
        Some(
            HaltReason::PreviousVersionMissing
                | HaltReason::NoRecentChange
                | HaltReason::ObserveMode
                | HaltReason::MassFailure
                | HaltReason::Cooldown
                | HaltReason::ManagedElsewhere
                | HaltReason::UnsupportedKind
                | HaltReason::RolloutPaused
                | HaltReason::Irreversible
                | HaltReason::BudgetSpent
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_planned_has_taken_nothing() {
        let halted = |reason: HaltReason| {
            Fact::from(v1::RollbackHalted { reason: reason.code().to_owned(), ..v1::RollbackHalted::default() })
        };
        assert!(!may_have_taken(&halted(HaltReason::MassFailure)));
        for reason in [HaltReason::PlanExpired, HaltReason::ApprovalTimedOut, HaltReason::Paused, HaltReason::Frozen] {
            assert!(may_have_taken(&halted(reason)));
        }
        assert!(may_have_taken(&v1::Superseded::default().into()));
    }
}
