//! Deciding what an incident does: read all that matters (`reads`), decide by pure functions (`crate::plan`, core), and say it as facts
//! for one append (`propose`).
//!
//! Guarantees: what cannot be read is an outage, and then nothing is decided. Must not: append; who knows the expectation does.

mod configuration;
mod deciding;
mod openings;
mod propose;
mod reads;
mod routed;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use chassis::bus::{Bus, HandleError};
use chassis::clock::Clock;
use chassis::incidents::Incidents;
use contracts::v1::{Occurrence, RollbackRequested, WorkloadRef};
use contracts::{HaltReason, IncidentSubject};
use jiff::{SignedDuration, Timestamp};
use lastgood_core::configuration::restore::Rules as ConfigurationRules;
use lastgood_core::configuration::{Key, version_id};
use lastgood_core::incident::{Command, Incident};
use lastgood_core::policy::Effective;

use crate::budget::{BudgetStore, is_limited};
use crate::cluster::{Kind, Lookup, LookupError, Object, Selector};
use crate::config::Settings;
use crate::configuration::{Reader, Seen, recorded};
use crate::correlate::Rules;
use crate::ledger::carriers::{self, Carrier};
use crate::ledger::{LedgerStore, LedgerView, Terms};
use crate::plan::{Course, Foreign, Inputs, Planned, Step, build, decide_course};
use crate::policy::{Index, Policies, Unread};

pub use deciding::Deciding;
pub use openings::Openings;
pub use propose::{Proposal, course_commands, fold, opening};
pub use reads::{LogReads, Prefetched};
pub use routed::routed;

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
    /// Budgets on it.
    pub budgets: BudgetStore,
    /// The cluster.
    pub cluster: Arc<dyn Lookup>,
    /// Its name and label.
    pub rules: Arc<Rules>,
    /// The configuration.
    pub settings: Arc<Settings>,
    /// What is allowed for each workload.
    pub policies: Policies,
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

/// Why an incident is there.
#[derive(Debug, Clone, Copy)]
pub struct Cause<'a> {
    /// What opened it.
    pub trigger: &'a Occurrence,
    /// When that was heard; it stands in for a trigger without a start.
    pub heard_at: Timestamp,
    /// What a person asked for, where it was no alert.
    pub requested: Option<&'a RollbackRequested>,
}

impl From<LookupError> for HandleError {
    fn from(error: LookupError) -> Self {
        Self::outage(format!("{error}: {}", error.source))
    }
}

impl From<Unread> for HandleError {
    fn from(error: Unread) -> Self {
        Self::outage(error.to_string())
    }
}

