//! The configuration: the chassis' sections and `verifier`.
//!
//! Guarantee: what `Settings::prepare` returns was checked completely, smoke tests included. Must not: hold values that nothing uses.

use std::time::Duration;

use chassis::config::{Admin, Kubernetes, Nats, Secret, Telemetry};
use serde::Deserialize;

use crate::definitions::{Rule, read_rules};
use crate::fields::Invalid;

/// The sections of the verifier.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The connection to NATS.
    pub nats: Nats,
    /// `/livez`, `/readyz`, `/metrics`.
    pub admin: Admin,
    /// Logs and traces.
    pub telemetry: Telemetry,
    /// The cluster.
    pub kubernetes: Kubernetes,
    /// The verifier's own.
    pub verifier: Settings,
}

/// `verifier`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Smoke tests for workloads by `namespace` and `workload`, besides those of the workloads' annotations.
    pub checks: Vec<serde_json::Value>,
    /// For how long the restored pods have to stay ready without a restart.
    #[serde(with = "chassis::config::duration")]
    pub stabilisation: Duration,
    /// From one look at them to the next.
    #[serde(with = "chassis::config::duration")]
    pub look_every: Duration,
    /// How many incidents are verified at the same time.
    pub max_in_flight: usize,
    /// Where alerts and `promql` checks are looked up.
    pub prometheus: Prometheus,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            checks: Vec::new(),
            stabilisation: Duration::from_secs(30),
            look_every: Duration::from_secs(1),
            max_in_flight: 256,
            prometheus: Prometheus::default(),
        }
    }
}

/// `verifier.prometheus`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prometheus {
    /// Its base URL; without one only Alertmanager's word resolves an alert, and `promql` checks see nothing.
    pub url: Option<url::Url>,
    /// A bearer token for it.
    pub bearer_token: Option<Secret>,
    /// How often a mitigated incident's alert is looked up.
    #[serde(with = "chassis::config::duration")]
    pub poll: Duration,
    /// How long one request may take.
    #[serde(with = "chassis::config::duration")]
    pub timeout: Duration,
    /// Labels that are not compared with the alert's, because `alert_relabel_configs` rewrite them on the way to Alertmanager.
    pub ignore_labels: Vec<String>,
    /// Do not check its certificate.
    pub insecure: bool,
}

impl Default for Prometheus {
    fn default() -> Self {
        Self {
            url: None,
            bearer_token: None,
            poll: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            ignore_labels: Vec::new(),
            insecure: false,
        }
    }
}

impl Settings {
    /// Checks what serde can't, and reads the smoke tests.
    pub fn prepare(&self) -> Result<Vec<Rule>, Invalid> {
        let lengths = [
            ("verifier.look_every", self.look_every),
            ("verifier.prometheus.poll", self.prometheus.poll),
            ("verifier.prometheus.timeout", self.prometheus.timeout),
        ];
        if let Some((key, _)) = lengths.iter().find(|(_, length)| length.is_zero()) {
            return Err(Invalid::new(*key, "must be above zero"));
        }
        if self.max_in_flight == 0 {
            return Err(Invalid::new("verifier.max_in_flight", "must be above zero"));
        }
        if let Some(url) = &self.prometheus.url
            && !matches!(url.scheme(), "http" | "https")
        {
            return Err(Invalid::new(
                "verifier.prometheus.url",
                format!("must begin with http:// or https://, not {}://", url.scheme()),
            ));
        }
        read_rules(&self.checks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_good() {
        assert!(Settings::default().prepare().unwrap().is_empty());
    }

    #[test]
    fn bad_values_are_refused_with_their_key() {
        let url = "ftp://localhost/".parse().ok();
        let zero = Settings { look_every: Duration::ZERO, ..Settings::default() };
        let scheme = Settings { prometheus: Prometheus { url, ..Prometheus::default() }, ..Settings::default() };
        let check = Settings { checks: vec![serde_json::json!({"name": "x"})], ..Settings::default() };
        for (settings, key) in [(zero, "verifier.look_every"), (scheme, "verifier.prometheus.url"), (check, "verifier.checks[0]")]
        {
            assert_eq!(settings.prepare().unwrap_err().path, key);
        }
    }
}
