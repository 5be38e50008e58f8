//! The way out: the seam between checks and the network, and its live side (probes by reqwest, Prometheus by its HTTP API).
//!
//! Guarantees: probes follow no redirect, use no proxy and keep no connection; certificates are checked but where it was said
//! otherwise; a body is read up to a bound. Must not: print the bearer token, or judge what comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prometheus_http_query::response::Data;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Method, StatusCode};

use crate::checks::Tools;
use crate::config;
use crate::rules::Answer;
use lastgood_core::text::causes;

/// How much of a body is read, bytes.
const BODY: usize = 64 * 1024;

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

/// One HTTP probe.
#[derive(Debug, Clone)]
pub struct HttpProbe {
    /// The method.
    pub method: Method,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Where to connect.
    pub address: SocketAddr,
    /// Path and query, with the slash before it.
    pub path: String,
    /// Headers to send.
    pub headers: HeaderMap,
    /// Whether any certificate will do.
    pub insecure: bool,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status.
    pub status: StatusCode,
    /// The start of the body, at most 64 KiB.
    pub body: Vec<u8>,
}

/// Reaches pods and Services. Whoever calls bounds the time.
#[async_trait]
pub trait Network: Send + Sync {
    /// Asks once; the error is why there was no answer, for people.
    async fn http(&self, probe: HttpProbe) -> Result<HttpAnswer, String>;

    /// Opens a connection and closes it.
    async fn connect(&self, address: SocketAddr) -> std::io::Result<()>;
}

/// Asks Prometheus.
#[async_trait]
pub trait Prometheus: Send + Sync {
    /// An instant query; the error is why there is no result, for people.
    async fn query(&self, query: &str) -> Result<Data, String>;

    /// The alerting rules with their instances; the error is why they can't be had.
    async fn alerting_rules(&self) -> Result<Answer, String>;
}

/// The live network.
struct LiveNetwork {
    http: Client,
    http_insecure: Client,
}

#[async_trait]
impl Network for LiveNetwork {
    async fn http(&self, probe: HttpProbe) -> Result<HttpAnswer, String> {
        let client = if probe.insecure { &self.http_insecure } else { &self.http };
        ask(client, probe).await.map_err(|error| causes(&error.without_url()))
    }

    async fn connect(&self, address: SocketAddr) -> std::io::Result<()> {
        tokio::net::TcpStream::connect(address).await.map(drop)
    }
}

async fn ask(client: &Client, probe: HttpProbe) -> Result<HttpAnswer, reqwest::Error> {
    let url = format!("{}://{}{}", probe.scheme, probe.address, probe.path);
    let mut answer = client.request(probe.method, url).headers(probe.headers).send().await?;
    let status = answer.status();
    let mut body = Vec::new();
    while body.len() < BODY {
        let Some(chunk) = answer.chunk().await? else { break };
        body.extend_from_slice(&chunk[..chunk.len().min(BODY - body.len())]);
    }
    Ok(HttpAnswer { status, body })
}

#[async_trait]
impl Prometheus for prometheus_http_query::Client {
    async fn query(&self, query: &str) -> Result<Data, String> {
        let result = prometheus_http_query::Client::query(self, query).post().await.map_err(|error| causes(&error))?;
        Ok(result.data().clone())
    }

    async fn alerting_rules(&self) -> Result<Answer, String> {
        let request = self.rules().kind(prometheus_http_query::RuleKind::Alerting);
        let answer = request.get_raw().await.map_err(|error| causes(&error))?;
        let answer = answer.error_for_status().map_err(|error| causes(&error.without_url()))?;
        answer.json().await.map_err(|error| causes(&error.without_url()))
    }
}

fn probe() -> ClientBuilder {
    Client::builder().redirect(Policy::none()).no_proxy().pool_max_idle_per_host(0).user_agent("lastgood-verifier")
}

/// What probes go through.
pub fn tools(prometheus: &config::Prometheus) -> Result<Tools, ClientError> {
    let network = LiveNetwork { http: probe().build()?, http_insecure: probe().danger_accept_invalid_certs(true).build()? };
    Ok(Tools { network: Arc::new(network), prometheus: prometheus_client(prometheus)? })
}

/// The Prometheus client, where one is configured.
pub fn prometheus_client(config: &config::Prometheus) -> Result<Option<Arc<dyn Prometheus>>, ClientError> {
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
    Ok(Some(Arc::new(client)))
}
