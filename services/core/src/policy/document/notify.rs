//! Who is told, as people write it: `spec.notify`.
//!
//! Guarantees: receivers are names; what a name stands for is the notifier's configuration (`notifier.receivers`, and the channels `pagerduty`,
//! `slack` and `webhook`). Must not: hold an address or a credential.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Length;

/// `spec.notify`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Notify {
    /// Which messages go to which receivers: the first route that fits. What none fits goes the notifier's own way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub routes: Option<Vec<Route>>,
    /// Who is called after whom, until somebody acknowledges. Where it is not given: the on-call, and after `deadlines.acknowledge` the team lead.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub escalation: Option<Vec<Step>>,
}

/// `spec.notify.routes[]`: all that is given has to fit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.receivers) && size(self.receivers) > 0", "message": "a route needs receivers"},
]))]
pub struct Route {
    /// The reasons of halts, failures and closes, as the runbooks name them. Where it is not given: any but `unacknowledged`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(max = 64)))]
    pub reasons: Option<Vec<String>>,
    /// How urgent; any where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2))]
    pub severities: Option<Vec<SeverityWord>>,
    /// The receivers' names; each is told. One that the notifier does not know is told of the usual way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    pub receivers: Option<Vec<String>>,
}

/// `spec.notify.routes[].severities[]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "nobody has to get up, and a person is needed now")]
pub enum SeverityWord {
    Inform,
    Page,
}

/// `spec.notify.escalation[]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.audience) || (has(self.receivers) && size(self.receivers) > 0)", "message": "a step needs an audience or receivers"},
]))]
pub struct Step {
    /// How long after the page, where nobody acknowledged, a day at most; with the page itself where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Length>,
    /// Who is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<AudienceWord>,
    /// Receivers by their names; with an audience as well, both are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    pub receivers: Option<Vec<String>>,
}

/// `spec.notify.escalation[].audience`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the audiences of the notifier")]
pub enum AudienceWord {
    OnCall,
    TeamLead,
}
