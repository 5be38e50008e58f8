//! How much and how long, as people write it: `spec.budgets` and `spec.deadlines`.
//!
//! Guarantees: bounds are in the schema. Must not: know what is left of a budget.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Length;

/// `spec.budgets`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Budgets {
    /// Rollbacks of one workload within an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub workload_per_hour: Option<u32>,
    /// Rollbacks under way at the same time in one namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub namespace_concurrent: Option<u32>,
    /// Rollbacks under way at the same time in the cluster; a `ClusterRollbackPolicy` alone may say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub cluster_concurrent: Option<u32>,
    /// So many workloads that fail at once are no single bad deploy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mass_failure: Option<MassFailureSpec>,
}

/// `spec.budgets.massFailure`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MassFailureSpec {
    /// Workloads of the cluster with an incident.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 10000))]
    pub workloads: Option<u32>,
    /// Within this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Length>,
}

/// `spec.deadlines`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Deadlines {
    /// From the opening to a plan or a halt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decide: Option<Length>,
    /// How long the executor waits for the chat thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announce: Option<Length>,
    /// From the plan to the first attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Length>,
    /// From the first attempt to shifted traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Length>,
    /// For the smoke tests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<Length>,
    /// From verified to the alert resolved and the cluster tidy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolve: Option<Length>,
    /// From the page until somebody acknowledged it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledge: Option<Length>,
    /// How long closing waits for a notification to be delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<Length>,
}
