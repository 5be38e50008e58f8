//! The document `RollbackPolicy` (lastgood.dev/v1alpha1) as people write it: a custom resource's or a file's `spec`.
//!
//! Guarantees: every field may be left out, and what is left out says nothing; the schema that a custom resource definition needs comes from
//! these very types. Must not: check what a schema can't say; `read` does, on servers and files alike.

mod alerts;
mod checks;
mod length;
mod limits;
mod notify;
mod schema;
mod when;
mod workloads;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use alerts::{AlertSet, LabelMatcher, MatchOperator};
pub use checks::{Check, Http, PromQl, StatusCodes, TargetWord, Tcp};
pub use length::Length;
pub use limits::{Budgets, Deadlines, MassFailureSpec};
pub use notify::{AudienceWord, Notify, Route, SeverityWord, Step};
pub use schema::schema;
pub use when::{Day, Freeze};
pub use workloads::{KindWord, LabelExpression, LabelOperator, LabelSelector, Workloads};

/// The API group.
pub const GROUP: &str = "lastgood.dev";
/// The API version.
pub const VERSION: &str = "v1alpha1";
/// The namespaced kind: governs workloads of its own namespace.
pub const KIND: &str = "RollbackPolicy";
/// The kind of the whole cluster: what holds where no policy of the namespace says otherwise.
pub const CLUSTER_KIND: &str = "ClusterRollbackPolicy";

/// `spec`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Spec {
    /// Of several policies that govern a workload, the one with the higher priority is heard first. 0 where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1000, max = 1000))]
    pub priority: Option<i32>,
    /// Which workloads it governs; all of its namespace (of the cluster, for a `ClusterRollbackPolicy`) where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workloads: Option<Workloads>,
    /// `observe`: say what would be done. `approve`: ask first. `auto`: do it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<ModeWord>,
    /// How mode `approve` asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// Which alerts count: those that any of these sets accepts. All, where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub alerts: Option<Vec<AlertSet>>,
    /// How long before an alert a rollout may lie to be held for its cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change_window: Option<Length>,
    /// How long a version has to be fully available without trouble to be good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<Length>,
    /// How long after a rollback the same workload is left to people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<Length>,
    /// How long an alert has to go on before anything is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_period: Option<Length>,
    /// How much may be rolled back, and when everything stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budgets: Option<Budgets>,
    /// When nothing may be rolled back. The windows of all policies that govern a workload add up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub freeze: Option<Vec<Freeze>>,
    /// The smoke tests after a rollback; the workload's annotation `lastgood.dev/smoke-tests` goes before them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50))]
    pub checks: Option<Vec<Check>>,
    /// For how long restored pods have to stay ready without a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stabilisation: Option<Length>,
    /// How long each phase of an incident may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadlines: Option<Deadlines>,
    /// Which `ConfigMaps` come back with their version: `changed` ones, `always` all, `never`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_config_maps: Option<RestoreConfigMapsWord>,
    /// Whether Secrets come back with their version: `always` or `never`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_secrets: Option<RestoreSecretsWord>,
    /// What is recorded of versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerSpec>,
    /// Whether a version may be restored that nobody saw prove itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_unknown: Option<bool>,
    /// Who is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
}

/// `spec.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the field `mode` says what they mean")]
pub enum ModeWord {
    Observe,
    Approve,
    Auto,
}

/// `spec.approval`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Approval {
    /// How long it waits for an answer; 15m where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Length>,
    /// What happens when none comes: `Halt` (where it is not given), or `Proceed` as if it had been approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<OnTimeout>,
}

/// `spec.approval.onTimeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the field `onTimeout` says what they mean")]
pub enum OnTimeout {
    Halt,
    Proceed,
}

/// `spec.restoreConfigMaps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the field `restoreConfigMaps` says what they mean")]
pub enum RestoreConfigMapsWord {
    Changed,
    Always,
    Never,
}

/// `spec.restoreSecrets`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the field `restoreSecrets` says what they mean")]
pub enum RestoreSecretsWord {
    Always,
    Never,
}

/// `spec.ledger`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LedgerSpec {
    /// Whether versions are recorded at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// How many versions are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 200))]
    pub keep_versions: Option<u32>,
}
