//! What incidents say of versions: marks one as rolled back from when an attempt says so, and notes alerts (`troubled`).
//!
//! Guarantees: marked once, also when messages come twice; the mark never precedes the version it marks (a fold would pass over it).
//! Must not: wait for the watch for ever: after a few tries the version is recorded as the plan knew it.

use std::time::Duration;

use async_trait::async_trait;
use chassis::bus::{Delivery, HandleError, Handler};
use chassis::incidents::Incidents;
use contracts::{Fact, LedgerFact, v1};

use super::LedgerStore;
use super::view::rolled_back_from;

/// How long the watch gets to record a version before this does.
const TRIES: u64 = 4;

/// The events that it hears.
pub const HEARS: [&str; 2] = ["rollback_started", "current_version_identified"];

/// The handler of [`HEARS`].
pub struct RolledBack {
    /// The ledgers.
    pub store: LedgerStore,
    /// The incidents, for their plans.
    pub incidents: Incidents,
}

#[async_trait]
impl Handler for RolledBack {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let (subject, fact) = delivery.fact()?;
        let started = match fact {
            Fact::RollbackStarted(started) => started,
            Fact::CurrentVersionIdentified(identified) => {
                return self.store.note_alert(&self.incidents, delivery, &identified).await;
            }
            _ => return Ok(()),
        };
        let view = self.store.load(&subject.workload).await?;
        let id = rolled_back_from(&started).to_owned();
        let mark = v1::VersionRolledBackFrom { template_hash: id.clone(), incident: subject.incident.to_string() };
        let mut facts: Vec<LedgerFact> = Vec::new();
        match view.known(&id) {
            Some(known) if known.rolled_back_from.as_ref() == Some(&mark.incident) => return Ok(()),
            Some(_) => {}
            None if delivery.deliveries < TRIES => {
                return Err(HandleError::retry(Duration::from_millis(500), "the ledger doesn't know the version yet"));
            }
            None => {
                let loaded = self.incidents.load(&subject, Some(delivery.sequence())).await?;
                let version = loaded.incident.plan.and_then(|(_, plan)| plan.from);
                let workload_uid = started.workload_uid.clone();
                facts.push(v1::VersionObserved { version, workload_uid, ..v1::VersionObserved::default() }.into());
            }
        }
        facts.push(mark.into());
        self.store.append(&subject.workload, &view, &facts).await?;
        Ok(())
    }
}
