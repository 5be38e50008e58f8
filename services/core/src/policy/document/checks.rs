//! The smoke tests of a policy: the language of the annotation `lastgood.dev/smoke-tests`, as types.
//!
//! Guarantees: what these types hold the verifier reads (a test of the verifier says so), key for key. Must not: run anything.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Length;

/// `spec.checks[]`: one smoke test, of exactly one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.name)", "message": "name is needed"},
    {"rule": "(has(self.http) ? 1 : 0) + (has(self.tcp) ? 1 : 0) + (has(self.promql) ? 1 : 0) == 1",
     "message": "a smoke test is one of http, tcp and promql"},
]))]
pub struct Check {
    /// Its name, once in the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[A-Za-z0-9._-]{1,63}$"))]
    pub name: Option<String>,
    /// An HTTP answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// An accepted connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Tcp>,
    /// A value in Prometheus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promql: Option<PromQl>,
    /// `pods` (where it is not given): each pod. `service`: through a Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetWord>,
    /// The Service, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub service: Option<String>,
    /// How long one try may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Length>,
    /// How often it may fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub retries: Option<u32>,
    /// From one try to the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Length>,
    /// How often it has to pass in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub passes: Option<u32>,
}

/// `spec.checks[].target`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the field `target` says what they mean")]
pub enum TargetWord {
    Pods,
    Service,
}

/// `spec.checks[].http`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("x-kubernetes-validations" = [{"rule": "has(self.port)", "message": "port is needed"}]))]
pub struct Http {
    /// The path; `/` where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub path: Option<String>,
    /// The port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u32>,
    /// `http` or `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^https?$"))]
    pub scheme: Option<String>,
    /// Which statuses are good: `200`, `"200-299"`, `"200,204"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_status: Option<StatusCodes>,
    /// What the body has to contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub expect_body: Option<String>,
    /// Headers of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 32))]
    pub headers: Option<BTreeMap<String, String>>,
    /// `GET` where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^(GET|HEAD|POST|PUT|OPTIONS)$"))]
    pub method: Option<String>,
    /// Takes any certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
}

/// A number or a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "a status code as a number, or codes and ranges as a text")]
pub enum StatusCodes {
    Number(u32),
    Text(String),
}

impl JsonSchema for StatusCodes {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StatusCodes".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"x-kubernetes-int-or-string": true})
    }
}

/// `spec.checks[].tcp`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("x-kubernetes-validations" = [{"rule": "has(self.port)", "message": "port is needed"}]))]
pub struct Tcp {
    /// The port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u32>,
}

/// `spec.checks[].promql`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.query) && (has(self.equals) ? !has(self.min) && !has(self.max) : has(self.min) || has(self.max))",
     "message": "a query needs max or min, or equals alone"},
]))]
pub struct PromQl {
    /// The query; `{{namespace}}`, `{{name}}` and `{{kind}}` stand for the workload's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8192))]
    pub query: Option<String>,
    /// The least good value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The largest good value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The only good value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equals: Option<f64>,
}
