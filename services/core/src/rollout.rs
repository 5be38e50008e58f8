//! How a StatefulSet or DaemonSet brings a template into its pods, by its own spec: which pods follow, and whether by themselves.
//!
//! Guarantees: what the API server leaves out reads as its default. Must not: be asked of Deployments, whose pods all follow.

use serde_json::Value;

/// The part of a spec that says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rollout {
    /// `updateStrategy: OnDelete`: a pod follows when somebody deletes it.
    pub on_delete: bool,
    /// A StatefulSet's `podManagementPolicy: OrderedReady`: its controller goes no further while any pod is not ready, also when that
    /// pod is of a version which never gets ready (kubernetes#67250).
    pub ordered: bool,
    /// Pods with a lower ordinal stay as they are (`rollingUpdate.partition`); 0 where there is no partition.
    pub first_ordinal: i64,
    /// How many pods the partition keeps.
    pub kept: i64,
}

impl Rollout {
    /// Of a StatefulSet.
    #[must_use]
    pub fn of_stateful_set(workload: &Value) -> Self {
        let number = |pointer: &str| workload.pointer(pointer).and_then(Value::as_i64);
        let on_delete = is_on_delete(workload);
        let partition = number("/spec/updateStrategy/rollingUpdate/partition").filter(|_| !on_delete).unwrap_or(0).max(0);
        let replicas = number("/spec/replicas").unwrap_or(1);
        let start = number("/spec/ordinals/start").unwrap_or(0);
        let parallel = workload.pointer("/spec/podManagementPolicy").and_then(Value::as_str) == Some("Parallel");
        Self {
            on_delete,
            ordered: !parallel,
            first_ordinal: if partition == 0 { 0 } else { start.saturating_add(partition) },
            kept: partition.min(replicas),
        }
    }

    /// Of a DaemonSet.
    #[must_use]
    pub fn of_daemon_set(workload: &Value) -> Self {
        Self { on_delete: is_on_delete(workload), ..Self::default() }
    }

    /// Whether the pod of this name takes part in a rollout; one without an ordinal does.
    #[must_use]
    pub fn follows(&self, pod: &str) -> bool {
        ordinal(pod).is_none_or(|ordinal| ordinal >= self.first_ordinal)
    }

    /// What a person should know of it before a version is put back.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.kept > 0 {
            notes.push(format!(
                "only pods from ordinal {} on follow (updateStrategy.rollingUpdate.partition); {} stay as they are",
                self.first_ordinal, self.kept
            ));
        }
        if self.on_delete {
            notes.push("its pods of the bad version are deleted one at a time (updateStrategy OnDelete)".to_owned());
        } else if self.ordered {
            notes.push("its pods of the bad version that are not ready are deleted, as its controller waits for them".to_owned());
        }
        notes
    }
}

/// The number at the end of a StatefulSet's pod's name.
#[must_use]
pub fn ordinal(pod: &str) -> Option<i64> {
    let (_, digits) = pod.rsplit_once('-')?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

fn is_on_delete(workload: &Value) -> bool {
    workload.pointer("/spec/updateStrategy/type").and_then(Value::as_str) == Some("OnDelete")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_partition_keeps_the_lower_ordinals() {
        let set = |partition: Value, start: Value| {
            Rollout::of_stateful_set(
                &json!({"spec": {"replicas": 3, "podManagementPolicy": "OrderedReady", "ordinals": {"start": start},
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}}}),
            )
        };
        let all = set(json!(0), Value::Null);
        assert!(all.follows("db-0") && all.kept == 0 && all.ordered && !all.on_delete);
        let some = set(json!(2), Value::Null);
        assert_eq!((some.follows("db-1"), some.follows("db-2"), some.kept), (false, true, 2));
        assert_eq!(set(json!(9), Value::Null).kept, 3, "it keeps no more than there are");
        let later = set(json!(1), json!(5));
        assert_eq!((later.follows("db-5"), later.follows("db-6")), (false, true));
        assert!(set(json!(0), json!(5)).follows("db-5"));
        assert_eq!(some.notes().len(), 2);
        assert!(some.notes()[0].contains("from ordinal 2 on"), "{:?}", some.notes());
    }

    #[test]
    fn what_is_left_out_is_the_default() {
        assert_eq!(Rollout::of_stateful_set(&json!({})), Rollout { ordered: true, ..Rollout::default() });
        let on_delete = json!({"spec": {"podManagementPolicy": "Parallel", "updateStrategy": {"type": "OnDelete"}}});
        assert_eq!(Rollout::of_stateful_set(&on_delete), Rollout { on_delete: true, ..Rollout::default() });
        assert!(Rollout::of_daemon_set(&on_delete).on_delete);
        assert!(Rollout::of_daemon_set(&json!({})).notes().is_empty());
    }

    #[test]
    fn an_ordinal_is_the_last_number() {
        for (name, expected) in [("db-0", Some(0)), ("a-1-12", Some(12)), ("agent-x2x4q", None), ("db", None), ("db-", None)] {
            assert_eq!(ordinal(name), expected, "{name}");
        }
    }
}
