//! The HTTP clients: for smoke tests and for Prometheus.
//!
//! Guarantees: probes follow no redirect, use no proxy and keep no connection; certificates are checked but where it was said
//! otherwise. Must not: print the bearer token.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};

use crate::checks::Tools;
use crate::config::Prometheus;
use crate::rules::Answer;
use crate::text::causes;

/// Why a client can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The HTTP client.
    #[error("the HTTP client can't be made")]
    Http(#[from] reqwest::Error),
    /// The Prometheus client.
    #[error("the Prometheus client can't be made: {0}")]
    Prometheus(String),
    /// The token.
    #[error("`verifier.prometheus.bearer_token` has characters that a header can't carry")]
    Token,
}

fn probe() -> ClientBuilder {
    Client::builder().redirect(Policy::none()).no_proxy().pool_max_idle_per_host(0).user_agent("lastgood-verifier")
}

/// What probes go through.
pub fn tools(prometheus: &Prometheus) -> Result<Tools, ClientError> {
    Ok(Tools {
        http: probe().build()?,
        http_insecure: probe().danger_accept_invalid_certs(true).build()?,
        prometheus: prometheus_client(prometheus)?,
    })
}

/// The Prometheus client, where one is configured.
pub fn prometheus_client(config: &Prometheus) -> Result<Option<prometheus_http_query::Client>, ClientError> {
    let Some(url) = &config.url else { return Ok(None) };
    let mut headers = HeaderMap::new();
    if let Some(token) = &config.bearer_token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| ClientError::Token)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let client = Client::builder()
        .user_agent("lastgood-verifier")
        .default_headers(headers)
        .timeout(config.timeout)
        .connect_timeout(config.timeout.min(Duration::from_secs(5)))
        .danger_accept_invalid_certs(config.insecure)
        .build()?;
    let client =
        prometheus_http_query::Client::from(client, url.as_str()).map_err(|error| ClientError::Prometheus(causes(&error)))?;
    Ok(Some(client))
}

/// Prometheus' alerting rules, or why they can't be had.
pub async fn alerting_rules(prometheus: &prometheus_http_query::Client) -> Result<Answer, String> {
    let request = prometheus.rules().kind(prometheus_http_query::RuleKind::Alerting);
    let answer = request.get_raw().await.map_err(|error| causes(&error))?;
    let answer = answer.error_for_status().map_err(|error| causes(&error.without_url()))?;
    answer.json().await.map_err(|error| causes(&error.without_url()))
}
