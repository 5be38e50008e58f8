//! The sections that services share: NATS, the admin server, telemetry, Kubernetes.
//!
//! Guarantee: the defaults run on one machine as they are. Must not: hold what one service alone needs.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Secret, duration, optional_duration};

/// `nats`: the connection and the streams.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nats {
    /// The servers; any of them will do to begin with.
    pub urls: Vec<String>,
    /// A NATS credentials file (JWT and seed).
    pub credentials_file: Option<PathBuf>,
    /// User name, with `password`.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// A token instead of user and password.
    pub token: Option<Secret>,
    /// TLS.
    pub tls: NatsTls,
    /// Copies of each stream: 1, 3 or 5.
    pub replicas: usize,
    /// How large the streams of facts and of alerts may grow each, bytes; timers, dead letters and advisories an eighth of it. A full
    /// stream refuses new messages; the room is set aside on the server.
    pub max_bytes: i64,
    /// How long one request may take.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// How long alert notifications, dead letters, advisories and fired timers are kept.
    #[serde(with = "duration")]
    pub keep: Duration,
}

impl Default for Nats {
    fn default() -> Self {
        Self {
            urls: vec!["nats://127.0.0.1:4222".into()],
            credentials_file: None,
            user: None,
            password: None,
            token: None,
            tls: NatsTls::default(),
            replicas: 1,
            max_bytes: 512 << 20,
            request_timeout: Duration::from_secs(5),
            keep: Duration::from_hours(30 * 24),
        }
    }
}

/// `nats.tls`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsTls {
    /// Refuse a connection without TLS.
    pub required: bool,
    /// Certificates of the authorities to trust, PEM, besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate, PEM, with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// The client's key, PEM.
    pub key_file: Option<PathBuf>,
}

/// `admin`: `/livez`, `/readyz`, `/metrics`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Where it listens; port 0 takes any free one, which is logged.
    pub listen: SocketAddr,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 0).into() }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `telemetry`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// The log filter, as `tracing` has it: `info`, `chassis=debug,info`. `LASTGOOD_LOG` goes before it.
    pub log: String,
    /// How log lines look.
    pub format: LogFormat,
    /// Where traces go by OTLP over HTTP, e.g. `http://127.0.0.1:4318/v1/traces`; none when absent.
    pub otlp_endpoint: Option<String>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { log: "info".into(), format: LogFormat::Text, otlp_endpoint: None }
    }
}

/// `kubernetes`: which cluster, and what it is called here.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kubernetes {
    /// The kubeconfig file; without it `KUBECONFIG`, `~/.kube/config` or the pod's service account, as kubectl does it.
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context; without it the current one.
    pub context: Option<String>,
    /// The cluster's name in subjects and messages: lower-case letters, digits, `-` and `.`.
    #[serde(deserialize_with = "cluster_name")]
    pub cluster: String,
    /// The alerts' label that names the cluster, where one Alertmanager serves several.
    pub cluster_label: Option<String>,
    /// How long one request may take; watches are not meant.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// How long connecting may take.
    #[serde(with = "optional_duration")]
    pub connect_timeout: Option<Duration>,
    /// The installation's key for the fingerprints of Secrets, 16 characters at least, the same for orchestrator and executor and for
    /// years: with another one every Secret counts as changed. Without one Secrets are not read, and count by their names alone.
    #[serde(deserialize_with = "fingerprint_key")]
    pub fingerprint_key: Option<Secret>,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            cluster: "default".into(),
            cluster_label: None,
            request_timeout: Duration::from_secs(10),
            connect_timeout: None,
            fingerprint_key: None,
        }
    }
}

fn fingerprint_key<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let key = Option::<Secret>::deserialize(deserializer)?;
    if key.as_ref().is_some_and(|key| key.expose().len() < 16) {
        return Err(serde::de::Error::custom("is shorter than 16 characters: what it protects could be guessed"));
    }
    Ok(key)
}

fn cluster_name<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    if name.is_empty() || name.len() > 63 || !name.bytes().all(good) {
        return Err(serde::de::Error::custom(format!(
            "`{name}` can't be a cluster's name: 1 to 63 lower-case letters, digits, `-` and `.`"
        )));
    }
    Ok(name)
}
