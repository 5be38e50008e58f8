//! The orchestrator's configuration: section `orchestrator`, beside the chassis' own.
//!
//! Guarantee: the defaults are the ones that README and the runbooks name. Must not: hold what a single workload can say by annotation.

use std::path::PathBuf;
use std::time::Duration;

use chassis::config::{Admin, Kubernetes, Nats, Telemetry, duration};
use contracts::time::duration_to_proto;
use contracts::v1;
use lastgood_core::policy;
use serde::Deserialize;

/// Everything that the orchestrator reads at its start.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The bus.
    pub nats: Nats,
    /// Health and metrics.
    pub admin: Admin,
    /// Logs and traces.
    pub telemetry: Telemetry,
    /// The cluster, its name and its label in alerts.
    pub kubernetes: Kubernetes,
    /// The orchestrator's own.
    pub orchestrator: Settings,
}

/// `orchestrator`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Policies, for clusters without the custom resources: a YAML file of any number of documents.
    pub policies_file: Option<PathBuf>,
    /// How long before an alert a rollout may lie to be held for its cause.
    #[serde(with = "duration")]
    pub window: Duration,
    /// How long a version has to stay fully available without trouble to be good; with 0s to have been so once is enough.
    #[serde(with = "duration")]
    pub soak: Duration,
    /// How many versions of a workload are kept.
    pub keep_versions: usize,
    /// How long after a rollback the same workload is left to people.
    #[serde(with = "duration")]
    pub cooldown: Duration,
    /// When many workloads failing at once stop everything.
    pub mass_failure: MassFailure,
    /// How much may be rolled back; without a limit where nothing is said.
    pub budgets: Budgets,
    /// How long each phase may take.
    pub deadlines: Deadlines,
    /// When closed incidents leave the log, and how long their archive is kept.
    pub archive: Archive,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            policies_file: None,
            window: Duration::from_hours(1),
            soak: Duration::from_mins(10),
            keep_versions: 20,
            cooldown: Duration::from_mins(30),
            mass_failure: MassFailure::default(),
            budgets: Budgets::default(),
            deadlines: Deadlines::default(),
            archive: Archive::default(),
        }
    }
}

impl Settings {
    /// Refuses what can't work together; the key and the reason.
    pub fn check(&self) -> Result<(), Unworkable> {
        let brakes = [("cooldown", self.cooldown), ("window", self.window), ("mass_failure.window", self.mass_failure.window)];
        for (key, needed) in brakes {
            if self.archive.after < needed {
                let reason = format!("is shorter than orchestrator.{key}, which looks at closed incidents for that long");
                return Err(Unworkable { key: "orchestrator.archive.after", reason });
            }
        }
        if self.keep_versions < 2 {
            let reason = "is below 2: what runs and what to go back to have to be kept".to_owned();
            return Err(Unworkable { key: "orchestrator.keep_versions", reason });
        }
        if self.archive.every.is_zero() {
            return Err(Unworkable { key: "orchestrator.archive.every", reason: "is zero".to_owned() });
        }
        Ok(())
    }
}

/// Settings that can't work together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("configuration key `{key}` {reason}")]
pub struct Unworkable {
    /// Which key.
    pub key: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// `orchestrator.archive`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Archive {
    /// How long an incident has to be closed, and an alert to be over, before it leaves the log.
    #[serde(with = "duration")]
    pub after: Duration,
    /// After how long an alert of which nothing more was heard, not even its end, counts as over. One that fires on and is told of at least
    /// every half of `after` never does.
    #[serde(with = "duration")]
    pub unresolved_after: Duration,
    /// How long archived incidents are kept; 0s for ever.
    #[serde(with = "duration")]
    pub keep: Duration,
    /// How often it is looked for what may go.
    #[serde(with = "duration")]
    pub every: Duration,
    /// Bytes from which on a volume of the archive is full. A part of its format, and no configuration: for tests alone.
    #[serde(skip, default = "volume_bytes")]
    pub volume: usize,
}

fn volume_bytes() -> usize {
    crate::archive::volume::FULL
}

impl Default for Archive {
    fn default() -> Self {
        let days = |count: u64| Duration::from_hours(24 * count);
        Self {
            after: days(7),
            unresolved_after: days(30),
            keep: days(365),
            every: Duration::from_mins(10),
            volume: volume_bytes(),
        }
    }
}

/// `orchestrator.mass_failure`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MassFailure {
    /// So many workloads with an incident are no single bad deploy any more.
    pub workloads: usize,
    /// Within this time.
    #[serde(with = "duration")]
    pub window: Duration,
}

