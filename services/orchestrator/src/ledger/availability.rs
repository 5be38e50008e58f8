//! Whether a workload runs its current version in full, by its own status.
//!
//! Guarantees: what the status does not show is not so: a version that a partition keeps from some pods, or that an `OnDelete` strategy has
//! not brought into all of them, is never said to be available. Must not: count pods itself, or take old numbers for present ones.

use serde_json::Value;

use crate::cluster::{Kind, Object};

/// What a workload's status says of its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// How many there should be.
    pub desired: i64,
    /// How many there are, of any version.
    pub all: i64,
    /// How many are of the current version.
    pub updated: i64,
    /// How many are available, of any version.
    pub available: i64,
}

impl Counts {
    /// The numbers of a workload of this kind.
    #[must_use]
    pub fn of(kind: Kind, workload: &Object) -> Self {
        let number = |field: &str| workload.number(&format!("/status/{field}"));
        let replicas = workload.at("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
        match kind {
            Kind::DaemonSet => Self {
                desired: number("desiredNumberScheduled"),
                all: number("currentNumberScheduled"),
                updated: number("updatedNumberScheduled"),
                available: number("numberAvailable"),
            },
            Kind::StatefulSet => Self {
                desired: replicas,
                all: number("replicas"),
                updated: number("updatedReplicas"),
                // Before 1.22 there is no other word for it; since then it can be fewer (minReadySeconds).
                available: match workload.at("/status/availableReplicas").and_then(Value::as_i64) {
                    Some(available) => available.min(number("readyReplicas")),
                    None => number("readyReplicas"),
                },
            },
            _ => Self {
                desired: replicas,
                all: number("replicas"),
                updated: number("updatedReplicas"),
                available: number("availableReplicas"),
            },
        }
    }
}

/// Whether the controller has seen the current spec.
#[must_use]
pub fn is_caught_up(workload: &Object) -> bool {
    workload.number("/status/observedGeneration") >= workload.generation()
}

/// Whether every wanted pod, at least one, runs the current template and is available, and none runs another.
#[must_use]
pub fn is_available(kind: Kind, workload: &Object) -> bool {
    let Counts { desired, all, updated, available } = Counts::of(kind, workload);
    desired >= 1 && is_caught_up(workload) && [all, updated, available].iter().all(|count| *count == desired)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn is(kind: Kind, spec: &Value, status: &Value) -> bool {
        is_available(kind, &Object::new(json!({"metadata": {"generation": 2}, "spec": spec, "status": status})))
    }

    #[test]
    fn a_stateful_set_as_1_20_and_as_1_33_write_it() {
        let old = json!({"observedGeneration": 2, "replicas": 3, "readyReplicas": 3, "currentReplicas": 3, "updatedReplicas": 3,
            "currentRevision": "db-a", "updateRevision": "db-a", "collisionCount": 0});
        let mut new = old.clone();
        new["availableReplicas"] = json!(3);
        for (change, expected) in [
            (json!({}), true),
            (json!({"readyReplicas": 2, "availableReplicas": 2}), false),
            (json!({"updatedReplicas": 1, "currentRevision": "db-b"}), false),
            (json!({"observedGeneration": 1}), false),
            (json!({"replicas": 4}), false),
        ] {
            for status in [&old, &new] {
                let mut status = status.clone();
                let old = status.get("availableReplicas").is_none();
                for (key, value) in change.as_object().unwrap().iter().filter(|(key, _)| !(old && *key == "availableReplicas")) {
                    status[key] = value.clone();
                }
                assert_eq!(is(Kind::StatefulSet, &json!({"replicas": 3}), &status), expected, "{status}");
            }
        }
        new["availableReplicas"] = json!(2);
        assert!(!is(Kind::StatefulSet, &json!({"replicas": 3}), &new), "ready, but not for minReadySeconds");
    }

    #[test]
    fn what_a_partition_or_on_delete_keeps_from_some_pods_is_not_available() {
        let status = json!({"observedGeneration": 2, "replicas": 3, "readyReplicas": 3, "updatedReplicas": 1});
        for strategy in [json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}), json!({"type": "OnDelete"})] {
            assert!(!is(Kind::StatefulSet, &json!({"replicas": 3, "updateStrategy": strategy}), &status));
        }
    }

    #[test]
    fn a_daemon_set_is_available_on_every_node_that_wants_it() {
        let status = |updated: i64, available: i64| {
            json!({"observedGeneration": 2, "desiredNumberScheduled": 2, "currentNumberScheduled": 2, "numberReady": available,
                "updatedNumberScheduled": updated, "numberAvailable": available, "numberMisscheduled": 0})
        };
        for (updated, available, expected) in [(2, 2, true), (1, 2, false), (2, 1, false)] {
            assert_eq!(is(Kind::DaemonSet, &json!({}), &status(updated, available)), expected);
        }
        let nowhere =
            json!({"observedGeneration": 2, "desiredNumberScheduled": 0, "currentNumberScheduled": 0, "numberReady": 0});
        assert!(!is(Kind::DaemonSet, &json!({}), &nowhere), "on no node nothing is proved");
    }
}
