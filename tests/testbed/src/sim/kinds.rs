//! The kinds that the simulated API serves: the built-in ones, and those that custom resource definitions add. Pure.

use std::sync::Arc;

use serde_json::Value;

use super::json::Json as _;

/// One kind in one version.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "four independent facts of a kind")]
pub(crate) struct Kind {
    /// `plural` or `plural.group`: how errors and the store name it.
    pub(crate) id: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    /// The singular in capitals: `Deployment`.
    pub(crate) name: String,
    pub(crate) short: Vec<String>,
    pub(crate) namespaced: bool,
    /// Has a status subresource.
    pub(crate) status: bool,
    /// Has a scale subresource.
    pub(crate) scale: bool,
    /// Counts changes of its spec in `metadata.generation`.
    pub(crate) generation: bool,
}

impl Kind {
    /// `apps/v1`, or `v1` for the core group.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `Deployment.apps`, or `Pod` for the core group.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() { self.name.clone() } else { format!("{}.{}", self.name, self.group) }
    }
}

/// Group, version, plural, kind, short name, and letters: `n`amespaced, `s`tatus, `c` for scale, `g`eneration.
const BUILT_IN: &[(&str, &str, &str, &str, &str, &str)] = &[
    ("", "v1", "configmaps", "ConfigMap", "cm", "n"),
    ("", "v1", "endpoints", "Endpoints", "ep", "n"),
    ("", "v1", "events", "Event", "ev", "n"),
    ("", "v1", "namespaces", "Namespace", "ns", "s"),
    ("", "v1", "nodes", "Node", "no", "s"),
    ("", "v1", "pods", "Pod", "po", "ns"),
    ("", "v1", "secrets", "Secret", "", "n"),
    ("", "v1", "serviceaccounts", "ServiceAccount", "sa", "n"),
    ("", "v1", "services", "Service", "svc", "ns"),
    ("apps", "v1", "deployments", "Deployment", "deploy", "nscg"),
    ("apps", "v1", "replicasets", "ReplicaSet", "rs", "nscg"),
    // Stored, and nothing more: their controllers are left to the real cluster.
    ("apps", "v1", "controllerrevisions", "ControllerRevision", "", "n"),
    ("apps", "v1", "daemonsets", "DaemonSet", "ds", "nsg"),
    ("apps", "v1", "statefulsets", "StatefulSet", "sts", "nscg"),
    ("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", "hpa", "ns"),
    ("coordination.k8s.io", "v1", "leases", "Lease", "", "n"),
    ("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", "", "ng"),
    ("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", "pdb", "nsg"),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", "crd", "sg"),
];

/// The kinds that are always there.
pub(crate) fn built_in() -> Vec<Arc<Kind>> {
    BUILT_IN
        .iter()
        .map(|&(group, version, plural, kind, short, flags)| {
            Arc::new(Kind {
                id: id(group, plural),
                group: group.to_owned(),
                version: version.to_owned(),
                plural: plural.to_owned(),
                singular: kind.to_lowercase(),
                name: kind.to_owned(),
                short: Some(short.to_owned()).filter(|s| !s.is_empty()).into_iter().collect(),
                namespaced: flags.contains('n'),
                status: flags.contains('s'),
                scale: flags.contains('c'),
                generation: flags.contains('g'),
            })
        })
        .collect()
}

/// The kinds that a custom resource definition adds, one for each served version.
pub(crate) fn from_definition(definition: &Value) -> Vec<Arc<Kind>> {
    let group = definition.text("/spec/group");
    let plural = definition.text("/spec/names/plural");
    let kind = definition.text("/spec/names/kind");
    let singular = definition.text("/spec/names/singular");
    definition
        .items("/spec/versions")
        .iter()
        .filter(|version| version.flag("/served"))
        .map(|version| {
            Arc::new(Kind {
                id: id(group, plural),
                group: group.to_owned(),
                version: version.text("/name").to_owned(),
                plural: plural.to_owned(),
                singular: if singular.is_empty() { kind.to_lowercase() } else { singular.to_owned() },
                name: kind.to_owned(),
                short: definition
                    .items("/spec/names/shortNames")
                    .iter()
                    .filter_map(|name| name.as_str().map(str::to_owned))
                    .collect(),
                namespaced: definition.text("/spec/scope") == "Namespaced",
                status: !version.at("/subresources/status").is_null(),
                scale: false,
                generation: true,
            })
        })
        .collect()
}

fn id(group: &str, plural: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}
