//! Deciding what an incident does: read all that matters (`reads`), decide by pure functions (`crate::plan`, core), and say it as facts
//! for one append (`propose`).
//!
//! Guarantees: what cannot be read is an outage, and then nothing is decided. Must not: append; who knows the expectation does.

mod configuration;
mod deciding;
mod openings;
mod propose;
mod reads;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use chassis::bus::{Bus, HandleError};
use chassis::clock::Clock;
use chassis::incidents::Incidents;
use contracts::HaltReason;
use contracts::v1::{Occurrence, WorkloadRef};
use jiff::{SignedDuration, Timestamp};
use lastgood_core::configuration::restore::Rules as ConfigurationRules;
use lastgood_core::configuration::{Key, version_id};
use lastgood_core::incident::Command;
use lastgood_core::policy::{Effective, Mode};

use crate::brakes;
use crate::cluster::{Kind, Lookup, LookupError, Object, Selector};
use crate::config::Settings;
use crate::configuration::{Reader, Seen, recorded};
use crate::correlate::Rules;
use crate::ledger::{LedgerStore, LedgerView, Terms};
use crate::plan::{Foreign, Inputs, Planned, Step, build, decide_course};

pub use deciding::Deciding;
pub use openings::Openings;
pub use propose::{Proposal, course_commands, fold, opening};
pub use reads::{LogReads, Prefetched};

/// The label that says which version an alert is about: lastgood's own detector sets it, and so does what was found by a pod.
pub(crate) const ABOUT: &str = "lastgood_template_hash";

/// What every handler of the orchestrator works with; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    /// The bus.
    pub bus: Bus,
    /// Incidents on it.
    pub incidents: Incidents,
    /// Ledgers on it.
    pub store: LedgerStore,
    /// The cluster.
    pub cluster: Arc<dyn Lookup>,
    /// Its name and label.
    pub rules: Arc<Rules>,
    /// The configuration.
    pub settings: Arc<Settings>,
    /// The incidents that this process is deciding.
    pub deciding: Deciding,
    /// Whether the mass failure brake held when it was last asked: what not to read ahead of a decision, and nothing else.
    pub braked: Arc<AtomicBool>,
    /// What it counted then.
    pub openings: Openings,
    /// The time.
    pub clock: Arc<dyn Clock>,
    key: Option<Key>,
}

impl From<LookupError> for HandleError {
    fn from(error: LookupError) -> Self {
        Self::outage(format!("{error}: {}", error.source))
    }
}

impl Engine {
    /// On this bus and cluster.
    #[must_use]
    pub fn new(bus: Bus, cluster: Arc<dyn Lookup>, rules: Rules, settings: Settings) -> Self {
        Self {
            incidents: Incidents::new(bus.clone()),
            store: LedgerStore::new(bus.clone()),
            deciding: Deciding::default(),
            braked: Arc::default(),
            openings: Openings::default(),
            clock: Arc::clone(bus.clock()),
            bus,
            cluster,
            rules: Arc::new(rules),
            settings: Arc::new(settings),
            key: None,
        }
    }

    /// With the key for the fingerprints of Secrets; without one they count by their names alone.
    #[must_use]
    pub fn with_key(self, key: Option<Key>) -> Self {
        Self { key, ..self }
    }

    /// Reads the configuration of workloads.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.cluster), self.key.clone())
    }

    /// The policy that is in force for each workload.
    #[must_use]
    pub fn terms(&self) -> Terms {
        let settings = Arc::clone(&self.settings);
        Arc::new(move |workload| {
            let mode = if brakes::mode(workload) == brakes::Mode::Auto { Mode::Auto } else { Mode::Observe };
            Effective { mode, soak: settings.soak, keep_versions: settings.keep_versions, ..Effective::default() }
        })
    }

    /// A workload of this cluster.
    #[must_use]
    pub fn workload_ref(&self, kind: Kind, namespace: &str, name: &str) -> WorkloadRef {
        WorkloadRef {
            cluster: self.rules.cluster.clone(),
            namespace: namespace.to_owned(),
            kind: kind.name().to_owned(),
            name: name.to_owned(),
        }
    }

    /// Everything from n6 to n9 or n10 for a workload as it is now, as commands. `heard_at` stands in for a trigger without a start.
    pub async fn decide(
        &self,
        kind: Kind,
        workload: &Object,
        trigger: &Occurrence,
        heard_at: Timestamp,
        pre: &Prefetched,
    ) -> Result<Vec<Command>, HandleError> {
        let rules = ConfigurationRules::from(&self.terms()(workload));
        let running = self.running(kind, workload, rules).await?;
        let sets = self.sets_if_needed(kind, workload, &running, &pre.log.ledger).await?;
        let now = self.clock.now();
        let mut course = decide_course(&Inputs {
            kind,
            workload,
            sets: &sets,
            ledger: &pre.log.ledger,
            running: &running,
            rules,
            alert_since: contracts::time::from_proto(trigger.starts_at.as_ref()).unwrap_or(heard_at),
            about: trigger.labels.get(ABOUT).map(String::as_str),
            switch: pre.log.switch.as_ref(),
            failing_workloads: pre.log.failing_workloads,
            last_rollback: pre.log.last_rollback,
            settings: &self.settings,
            now,
        });
        course.step = self.with_configuration(course.step, workload.namespace(), &running, rules).await?;
        let planned = match &course.step {
            Step::Roll(target) | Step::Hold(target, _, _) => {
                let from = course.current.version.clone().unwrap_or_default();
                let start = SignedDuration::try_from(self.settings.deadlines.start).unwrap_or(SignedDuration::from_mins(2));
                let not_after = now.saturating_add(start).unwrap_or(Timestamp::MAX);
                let held_for_all = matches!(&course.step, Step::Hold(_, HaltReason::MassFailure, _));
                let services = match &pre.services {
                    // What would be done is said without the Services: nobody will do it, and there are many to say it for.
                    _ if held_for_all => Ok(Vec::new()),
                    Some(read) => read.clone(),
                    None => self.services(workload.namespace()).await,
                };
                let services = services.map_err(HandleError::outage)?;
                let make = |foreign: Option<&Foreign>| build(workload, &from, target, &services, foreign, not_after);
                let first = make(None);
                Some(if first.plan.service_switches.is_empty() { first } else { make(Some(&self.foreign(workload).await?)) })
            }
            Step::Halt(..) | Step::Missing(_) => None,
        };
        Ok(course_commands(&course, planned.map(|planned: Planned| (planned.plan, planned.summary))))
    }

    /// The ReplicaSets, where the ledger alone doesn't tell enough.
    async fn sets_if_needed(
        &self,
        kind: Kind,
        workload: &Object,
        running: &[Seen],
        ledger: &LedgerView,
    ) -> Result<Vec<Object>, LookupError> {
        let id = workload.template().map(|template| version_id(template, &recorded(running))).unwrap_or_default();
        if kind != Kind::Deployment || (ledger.current_since(&id).is_some() && !brakes::allows_unknown(workload)) {
            return Ok(Vec::new());
        }
        let Some(selector) = workload.selector() else { return Ok(Vec::new()) };
        self.cluster.list(Kind::ReplicaSet, workload.namespace(), &selector).await
    }

    async fn foreign(&self, workload: &Object) -> Result<Foreign, LookupError> {
        let everything = Selector::everything();
        let (pods, deployments) = futures::try_join!(
            self.cluster.list(Kind::Pod, workload.namespace(), &everything),
            self.cluster.list(Kind::Deployment, workload.namespace(), &everything)
        )?;
        Ok(Foreign::besides(workload, &pods, &deployments))
    }
}
