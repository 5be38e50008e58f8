//! A stand-in for Prometheus' HTTP API: alerting rules and instant queries, as far as the verifier asks for them.
//!
//! Guarantee: rules say that they were evaluated just now, as a healthy Prometheus' do. It evaluates nothing: a test says what is so.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::recorder::{Api, Call, Receiver, Reply};
use crate::Error;
use crate::process::lock;

/// A stand-in that runs.
pub type PrometheusStandIn = Receiver<PrometheusApi>;

/// What it says.
#[derive(Debug, Default)]
pub struct PrometheusApi {
    /// The labels of each alert that fires, by its name; empty for a rule without a firing alert.
    rules: Mutex<BTreeMap<String, Vec<Value>>>,
    /// What every query yields; `None`: an empty vector.
    value: Mutex<Option<f64>>,
}

impl Receiver<PrometheusApi> {
    /// Starts it, without rules.
    pub async fn start() -> Result<Self, Error> {
        Self::start_with(PrometheusApi::default()).await
    }

    /// There is an alerting rule of this name, and it fires with these labels, or not at all.
    pub fn set_rule(&self, alert: &str, firing: Vec<Value>) {
        lock(&self.api().rules).insert(alert.to_owned(), firing);
    }

    /// What every query yields from now on.
    pub fn set_value(&self, value: Option<f64>) {
        *lock(&self.api().value) = value;
    }
}

impl Api for PrometheusApi {
    fn answer(&self, call: &Call) -> Reply {
        let success = |data: Value| Reply::accepted(200, json!({"status": "success", "data": data}));
        let path = call.path.split('?').next().unwrap_or_default();
        match path {
            "/api/v1/rules" => {
                let rules: Vec<_> = lock(&self.rules).iter().map(|(name, firing)| rule(name, firing, call)).collect();
                success(json!({"groups": [{"name": "stand-in", "file": "none", "interval": 1, "rules": rules}]}))
            }
            "/api/v1/query" => {
                let at = call.at.as_millisecond();
                let sample = lock(&self.value).map(|value| json!({"metric": {}, "value": [at / 1000, value.to_string()]}));
                success(json!({"resultType": "vector", "result": sample.into_iter().collect::<Vec<_>>()}))
            }
            _ => Reply::refused(404, json!({"status": "error", "errorType": "not_found", "error": path}), vec![path.to_owned()]),
        }
    }

    fn lie(&self) -> Value {
        json!({"status": "error", "errorType": "internal", "error": "scripted lie"})
    }
}

fn rule(name: &str, firing: &[Value], call: &Call) -> Value {
    let alerts = firing.iter().map(|labels| {
        json!({"labels": labels, "annotations": {}, "state": "firing", "activeAt": call.at.to_string(), "value": "1e+00"})
    });
    json!({
        "type": "alerting", "name": name, "query": "up == 0", "duration": 0, "health": "ok", "labels": {}, "annotations": {},
        "evaluationTime": 0.001, "lastEvaluation": call.at.to_string(), "alerts": alerts.collect::<Vec<_>>(),
    })
}
