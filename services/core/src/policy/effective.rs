//! The policy in force for one workload, after everything that has a say was heard.
//!
//! Guarantees: each value says on its own what is to be done; nothing has to be looked up again. Must not: know of documents.

use std::time::Duration;

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

/// Whether a rollback brings back the ConfigMaps that the version ran with.
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

/// What is allowed for one workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The policies that had a say, for people, most specific first: "annotation lastgood.dev/mode", "RollbackPolicy shop/web".
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
    /// Whether ConfigMaps come back with their version.
    pub restore_config_maps: RestoreConfigMaps,
    /// Whether Secrets do; a rotated credential must not come back, so by default they don't.
    pub restore_secrets: bool,
    /// Whether versions are recorded at all.
    pub ledger: bool,
    /// How many versions are kept.
    pub keep_versions: usize,
    /// Until when nothing may be done, and why, where a freeze window holds now.
    pub frozen: Option<String>,
}

impl Default for Effective {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            mode: Mode::Observe,
            mode_because: "nothing says otherwise".to_owned(),
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
        }
    }
}
