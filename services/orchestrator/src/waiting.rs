//! Looks after plans that wait (for an approval, for their grace period): what was planned is void once somebody changes the workload.
//!
//! Guarantees: a change that the ledger's watch saw supersedes the waiting plan at once, so that nobody is asked to approve what does not fit
//! any more. What the watch does not record (a deletion, a paused rollout) the executor finds before it writes. Must not: touch an incident
//! that does not wait.

use std::time::Duration;

use async_trait::async_trait;
use chassis::bus::{AppendError, Delivery, HandleError, Handler};
use contracts::subjects::parse_ledger;
use contracts::v1::WorkloadRef;
use jiff::Timestamp;
use lastgood_core::incident::{Command, Incident, Phase, decide};

use crate::cluster::Kind;
use crate::decision::Engine;
use crate::resume::changed_since;

/// The ledger's facts that may void a waiting plan.
pub const WAKES: &str = "lastgood.ledger.*.*.*.*.version_observed";

/// When it is looked again after somebody else was faster.
const AGAIN: Duration = Duration::from_millis(50);

/// Handles [`WAKES`].
pub struct Waiting {
    engine: Engine,
}

impl Waiting {
    /// With this engine.
    #[must_use]
    pub const fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

impl Engine {
    /// Why nothing may be begun for a workload at this time; `None` where no freeze window holds, or there is no workload any more, which
    /// whoever begins finds out.
    pub(crate) async fn frozen(&self, workload: &WorkloadRef, now: Timestamp) -> Result<Option<String>, HandleError> {
        let Some(kind) = Kind::parse_workload(&workload.kind) else { return Ok(None) };
        let there = self.cluster.get(kind, &workload.namespace, &workload.name).await?;
        let policy = there.map(|there| self.policies.effective(kind, &there, now)).transpose()?;
        Ok(policy.and_then(|policy| policy.frozen))
    }
}

fn waits(incident: &Incident) -> bool {
    matches!(incident.phase(), Phase::AwaitingApproval | Phase::InGrace)
}

#[async_trait]
impl Handler for Waiting {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let (workload, _) = parse_ledger(delivery.subject()).map_err(|error| HandleError::dead(error.to_string()))?;
        let Some((subject, loaded)) = self.engine.latest(&workload).await? else { return Ok(()) };
        let Some(kind) = Kind::parse_workload(&workload.kind).filter(|_| waits(&loaded.incident)) else { return Ok(()) };
        let there = self.engine.cluster.get(kind, &workload.namespace, &workload.name).await?;
        let Some(fact) = changed_since(&loaded.incident, there.as_ref(), "while its rollback waited") else { return Ok(()) };
        // On what was loaded before the workload was read, and nothing later: once the wait is over, the change may be our own write.
        let Ok(facts) = decide(&loaded.incident, &Command::Supersede(fact), self.engine.clock.now()) else { return Ok(()) };
        match self.engine.incidents.append(&subject, loaded.expected, &facts).await {
            Ok(_) => tracing::info!(incident = %subject, "somebody changed the workload while its rollback waited"),
            Err(AppendError::Lost) => return Err(HandleError::retry(AGAIN, "the incident has moved on meanwhile")),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
