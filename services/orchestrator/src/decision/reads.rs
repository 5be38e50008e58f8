//! What a decision reads of the log, in as few round trips as there can be: all at once.
//!
//! Guarantees: the workload's newest incident and its expectation come from the leader. The count behind the mass failure brake is
//! taken once the incident's own opening can be seen in it, so of incidents that open at the same moment the n-th on the log counts at
//! least n, and no more than the limit pass (`runbooks/decisions/0005`). Must not: decide.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chassis::bus::{HandleError, ReadError, Stored};
use chassis::incidents::Loaded;
use contracts::subjects::{self, streams};
use contracts::v1::{PauseSwitched, RollbackStarted, WorkloadRef};
use contracts::{Fact, IncidentSubject};
use jiff::{SignedDuration, Timestamp};
use lastgood_core::policy::MassFailure;

use super::Engine;
use crate::cluster::{Kind, Object, Selector};
use crate::ledger::LedgerView;

/// How long the brake's count may take.
const COUNT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a lagging replica is given before it is asked again.
const LAG: Duration = Duration::from_millis(5);

/// What the log says about a workload.
#[derive(Debug, Clone)]
pub struct LogReads {
    /// Its newest incident.
    pub latest: Option<(IncidentSubject, Loaded)>,
    /// Its versions.
    pub ledger: LedgerView,
    /// What the pause switches of the cluster and of the workload's namespace say.
    pub switch: Option<PauseSwitched>,
    /// When it was last rolled back.
    pub last_rollback: Option<Timestamp>,
}

/// Everything that can be read before the workload itself is there.
#[derive(Debug, Clone)]
pub struct Prefetched {
    /// Of the log.
    pub log: LogReads,
    /// The Services of its namespace, or why they can't be read: an incident opens all the same. `None` while the mass failure brake
    /// holds: then no plan is expected to need them, and a storm of incidents does not list a namespace once for each.
    pub services: Option<Result<Vec<Object>, String>>,
}

/// Which incident began a rollback, and its intent; `None` where that can't be read. Its incident is given up for that; the workload's
/// next ones go by the ledger, and by the time at which it was stored.
fn begun(stored: &Stored) -> Option<(String, RollbackStarted)> {
    let (subject, event_type) = IncidentSubject::parse(&stored.subject).ok()?;
    match Fact::decode(event_type, &stored.data) {
        Ok(Fact::RollbackStarted(started)) => Some((subject.incident.to_string(), started)),
        Ok(other) => {
            tracing::error!(incident = %subject, found = other.event_type(), "the last rollback_started is none");
            None
        }
        Err(error) => {
            tracing::error!(incident = %subject, %error, "the last rollback_started can't be read; the ledger has to do");
            None
        }
    }
}

impl Engine {
    /// Reads the log and the namespace's Services at the same time.
    pub async fn prefetch(&self, workload: &WorkloadRef) -> Result<Prefetched, HandleError> {
        let services = async {
            if self.braked.load(Ordering::Relaxed) {
                return None;
            }
            Some(self.services(&workload.namespace).await)
        };
        let (log, services) = futures::join!(self.read_log(workload), services);
        Ok(Prefetched { log: log?, services })
    }

    /// The Services of a namespace, or why they can't be read.
    pub(super) async fn services(&self, namespace: &str) -> Result<Vec<Object>, String> {
        let listed = self.cluster.list(Kind::Service, namespace, &Selector::everything()).await;
        listed.map_err(|error| format!("{error}: {}", error.source))
    }

    /// Reads everything of the log at the same time.
    pub async fn read_log(&self, workload: &WorkloadRef) -> Result<LogReads, HandleError> {
        let rollbacks = subjects::workload_facts_of_type(workload, "rollback_started");
        let (latest, ledger, switch, last_rollback) = futures::try_join!(
            Box::pin(self.latest(workload)),
            async { self.store.load(workload).await.map_err(HandleError::from) },
            async { self.store.pause(&self.rules.cluster, &workload.namespace).await.map_err(HandleError::from) },
            async { self.bus.last(streams::INCIDENTS, &rollbacks).await.map_err(HandleError::from) },
        )?;
        // The ledger's own mark of it may come later.
        let ledger = match last_rollback.as_ref().and_then(begun) {
            Some((by, started)) => ledger.knowing_of(&by, &started),
            None => ledger,
        };
        Ok(LogReads { latest, ledger, switch, last_rollback: last_rollback.map(|stored| stored.at) })
    }

    /// Counts the workloads that have had an incident within the brake's window; it may stop at the limit. `opened` is on the log, and a
    /// read that doesn't show it yet (a replica lags) is taken again.
    pub async fn failing_workloads(&self, opened: &IncidentSubject, brake: &MassFailure) -> Result<usize, ReadError> {
        let counted = tokio::time::timeout(COUNT_TIMEOUT, self.count_failing(opened, brake)).await;
        let failing = counted.map_err(|_| ReadError::Unavailable("counting recent incidents took too long".to_owned()))??;
        self.braked.store(failing >= brake.workloads, Ordering::Relaxed);
        Ok(failing)
    }

    async fn count_failing(&self, opened: &IncidentSubject, brake: &MassFailure) -> Result<usize, ReadError> {
        let window = SignedDuration::try_from(brake.window).unwrap_or(SignedDuration::from_mins(5));
        let since = self.clock.now().saturating_sub(window).unwrap_or(Timestamp::MIN);
        let filter = subjects::cluster_facts_of_type(&self.rules.cluster, "anomaly_detected");
        let own = opened.fact("anomaly_detected");
        let mut page = brake.workloads.saturating_mul(2).max(64);
        let remembered = self.openings.failing(opened, since);
        if remembered >= brake.workloads {
            return Ok(remembered);
        }
        loop {
            let read = self.bus.subjects_since(streams::INCIDENTS, &filter, since, page).await?;
            self.openings.know(&read);
            let failing = self.openings.failing(opened, since);
            if failing >= brake.workloads {
                return Ok(failing);
            }
            if read.len() >= page {
                // The same workloads again and again: there may be others behind them.
                page = page.saturating_mul(4);
                continue;
            }
            // An incident that opened before the window, and is decided late, is not in the count by right.
            if read.iter().any(|(subject, _)| *subject == own) || self.is_old(opened, since).await? {
                return Ok(failing);
            }
            tokio::time::sleep(LAG).await;
        }
    }

    async fn is_old(&self, opened: &IncidentSubject, since: Timestamp) -> Result<bool, ReadError> {
        let opening = self.bus.last(streams::INCIDENTS, &opened.fact("anomaly_detected")).await?;
        Ok(opening.is_none_or(|stored| stored.at < since))
    }
}
