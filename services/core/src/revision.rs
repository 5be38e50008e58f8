//! ControllerRevisions: what carries the versions of StatefulSets and DaemonSets, as ReplicaSets do for Deployments.
//!
//! Guarantees: the template that a revision carries has the hash of the workload's `spec.template` that it was made of; a pod is known to
//! be of a revision by its label alone, as the controllers know it. Must not: take a revision's number for an identity (an undo
//! renumbers it).

use serde_json::Value;

use crate::template;

/// The pods' label that names their revision: by its whole name for a StatefulSet, by the hash in it for a DaemonSet, whose revision
/// has the same label.
pub const POD_LABEL: &str = "controller-revision-hash";

/// The pod template that a revision carries, normalised; `None` where it is none of a StatefulSet's or DaemonSet's. Its `data` is a
/// strategic merge patch, whose directive is no part of the template.
#[must_use]
pub fn template(revision: &Value) -> Option<Value> {
    let mut template = revision.pointer("/data/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    Some(template::normalise(&template))
}

/// Its number: the newest has the highest.
#[must_use]
pub fn number(revision: &Value) -> i64 {
    revision.get("revision").and_then(Value::as_i64).unwrap_or_default()
}

/// Whether a pod whose label [`POD_LABEL`] says this is of the revision.
#[must_use]
pub fn is_named(revision: &Value, label: &str) -> bool {
    let own = |pointer: &str| revision.pointer(pointer).and_then(Value::as_str);
    !label.is_empty() && (own("/metadata/name") == Some(label) || own("/metadata/labels/controller-revision-hash") == Some(label))
}

/// The label of a pod; empty where it has none.
#[must_use]
pub fn label_of(pod: &Value) -> &str {
    pod.pointer("/metadata/labels").and_then(|labels| labels.get(POD_LABEL)).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec() -> Value {
        json!({"containers": [{"name": "db", "image": "db:v1", "resources": {}}], "restartPolicy": "Always"})
    }

    /// As Kubernetes 1.20 writes a StatefulSet's.
    fn of_stateful_set() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 3,
            "metadata": {"name": "db-5d4f8c7b9", "labels": {"app": "db", "controller.kubernetes.io/hash": "5d4f8c7b9"}},
            "data": {"spec": {"template": {"$patch": "replace", "metadata": {"creationTimestamp": null, "labels": {"app": "db"}},
                "spec": spec()}}}})
    }

    /// As Kubernetes 1.33 writes a DaemonSet's.
    fn of_daemon_set() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 1,
            "metadata": {"name": "agent-7c9d", "labels": {"app": "agent", "controller-revision-hash": "7c9d"}},
            "data": {"spec": {"template": {"$patch": "replace", "metadata": {"labels": {"app": "agent"}}, "spec": spec()}}}})
    }

    #[test]
    fn a_revisions_template_is_its_workloads() {
        let workload = json!({"metadata": {"creationTimestamp": null, "labels": {"app": "db"}}, "spec": spec()});
        let carried = template(&of_stateful_set()).unwrap();
        assert_eq!(template::hash(&carried), template::hash(&workload));
        assert_eq!(carried.get("$patch"), None);
        assert_eq!(number(&of_stateful_set()), 3);
    }

    #[test]
    fn a_pod_names_its_revision_in_either_way() {
        for (revision, label, is_it) in [
            (of_stateful_set(), "db-5d4f8c7b9", true),
            (of_stateful_set(), "5d4f8c7b9", false),
            (of_daemon_set(), "7c9d", true),
            (of_daemon_set(), "7c", false),
            (of_daemon_set(), "", false),
        ] {
            assert_eq!(is_named(&revision, label), is_it, "{label}");
        }
        assert_eq!(label_of(&json!({"metadata": {"labels": {POD_LABEL: "7c9d"}}})), "7c9d");
        assert_eq!(label_of(&json!({"metadata": {}})), "");
    }

    #[test]
    fn what_is_no_template_is_none() {
        for other in [json!({}), json!({"data": {"spec": {"template": "x"}}}), json!({"spec": {"template": {}}})] {
            assert_eq!(template(&other), None, "{other}");
        }
    }
}