impl Engine {
    /// On this bus and cluster, without any policy.
    #[must_use]
    pub fn new(bus: Bus, cluster: Arc<dyn Lookup>, rules: Rules, settings: Settings) -> Self {
        Self {
            incidents: Incidents::new(bus.clone()),
            store: LedgerStore::new(bus.clone()),
            budgets: BudgetStore::new(bus.clone()),
            policies: Policies::new(Index::new(&settings)),
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
        let engine = self.clone();
        // Before it is known which policies there are, nothing is recorded: one of them may forbid it.
        let unread = Effective { ledger: false, ..Effective::default() };
        Terms {
            of: Arc::new(move |kind, workload| engine.effective(kind, workload).unwrap_or_else(|_| unread.clone())),
            changes: self.policies.changes_of_meaning(),
        }
    }

    /// What is in force for a workload as it is now.
    pub fn effective(&self, kind: Kind, workload: &Object) -> Result<Effective, Unread> {
        self.policies.effective(kind, workload, self.clock.now())
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

    /// Everything from n6 to n9 or n10 for an incident of a workload as it is now, as commands.
    pub async fn decide(
        &self,
        subject: &IncidentSubject,
        kind: Kind,
        workload: &Object,
        cause: Cause<'_>,
        pre: &Prefetched,
    ) -> Result<Vec<Command>, HandleError> {
        let policy = self.effective(kind, workload)?;
        let rules = ConfigurationRules::from(&policy);
        let (failing_workloads, running) = futures::try_join!(
            async { self.failing_workloads(subject, &policy.mass_failure).await.map_err(HandleError::from) },
            async { self.running(workload, rules).await.map_err(HandleError::from) }
        )?;
        let sets = self.sets_if_needed(kind, workload, &running, &policy, &pre.log.ledger).await?;
        let now = self.clock.now();
        let mut course = decide_course(&Inputs {
            kind,
            workload,
            sets: &sets,
            ledger: &pre.log.ledger,
            running: &running,
            rules,
            alert_since: contracts::time::from_proto(cause.trigger.starts_at.as_ref()).unwrap_or(cause.heard_at),
            about: cause.trigger.labels.get(ABOUT).map(String::as_str),
            requested: cause.requested,
            switch: pre.log.switch.as_ref(),
            failing_workloads,
            last_rollback: pre.log.last_rollback,
            policy: &policy,
            now,
        });
        course.step = self.with_configuration(course.step, workload.namespace(), &running, rules).await?;
        // A person who asks is held back by no budget, and takes of none.
        if cause.requested.is_none() {
            self.admit(subject, &mut course, &policy).await?;
        }
        let planned = match &course.step {
            Step::Roll(target) | Step::Hold(target, _, _) => {
                let from = course.current.version.clone().unwrap_or_default();
                let deadlines = self.settings.deadlines.with(&policy.deadlines);
                let start = SignedDuration::try_from(deadlines.start).unwrap_or(SignedDuration::from_mins(2));
                let not_after = now.saturating_add(start).unwrap_or(Timestamp::MAX);
                let held_for_all = matches!(&course.step, Step::Hold(_, HaltReason::MassFailure, _));
                let services = match &pre.services {
                    // What would be done is said without the Services: nobody will do it, and there are many to say it for.
                    _ if held_for_all => Ok(Vec::new()),
                    Some(read) => read.clone(),
                    None => self.services(workload.namespace()).await,
                };
                let services = services.map_err(HandleError::outage)?;
                let make = |foreign: Option<&Foreign>| build(kind, workload, &from, target, &services, foreign, not_after);
                let first = make(None);
                Some(if first.plan.service_switches.is_empty() { first } else { make(Some(&self.foreign(workload).await?)) })
            }
            Step::Halt(..) | Step::Missing(_) => None,
        };
        let planned =
            planned.map(|planned: Planned| planned.with_checks_of(&policy)).map(|planned| (planned.plan, planned.summary));
        // Where the opening said so already, it stays so.
        Ok(routed(&policy).into_iter().chain(course_commands(&course, planned)).collect())
    }

    /// Holds what would go back, where a budget is spent; what is let through has taken.
    async fn admit(&self, subject: &IncidentSubject, course: &mut Course, policy: &Effective) -> Result<(), HandleError> {
        let Step::Roll(target) = &course.step else { return Ok(()) };
        let budgets = policy.budgets;
        if !is_limited(&budgets) {
            return Ok(());
        }
        let lasts = self.settings.deadlines.with(&policy.deadlines).longest().saturating_add(course.waits.longest());
        if let Err(overspent) = self.budgets.take(subject, budgets, lasts, self.clock.now()).await? {
            course.step = Step::Hold(target.clone(), HaltReason::BudgetSpent, overspent.to_string());
        }
        Ok(())
    }

    /// What an incident took and whose plan was not stored, because it was decided otherwise meanwhile. Where this fails, its end returns it.
    pub(crate) async fn give_back_unplanned(&self, subject: &IncidentSubject, incident: &Incident, commands: &[Command]) {
        let planned = commands.iter().any(|command| matches!(command, Command::Plan(_) | Command::PlanToApprove(..)));
        if planned
            && incident.plan.is_none()
            && let Err(error) = self.budgets.give_back(subject, true).await
        {
            tracing::warn!(incident = %subject, %error, "what it took of the budgets is returned later");
        }
    }

    /// What carries its versions, where ledger and workload alone don't tell enough: only a Deployment says itself which revision runs.
    async fn sets_if_needed(
        &self,
        kind: Kind,
        workload: &Object,
        running: &[Seen],
        policy: &Effective,
        ledger: &LedgerView,
    ) -> Result<Vec<Carrier>, LookupError> {
        let id = workload.template().map(|template| version_id(template, &recorded(running))).unwrap_or_default();
        let known = kind == Kind::Deployment && ledger.current_since(&id).is_some();
        if known && !policy.allow_unknown {
            return Ok(Vec::new());
        }
        carriers::list(self.cluster.as_ref(), kind, workload).await
    }

    async fn foreign(&self, workload: &Object) -> Result<Foreign, LookupError> {
        let everything = Selector::everything();
        let list = |kind| self.cluster.list(kind, workload.namespace(), &everything);
        let workloads = futures::future::try_join_all(Kind::WORKLOADS.map(list));
        let (pods, workloads) = futures::try_join!(list(Kind::Pod), workloads)?;
        Ok(Foreign::besides(workload, &pods, &workloads.concat()))
    }
}
