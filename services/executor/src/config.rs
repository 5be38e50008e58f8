//! The executor's configuration.
//!
//! Guarantee: the defaults are what a real cluster needs. Must not: hold what an incident's own facts decide (its deadlines).

use std::time::Duration;

use chassis::config::{self, duration};
use serde::Deserialize;

/// All sections that the executor reads.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The bus.
    pub nats: config::Nats,
    /// Health and metrics.
    pub admin: config::Admin,
    /// Logs and traces.
    pub telemetry: config::Telemetry,
    /// The cluster that this executor writes to.
    pub kubernetes: config::Kubernetes,
    /// Its own.
    pub executor: Executor,
}

/// `executor`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Executor {
    /// How often a watch is begun anew with a list, in case it went silent.
    #[serde(with = "duration")]
    pub relist: Duration,
    /// How many of a failing pod's last log lines a report has.
    pub log_lines: usize,
    /// How long after its grace period a pod that does not go is deleted by force, in the clean-up.
    #[serde(with = "duration")]
    pub stuck_after: Duration,
    /// How long after a crash its messages come again: the ack wait of its consumer.
    #[serde(with = "duration")]
    pub ack_wait: Duration,
    /// How many incidents it works on at the same time.
    pub at_once: usize,
    /// How often it is looked for copies of configuration that no version needs any more.
    #[serde(with = "duration")]
    pub prune_every: Duration,
    /// How old such a copy has to be to go.
    #[serde(with = "duration")]
    pub prune_after: Duration,
}

impl Default for Executor {
    fn default() -> Self {
        Self {
            relist: Duration::from_secs(30),
            log_lines: 10,
            stuck_after: Duration::from_mins(1),
            ack_wait: Duration::from_secs(6),
            at_once: 64,
            prune_every: Duration::from_hours(1),
            prune_after: Duration::from_hours(24),
        }
    }
}
