//! What differs by the kind of workload that a test's application is. StatefulSets and DaemonSets need a real cluster.
//!
//! Guarantee: the pods are the same whatever makes them. Must not: talk to a cluster.

use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::AppOptions;

/// The kind of workload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the Kubernetes kinds of the same names")]
pub enum AppKind {
    #[default]
    Deployment,
    StatefulSet,
    DaemonSet,
}

impl AppKind {
    /// The API's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }

    /// The label of an alert that names one, which is also kubectl's word for it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::StatefulSet => "statefulset",
            Self::DaemonSet => "daemonset",
        }
    }

    pub(super) fn resource(self) -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", self.name()))
    }

    /// The part of a spec that is not the selector or the template.
    pub(super) fn spec(self, name: &str, options: &AppOptions) -> Value {
        let mut spec = match self {
            Self::Deployment => json!({
                "replicas": options.replicas,
                "progressDeadlineSeconds": options.progress_deadline,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            }),
            Self::StatefulSet => json!({"replicas": options.replicas, "serviceName": name}),
            Self::DaemonSet => json!({}),
        };
        if let Some(strategy) = &options.update_strategy {
            spec["updateStrategy"] = strategy.clone();
        }
        spec
    }

    /// Whether all its pods run the current template and are available, by its status.
    pub(super) fn is_available(self, workload: &Value) -> bool {
        let status = &workload["status"];
        let number = |field: &str| status[field].as_i64().unwrap_or_default();
        let (desired, counts) = match self {
            Self::Deployment => (workload["spec"]["replicas"].as_i64(), ["updatedReplicas", "availableReplicas", "replicas"]),
            Self::StatefulSet => (workload["spec"]["replicas"].as_i64(), ["updatedReplicas", "readyReplicas", "replicas"]),
            Self::DaemonSet => (
                status["desiredNumberScheduled"].as_i64().filter(|nodes| *nodes > 0),
                ["updatedNumberScheduled", "numberAvailable", "currentNumberScheduled"],
            ),
        };
        status["observedGeneration"] == workload["metadata"]["generation"]
            && desired.is_some_and(|desired| counts.iter().all(|count| number(count) == desired))
    }
}