impl Default for MassFailure {
    fn default() -> Self {
        Self { workloads: 10, window: Duration::from_mins(5) }
    }
}

/// `orchestrator.budgets`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budgets {
    /// Rollbacks of one workload within an hour.
    pub workload_per_hour: Option<u32>,
    /// Rollbacks under way at the same time in a namespace.
    pub namespace_concurrent: Option<u32>,
    /// Rollbacks under way at the same time in the cluster.
    pub cluster_concurrent: Option<u32>,
}

/// `orchestrator.deadlines`; recorded in each incident as it opens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deadlines {
    /// From the opening to a plan or a halt.
    #[serde(with = "duration")]
    pub decide: Duration,
    /// How long the executor waits for the chat thread.
    #[serde(with = "duration")]
    pub announce: Duration,
    /// From the plan to the first attempt.
    #[serde(with = "duration")]
    pub start: Duration,
    /// From the first attempt to shifted traffic.
    #[serde(with = "duration")]
    pub rollback: Duration,
    /// For the smoke tests.
    #[serde(with = "duration")]
    pub verify: Duration,
    /// From verified to the alert resolved and the cluster tidy.
    #[serde(with = "duration")]
    pub resolve: Duration,
    /// From the page until somebody acknowledged it.
    #[serde(with = "duration")]
    pub acknowledge: Duration,
    /// How long closing waits for a notification to be delivered.
    #[serde(with = "duration")]
    pub notify: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            decide: Duration::from_mins(1),
            announce: Duration::from_secs(3),
            start: Duration::from_mins(2),
            rollback: Duration::from_mins(10),
            verify: Duration::from_mins(10),
            resolve: Duration::from_mins(15),
            acknowledge: Duration::from_mins(15),
            notify: Duration::from_mins(2),
        }
    }
}

impl Deadlines {
    /// How long an incident may take from its opening until its end is decided, with a quarter to spare for who reports late; a plan that
    /// waits takes so much longer.
    #[must_use]
    pub fn longest(&self) -> Duration {
        let phases = [self.decide, self.announce, self.start, self.rollback, self.verify, self.resolve];
        let all = phases.into_iter().fold(Duration::ZERO, Duration::saturating_add);
        all.saturating_add(all / 4)
    }

    /// With what a policy says of them.
    #[must_use]
    pub fn with(&self, said: &policy::Deadlines) -> Self {
        Self {
            decide: said.decide.unwrap_or(self.decide),
            announce: said.announce.unwrap_or(self.announce),
            start: said.start.unwrap_or(self.start),
            rollback: said.rollback.unwrap_or(self.rollback),
            verify: said.verify.unwrap_or(self.verify),
            resolve: said.resolve.unwrap_or(self.resolve),
            acknowledge: said.acknowledge.unwrap_or(self.acknowledge),
            notify: said.notify.unwrap_or(self.notify),
        }
    }

    /// As an incident's opening fact records them.
    #[must_use]
    pub fn recorded(&self) -> v1::Deadlines {
        let proto = |length| Some(duration_to_proto(length));
        v1::Deadlines {
            decide: proto(self.decide),
            announce: proto(self.announce),
            start: proto(self.start),
            rollback: proto(self.rollback),
            verify: proto(self.verify),
            resolve: proto(self.resolve),
            acknowledge: proto(self.acknowledge),
            notify: proto(self.notify),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_overrides_and_unknown_keys_are_refused() {
        let from = |name: &str, value: &str| chassis::config::load_from::<Config>(None, [(name.to_owned(), value.to_owned())]);
        assert_eq!(from("LASTGOOD_ORCHESTRATOR__WINDOW", "5m").unwrap().orchestrator.window, Duration::from_mins(5));
        let nested = from("LASTGOOD_ORCHESTRATOR__DEADLINES__DECIDE", "7s").unwrap();
        assert_eq!(nested.orchestrator.deadlines.decide, Duration::from_secs(7));
        assert!(from("LASTGOOD_ORCHESTRATOR__WINDOWS", "5m").is_err());
    }

    #[test]
    fn incidents_are_not_archived_before_the_brakes_have_done_with_them() {
        assert_eq!(Settings::default().check(), Ok(()));
        let hasty = Settings { archive: Archive { after: Duration::from_mins(29), ..Archive::default() }, ..Settings::default() };
        let said = hasty.check().unwrap_err().to_string();
        assert!(said.contains("orchestrator.archive.after") && said.contains("cooldown"), "{said}");
    }
}
