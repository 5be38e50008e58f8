//! A workload's own numbers, whatever its kind calls them.
//!
//! Guarantees: `desired` is how many pods are to run the restored version; once that is so the other counts are equal to it. Must not:
//! count pods; where the status does not tell enough (a partition), the pods decide (`progress`).

use lastgood_core::rollout::Rollout;
use serde_json::Value;

use crate::cluster::Kind;

/// The numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many pods there should be of the restored version.
    pub desired: i64,
    /// How many may be missing while it rolls.
    pub max_unavailable: i64,
    /// `status.observedGeneration`.
    pub observed: i64,
    /// How many there are.
    pub replicas: i64,
    /// How many are of the newest template.
    pub updated: i64,
    /// How many are ready.
    pub ready: i64,
    /// How many are available.
    pub available: i64,
}

impl Counts {
    /// The numbers of a workload of this kind.
    #[must_use]
    pub fn of(kind: Kind, workload: &Value) -> Self {
        match kind {
            Kind::StatefulSet => of_stateful_set(workload),
            Kind::DaemonSet => of_daemon_set(workload),
            _ => of_deployment(workload),
        }
    }
}

fn number(workload: &Value, field: &str) -> i64 {
    workload["status"][field].as_i64().unwrap_or_default()
}

fn of_deployment(workload: &Value) -> Counts {
    let spec = &workload["spec"];
    let number = |name: &str| number(workload, name);
    let desired = spec["replicas"].as_i64().unwrap_or(1);
    let recreate = spec["strategy"]["type"] == "Recreate";
    let max_unavailable = match &spec["strategy"]["rollingUpdate"]["maxUnavailable"] {
        _ if recreate => desired,
        Value::Number(number) => number.as_i64().unwrap_or_default(),
        Value::String(percent) => percent.trim_end_matches('%').parse::<i64>().unwrap_or(25).saturating_mul(desired) / 100,
        _ => desired / 4,
    };
    Counts {
        desired,
        max_unavailable,
        observed: number("observedGeneration"),
        replicas: number("replicas"),
        updated: number("updatedReplicas"),
        ready: number("readyReplicas"),
        available: number("availableReplicas"),
    }
}

fn of_stateful_set(workload: &Value) -> Counts {
    let number = |name: &str| number(workload, name);
    let kept = Rollout::of_stateful_set(workload).kept;
    let desired = workload["spec"]["replicas"].as_i64().unwrap_or(1).saturating_sub(kept);
    let ready = number("readyReplicas");
    // Servers before 1.22 have no other word for it.
    let available = workload["status"]["availableReplicas"].as_i64().unwrap_or(ready);
    // What a partition keeps is ready or not, and of this version or not, like the rest: more than the rest can't be counted on.
    let of_rest = |count: i64| if kept == 0 { count } else { count.min(desired) };
    Counts {
        desired,
        max_unavailable: max_unavailable(workload, desired),
        observed: number("observedGeneration"),
        replicas: number("replicas").saturating_sub(kept),
        updated: of_rest(number("updatedReplicas")),
        ready: of_rest(ready),
        available: of_rest(available),
    }
}

fn of_daemon_set(workload: &Value) -> Counts {
    let number = |name: &str| number(workload, name);
    let desired = number("desiredNumberScheduled");
    Counts {
        desired,
        max_unavailable: max_unavailable(workload, desired),
        observed: number("observedGeneration"),
        replicas: number("currentNumberScheduled"),
        updated: number("updatedNumberScheduled"),
        ready: number("numberReady"),
        available: number("numberAvailable"),
    }
}

/// Of an `updateStrategy`: 1 where it doesn't say; a percentage is rounded up.
fn max_unavailable(workload: &Value, desired: i64) -> i64 {
    match &workload["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] {
        Value::Number(number) => number.as_i64().unwrap_or(1),
        Value::String(percent) => {
            let percent = percent.trim_end_matches('%').parse::<i64>().unwrap_or(0);
            percent.saturating_mul(desired).saturating_add(99) / 100
        }
        _ => 1,
    }
}

#[cfg(test)]
#[path = "counts_tests.rs"]
mod tests;
