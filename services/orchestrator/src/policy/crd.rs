//! The custom resource definitions of `RollbackPolicy` and `ClusterRollbackPolicy`.
//!
//! Guarantees: derived from the types that read the document, so that neither knows a field that the other doesn't; structural, without
//! anything nullable, so that Kubernetes 1.20 takes it as well (it ignores the rules, which are checked in code too); `charts/manifests/crds.yaml`
//! is what is made here (a test says so). Must not: be where a document is checked; core is.

use std::borrow::Cow;

use kube::{CustomResource, CustomResourceExt as _};
use lastgood_core::policy::document::{Spec, schema};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// `spec` of the namespaced kind.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "lastgood.dev",
    version = "v1alpha1",
    kind = "RollbackPolicy",
    doc = "What lastgood may do about workloads of its namespace.",
    plural = "rollbackpolicies",
    shortname = "rbp",
    namespaced,
    status = "PolicyStatus",
    printcolumn = r#"{"name": "Mode", "type": "string", "jsonPath": ".spec.mode"}"#,
    printcolumn = r#"{"name": "Governs", "type": "integer", "jsonPath": ".status.governs"}"#,
    printcolumn = r#"{"name": "Problem", "type": "string", "jsonPath": ".status.problem"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(transparent)]
pub struct RollbackPolicySpec(pub Spec);

/// `spec` of the kind of the whole cluster.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "lastgood.dev",
    version = "v1alpha1",
    kind = "ClusterRollbackPolicy",
    doc = "What lastgood may do about workloads where no policy of their namespace says otherwise.",
    plural = "clusterrollbackpolicies",
    shortname = "crbp",
    status = "PolicyStatus",
    printcolumn = r#"{"name": "Mode", "type": "string", "jsonPath": ".spec.mode"}"#,
    printcolumn = r#"{"name": "Governs", "type": "integer", "jsonPath": ".status.governs"}"#,
    printcolumn = r#"{"name": "Problem", "type": "string", "jsonPath": ".status.problem"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(transparent)]
pub struct ClusterRollbackPolicySpec(pub Spec);

/// Both kinds' specs have the schema that core reads documents by.
macro_rules! schema_of_the_document {
    ($($spec:ident),*) => {
        $(impl JsonSchema for $spec {
            fn schema_name() -> Cow<'static, str> {
                stringify!($spec).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                schema().clone().try_into().unwrap_or_default()
            }
        })*
    };
}

schema_of_the_document!(RollbackPolicySpec, ClusterRollbackPolicySpec);

/// `status`: what the orchestrator makes of the policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyStatus {
    /// The `metadata.generation` that this is about.
    pub observed_generation: i64,
    /// How many workloads it governs, alone or with others.
    pub governs: i64,
    /// The first of them.
    #[schemars(length(max = 16))]
    pub workloads: Vec<String>,
    /// The first of the problems; empty where there is none.
    pub problem: String,
    /// All that is wrong with it.
    #[schemars(length(max = 64))]
    pub problems: Vec<String>,
    /// `Valid`, and `Governing`.
    #[schemars(length(max = 8))]
    pub conditions: Vec<Condition>,
}

/// One condition, as everywhere in Kubernetes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Kubernetes' own fields")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub reason: String,
    pub message: String,
    pub last_transition_time: String,
    pub observed_generation: i64,
}

/// A kind's definition, for an API server.
fn definition(of: &impl Serialize, rules: &Value) -> Value {
    let mut definition = serde_json::to_value(of).unwrap_or_default();
    for version in definition.pointer_mut("/spec/versions").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") {
            for_servers(schema);
            if let (Some(Value::Object(spec)), false) = (schema.pointer_mut("/properties/spec"), rules.is_null()) {
                spec.insert("x-kubernetes-validations".to_owned(), rules.clone());
            }
        }
    }
    definition
}

/// What an API server does not take in a schema, or does not need. It forgets unknown fields by itself; kubectl warns of them.
fn for_servers(schema: &mut Value) {
    let Value::Object(node) = schema else { return };
    for key in ["nullable", "default", "title"] {
        node.remove(key);
    }
    if node.get("additionalProperties") == Some(&Value::Bool(false)) {
        node.remove("additionalProperties");
    }
    if node.get("format").is_some_and(|format| format != "int64") {
        node.remove("format");
    }
    below(node).for_each(for_servers);
}

/// The schemas below a node.
fn below(node: &mut Map<String, Value>) -> impl Iterator<Item = &mut Value> {
    node.iter_mut().flat_map(|(key, value)| -> Box<dyn Iterator<Item = &mut Value>> {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => Box::new(properties.values_mut()),
            ("items" | "additionalProperties", value) => Box::new(std::iter::once(value)),
            _ => Box::new(std::iter::empty()),
        }
    })
}

/// Both definitions.
#[must_use]
pub fn definitions() -> [Value; 2] {
    let own = json!([{
        "rule": "!has(self.budgets) || !has(self.budgets.clusterConcurrent)",
        "message": "budgets.clusterConcurrent is not for one namespace to say; write it in a ClusterRollbackPolicy",
    }]);
    [definition(&RollbackPolicy::crd(), &own), definition(&ClusterRollbackPolicy::crd(), &Value::Null)]
}

#[cfg(test)]
mod rules;
#[cfg(test)]
mod tests;
