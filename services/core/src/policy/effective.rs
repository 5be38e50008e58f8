//! The policy in force for one workload, after everything that has a say was heard.
//!
//! Guarantees: each value says on its own what is to be done; nothing has to be looked up again. Must not: know of documents.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::document::{AudienceWord, SeverityWord};
use super::freeze::{Freeze, frozen, next};
use super::matchers::{self, AlertSet};

/// Whether lastgood may act by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// It only says what it would do.
    Observe,
    /// It asks first.
    Approve {
        /// How long it waits for an answer.
        within: Duration,
        /// What happens when none comes.
        on_timeout: ApprovalTimeout,
    },
    /// It acts.
    Auto,
}

/// What happens to a rollback that nobody approved or declined in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalTimeout {
    /// It halts, and people are paged.
    Halt,
    /// It is done as if it had been approved.
    Proceed,
}

/// Whether a rollback brings back the `ConfigMaps` that the version ran with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreConfigMaps {
    /// Those whose content has changed since.
    Changed,
    /// All that the version refers to.
    Always,
    /// None.
    Never,
}

/// When many workloads that fail at once are no single bad deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MassFailure {
    /// So many workloads with an incident, in the whole cluster.
    pub workloads: usize,
    /// Within this time.
    pub window: Duration,
}

/// How much may be rolled back; `None` is without a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budgets {
    /// Rollbacks of one workload within an hour.
    pub workload_per_hour: Option<u32>,
    /// Rollbacks under way at the same time in the workload's namespace.
    pub namespace_concurrent: Option<u32>,
    /// Rollbacks under way at the same time in the cluster.
    pub cluster_concurrent: Option<u32>,
}

/// How long each phase of an incident may take; `None` is the orchestrator's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deadlines {
    /// From the opening to a plan or a halt.
    pub decide: Option<Duration>,
    /// How long the executor waits for the chat thread.
    pub announce: Option<Duration>,
    /// From the plan to the first attempt.
    pub start: Option<Duration>,
    /// From the first attempt to shifted traffic.
    pub rollback: Option<Duration>,
    /// For the smoke tests.
    pub verify: Option<Duration>,
    /// From verified to the alert resolved and the cluster tidy.
    pub resolve: Option<Duration>,
    /// From the page until somebody acknowledged it.
    pub acknowledge: Option<Duration>,
    /// How long closing waits for a notification to be delivered.
    pub notify: Option<Duration>,
}

/// Which messages go to which receivers; what is empty fits everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The codes of halts, failures and closes.
    pub reasons: Vec<String>,
    /// How urgent.
    pub severities: Vec<SeverityWord>,
    /// The receivers' names.
    pub receivers: Vec<String>,
}

/// One step of an escalation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// How long after the page.
    pub after: Duration,
    /// Who is called.
    pub audience: Option<AudienceWord>,
    /// Receivers by their names.
    pub receivers: Vec<String>,
}

/// What is allowed for one workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The policies that had a say, for people, most specific first: `annotation lastgood.dev/mode`, `RollbackPolicy shop/web`.
    pub sources: Vec<String>,
    /// Whether it may act.
    pub mode: Mode,
    /// Why the mode is that, for people.
    pub mode_because: String,
    /// How long before an alert a rollout may lie to be held for its cause.
    pub window: Duration,
    /// How long a version has to be fully available without trouble to be good.
    pub soak: Duration,
    /// How long after a rollback the same workload is left to people.
    pub cooldown: Duration,
    /// How long an alert has to go on before anything is done; zero acts at once.
    pub grace: Duration,
    /// When everything stops.
    pub mass_failure: MassFailure,
    /// How much may be done.
    pub budgets: Budgets,
    /// Whether a version may be restored that nobody saw prove itself.
    pub allow_unknown: bool,
    /// Whether `ConfigMaps` come back with their version.
    pub restore_config_maps: RestoreConfigMaps,
    /// Whether Secrets do; a rotated credential must not come back, so by default they don't.
    pub restore_secrets: bool,
    /// Whether versions are recorded at all.
    pub ledger: bool,
    /// How many versions are kept.
    pub keep_versions: usize,
    /// Until when nothing may be done, and why, where a freeze window holds now.
    pub frozen: Option<String>,
    /// All freeze windows, for whoever decides again later.
    pub freeze: Vec<Freeze>,
    /// Which alerts count: those that any of these sets accepts; `None` counts all.
    pub alerts: Option<Vec<AlertSet>>,
    /// How long each phase may take, where a policy says so.
    pub deadlines: Deadlines,
    /// The policies' smoke tests, a YAML list in the language of `lastgood.dev/smoke-tests`, which goes before them; the verifier reads it.
    pub checks_yaml: Option<String>,
    /// For how long restored pods have to stay ready without a restart; `None` is the verifier's own.
    pub stabilisation: Option<Duration>,
    /// Which messages go to which receivers, the first that fits; none is the notifier's own way.
    pub routes: Vec<Route>,
    /// Who is called after whom; none is the notifier's own way.
    pub escalation: Vec<Step>,
}

impl Effective {
    /// When the next freeze window begins after this time.
    #[must_use]
    pub fn next_freeze(&self, now: Timestamp) -> Option<Timestamp> {
        next(&self.freeze, now)
    }

    /// What [`Self::frozen`] is at another time: a plan that waited asks again when its wait ends.
    #[must_use]
    pub fn frozen_at(&self, now: Timestamp) -> Option<String> {
        frozen(&self.freeze, now).map(|frozen| frozen.to_string())
    }

    /// Why an alert with these labels does not count; `None` where it does.
    #[must_use]
    pub fn not_counted(&self, labels: &BTreeMap<String, String>) -> Option<String> {
        let sets = self.alerts.as_ref().filter(|sets| !matchers::count(sets, labels))?;
        Some(format!("the policy counts only alerts with {}", matchers::describe(sets)))
    }
}

impl Default for Effective {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            mode: Mode::Observe,
            mode_because: "no policy and no annotation lastgood.dev/mode says otherwise".to_owned(),
            window: Duration::from_hours(1),
            soak: Duration::from_mins(10),
            cooldown: Duration::from_mins(30),
            grace: Duration::ZERO,
            mass_failure: MassFailure { workloads: 10, window: Duration::from_mins(5) },
            budgets: Budgets::default(),
            allow_unknown: false,
            restore_config_maps: RestoreConfigMaps::Changed,
            restore_secrets: false,
            ledger: true,
            keep_versions: 20,
            frozen: None,
            freeze: Vec::new(),
            alerts: None,
            deadlines: Deadlines::default(),
            checks_yaml: None,
            stabilisation: None,
            routes: Vec::new(),
            escalation: Vec::new(),
        }
    }
}
