//! The sections `ingest` and `detector`, and the sizes in them.
//!
//! Guarantees: the defaults run as they are; what can't work together is refused at the start. Must not: print a secret.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use chassis::config::{Admin, Kubernetes, Nats, Secret, Telemetry, duration};
use serde::{Deserialize, Deserializer, de::Error};

use crate::auth::Auth;

/// All that alert-ingest reads.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The bus.
    pub nats: Nats,
    /// Health and metrics.
    pub admin: Admin,
    /// Logs and traces.
    pub telemetry: Telemetry,
    /// The cluster that the detector watches.
    pub kubernetes: Kubernetes,
    /// The HTTP endpoints.
    pub ingest: Ingest,
    /// The detector of rollouts that fail by themselves.
    pub detector: Detector,
}

/// `ingest`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ingest {
    /// Where it listens for alerts and acknowledgements.
    pub listen: SocketAddr,
    /// The token that senders show; or `bearer_token_file`.
    pub bearer_token: Option<Secret>,
    /// The user and password that senders show.
    pub basic: Option<Basic>,
    /// The largest body taken, bytes or e.g. `16MiB`; also what a compressed one may grow to.
    #[serde(deserialize_with = "size")]
    pub max_body: usize,
    /// How many bodies are parsed and stored at once, and how many of the largest size are held in memory; more wait.
    pub max_in_flight: usize,
    /// How many connections are open at once; more wait.
    pub max_connections: usize,
    /// The secret of the PagerDuty webhook subscription; without it none is accepted.
    pub pagerduty_secret: Option<Secret>,
    /// The same notification within this long is one message; keep it well above the delay between Alertmanager peers (15 s), and
    /// below their `repeat_interval`, because a repeat tells that the alert still fires. At most an hour.
    #[serde(with = "duration")]
    pub repeat_window: Duration,
    /// How long each step may take.
    pub timeouts: Timeouts,
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::UNSPECIFIED, 8080).into(),
            bearer_token: None,
            basic: None,
            max_body: 16 << 20,
            max_in_flight: 16,
            max_connections: 1024,
            pagerduty_secret: None,
            repeat_window: Duration::from_mins(1),
            timeouts: Timeouts::default(),
        }
    }
}

impl Ingest {
    /// Who may post.
    #[must_use]
    pub fn auth(&self) -> Auth {
        let basic = self.basic.as_ref().map(|basic| (basic.username.as_str(), basic.password.expose()));
        Auth::new(self.bearer_token.as_ref().map(Secret::expose), basic)
    }
}

/// `ingest.basic`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The user's name.
    pub username: String,
    /// The user's password; or `password_file`.
    pub password: Secret,
}

/// `ingest.timeouts`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Until the head of a request is complete; also how long an idle connection is kept.
    #[serde(with = "duration")]
    pub header: Duration,
    /// Until its body is complete.
    #[serde(with = "duration")]
    pub body: Duration,
    /// Until NATS has acknowledged.
    #[serde(with = "duration")]
    pub store: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { header: Duration::from_secs(10), body: Duration::from_secs(10), store: Duration::from_secs(4) }
    }
}

/// `detector`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Detector {
    /// Whether rollouts are watched at all.
    pub enabled: bool,
    /// How long containers of a new version must keep crashing before that is an alert.
    #[serde(with = "duration")]
    pub grace: Duration,
    /// How long a container that was restarted must run before its crashes count as over.
    #[serde(with = "duration")]
    pub settle: Duration,
    /// How long a pod of a StatefulSet's or DaemonSet's new version may take to get ready; a Deployment has a deadline of its own
    /// (`progressDeadlineSeconds`).
    #[serde(with = "duration")]
    pub progress: Duration,
    /// How often an alert that goes on is told again, as Alertmanager's `repeat_interval`.
    #[serde(with = "duration")]
    pub repeat: Duration,
    /// The namespaces to watch; all when empty.
    pub namespaces: Vec<String>,
}

impl Default for Detector {
    fn default() -> Self {
        Self {
            enabled: true,
            grace: Duration::from_secs(10),
            settle: Duration::from_secs(30),
            progress: Duration::from_mins(10),
            repeat: Duration::from_mins(5),
            namespaces: Vec::new(),
        }
    }
}

/// Bytes as a number, or with `KiB`, `MiB`, `GiB` (or `KB`, `MB`, `GB` of 1000).
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Number(u64),
        Text(String),
    }
    let bytes = match Given::deserialize(deserializer)? {
        Given::Number(bytes) => Some(bytes),
        Given::Text(text) => parse_size(&text),
    };
    bytes
        .and_then(|bytes| usize::try_from(bytes).ok())
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| D::Error::custom("it is not a size like `16MiB`, nor a number of bytes above 0"))
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(environment: &[(&str, &str)]) -> Result<Config, String> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        chassis::config::load_from(None, environment).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_and_environment() {
        let config = read(&[]).unwrap();
        assert_eq!(config.ingest.max_body, 16 * 1024 * 1024);
        assert!(config.ingest.auth().lets_everybody_in());
        let config = read(&[
            ("LASTGOOD_INGEST__MAX_BODY", "1MiB"),
            ("LASTGOOD_INGEST__BASIC__USERNAME", "am"),
            ("LASTGOOD_INGEST__BASIC__PASSWORD", "pa"),
            ("LASTGOOD_INGEST__TIMEOUTS__STORE", "2s"),
            ("LASTGOOD_DETECTOR__NAMESPACES", "shop,web"),
        ])
        .unwrap();
        assert_eq!(config.ingest.max_body, 1 << 20);
        assert!(!config.ingest.auth().lets_everybody_in());
        assert_eq!(config.ingest.timeouts.store, Duration::from_secs(2));
        assert_eq!(config.detector.namespaces, ["shop", "web"]);
        assert!(!format!("{config:?}").contains("\"pa\""));
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_key() {
        let refused = read(&[("LASTGOOD_INGEST__MAX_BODY", "16 megs")]).unwrap_err();
        assert!(refused.contains("max_body"), "{refused}");
        assert!(read(&[("LASTGOOD_INGEST__MAX_BODDY", "1")]).is_err());
        assert!(read(&[("LASTGOOD_DETECTOR__GRACE", "ten")]).is_err());
    }

    #[test]
    fn sizes_by_table() {
        for (text, bytes) in [("16MiB", Some(16 << 20)), ("900 KiB", Some(900 << 10)), ("7", Some(7)), ("1MB", Some(1_000_000))] {
            assert_eq!(parse_size(text), bytes);
        }
        for text in ["", "MiB", "-1", "1TB", "99999999999999999999"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
