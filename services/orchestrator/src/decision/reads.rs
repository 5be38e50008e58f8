//! What a decision reads of the log, in as few round trips as there can be: all at once.
//!
//! Guarantees: the workload's newest incident and its expectation come from the leader. The count behind the mass failure brake is
//! taken once the incident's own opening can be seen in it, so of incidents that open at the same moment the n-th on the log counts at
//! least n, and no more than the limit pass (`runbooks/decisions/0005`). Must not: decide.

use std::collections::HashSet;
use std::time::Duration;

use chassis::bus::{HandleError, ReadError};
use chassis::incidents::Loaded;
use contracts::IncidentSubject;
use contracts::subjects::{self, streams};
use contracts::v1::{PauseSwitched, WorkloadRef};
use jiff::{SignedDuration, Timestamp};

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
    /// The pause switch.
    pub switch: Option<PauseSwitched>,
    /// Workloads with an incident of late, this one included; 1 until the incident has opened and they were counted.
    pub failing_workloads: usize,
    /// When it was last rolled back.
    pub last_rollback: Option<Timestamp>,
}

/// Everything that can be read before the workload itself is there.
#[derive(Debug, Clone)]
pub struct Prefetched {
    /// Of the log.
    pub log: LogReads,
    /// The Services of its namespace, or why they can't be read: an incident opens all the same.
    pub services: Result<Vec<Object>, String>,
}

impl Engine {
    /// Reads the log and the namespace's Services at the same time; `opened` is the incident, once it is on the log.
    pub async fn prefetch(&self, workload: &WorkloadRef, opened: Option<&IncidentSubject>) -> Result<Prefetched, HandleError> {
        let everything = Selector::everything();
        let services = async {
            let listed = self.cluster.list(Kind::Service, &workload.namespace, &everything).await;
            listed.map_err(|error| format!("{error}: {}", error.source))
        };
        let (log, services) = futures::join!(self.read_log(workload, opened), services);
        Ok(Prefetched { log: log?, services })
    }

    /// Reads everything of the log at the same time.
    pub async fn read_log(&self, workload: &WorkloadRef, opened: Option<&IncidentSubject>) -> Result<LogReads, HandleError> {
        let counting = async {
            match opened {
                Some(opened) => self.failing_workloads(opened).await,
                None => Ok(1),
            }
        };
        let rollbacks = subjects::workload_facts_of_type(workload, "rollback_started");
        let (latest, ledger, (switch, _), failing_workloads, last_rollback) = futures::try_join!(
            async { Box::pin(self.incidents.latest(workload)).await.map_err(HandleError::from) },
            async { self.store.load(workload).await.map_err(HandleError::from) },
            async { self.store.switch(&self.rules.cluster).await.map_err(HandleError::from) },
            async { counting.await.map_err(HandleError::from) },
            async { self.bus.last(streams::INCIDENTS, &rollbacks).await.map_err(HandleError::from) },
        )?;
        Ok(LogReads { latest, ledger, switch, failing_workloads, last_rollback: last_rollback.map(|stored| stored.at) })
    }

    /// Counts the workloads that have had an incident within the brake's window; it stops a little above the limit. `opened` is on
    /// the log, and a read that doesn't show it yet (a replica lags) is taken again.
    pub async fn failing_workloads(&self, opened: &IncidentSubject) -> Result<usize, ReadError> {
        let brake = &self.settings.mass_failure;
        let window = SignedDuration::try_from(brake.window).unwrap_or(SignedDuration::from_mins(5));
        let since = self.clock.now().saturating_sub(window).unwrap_or(Timestamp::MIN);
        let filter = subjects::cluster_facts_of_type(&self.rules.cluster, "anomaly_detected");
        let limit = brake.workloads.saturating_mul(4).clamp(64, 1000);
        let own = opened.fact("anomaly_detected");
        let counting = async {
            loop {
                let subjects = self.bus.subjects_since(streams::INCIDENTS, &filter, since, limit).await?;
                // An incident that opened before the window, and is decided late, is not in the count by right.
                if subjects.len() >= limit || subjects.contains(&own) || self.is_old(opened, since).await? {
                    return Ok::<_, ReadError>(subjects);
                }
                tokio::time::sleep(LAG).await;
            }
        };
        let subjects = tokio::time::timeout(COUNT_TIMEOUT, counting)
            .await
            .map_err(|_| ReadError::Unavailable("counting recent incidents took too long".to_owned()))??;
        let paths = subjects.iter().filter_map(|subject| IncidentSubject::parse(subject).ok());
        let mut failing: HashSet<String> = paths.map(|(subject, _)| subjects::workload_path(&subject.workload)).collect();
        failing.insert(subjects::workload_path(&opened.workload));
        Ok(failing.len())
    }

    async fn is_old(&self, opened: &IncidentSubject, since: Timestamp) -> Result<bool, ReadError> {
        let opening = self.bus.last(streams::INCIDENTS, &opened.fact("anomaly_detected")).await?;
        Ok(opening.is_none_or(|stored| stored.at < since))
    }
}
