//! Which alerts count, as people write it: `spec.alerts`.
//!
//! Guarantees: the operators are Alertmanager's. Must not: match; `policy::matchers` does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `spec.alerts[]`: all of its matchers have to accept the alert.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "(has(self.matchers) && size(self.matchers) > 0) || (has(self.labels) && size(self.labels) > 0)",
     "message": "a set needs matchers or labels; leave alerts out to count all"},
]))]
pub struct AlertSet {
    /// As Alertmanager writes them: `severity=~"page|critical"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(length(max = 1024)))]
    pub matchers: Option<Vec<String>>,
    /// The same in fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub labels: Option<Vec<LabelMatcher>>,
}

/// `spec.alerts[].labels[]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-kubernetes-validations" = [{"rule": "has(self.name)", "message": "name is needed"}]))]
pub struct LabelMatcher {
    /// The label.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub name: Option<String>,
    /// `=` where it is not given. A label that an alert doesn't have is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub op: Option<MatchOperator>,
    /// A text, or for `=~` and `!~` a regular expression for the whole value. Empty where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub value: Option<String>,
}

/// `spec.alerts[].labels[].op`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "Alertmanager's own")]
pub enum MatchOperator {
    #[serde(rename = "=")]
    Equal,
    #[serde(rename = "!=")]
    NotEqual,
    #[serde(rename = "=~")]
    Matches,
    #[serde(rename = "!~")]
    MatchesNot,
}
