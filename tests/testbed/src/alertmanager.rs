//! The real Alertmanager, one or two peers, which posts to lastgood's webhook as it would in a cluster.
//!
//! Guarantee: it listens on loopback, and its storage survives a restart but not its owner. Repeats come soon on purpose, because
//! lastgood must bear them.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Error, ports,
    process::{Daemon, Process},
    prometheus::write_json,
    tools, wait,
};

/// How long it may take to be ready; two peers settle first.
const READY: Duration = Duration::from_secs(30);

/// Where notifications go, and how often.
#[derive(Debug, Clone)]
pub struct AlertmanagerOptions {
    /// The webhook that is told.
    pub webhook_url: String,
    /// Sent as `Authorization: Bearer …` when set.
    pub bearer_token: Option<String>,
    /// The labels alerts are grouped by.
    pub group_by: Vec<String>,
    /// How long a new group waits for more alerts.
    pub group_wait: Duration,
    /// How long till a changed group is told again; also how often a refused notification is retried at the latest.
    pub group_interval: Duration,
    /// How long till an unchanged group is told again.
    pub repeat_interval: Duration,
    /// With peers: how much longer each waits than the one before it.
    pub peer_timeout: Duration,
}

impl AlertmanagerOptions {
    /// Groups by alert name, namespace and deployment, tells at once, and repeats every 10 s.
    #[must_use]
    pub fn new(webhook_url: impl Into<String>) -> Self {
        Self {
            webhook_url: webhook_url.into(),
            bearer_token: None,
            group_by: ["alertname", "namespace", "deployment"].map(str::to_owned).to_vec(),
            group_wait: Duration::ZERO,
            group_interval: Duration::from_secs(1),
            repeat_interval: Duration::from_secs(10),
            peer_timeout: Duration::from_secs(1),
        }
    }
}

/// An Alertmanager that runs.
#[derive(Debug)]
pub struct Alertmanager {
    port: u16,
    daemon: Daemon,
    _temporary: TempDir,
}

impl Alertmanager {
    /// Starts one without peers.
    pub async fn start(options: AlertmanagerOptions) -> Result<Self, Error> {
        let alertmanager = Self::launch(&options, vec!["--cluster.listen-address=".to_owned()]).await?;
        alertmanager.ready().await?;
        Ok(alertmanager)
    }

    /// Starts two that gossip about what they have told, and waits till they see each other.
    pub async fn start_pair(options: AlertmanagerOptions) -> Result<(Self, Self), Error> {
        let (first_peer, second_peer) = (ports::free()?, ports::free()?);
        let cluster = |own: u16, other: u16| {
            vec![
                format!("--cluster.listen-address=127.0.0.1:{own}"),
                format!("--cluster.advertise-address=127.0.0.1:{own}"),
                format!("--cluster.peer=127.0.0.1:{other}"),
                format!("--cluster.peer-timeout={}ms", options.peer_timeout.as_millis()),
                "--cluster.settle-timeout=2s".to_owned(),
                "--cluster.gossip-interval=50ms".to_owned(),
                "--cluster.pushpull-interval=1s".to_owned(),
                "--cluster.reconnect-interval=1s".to_owned(),
            ]
        };
        let first = Self::launch(&options, cluster(first_peer, second_peer)).await?;
        let second = Self::launch(&options, cluster(second_peer, first_peer)).await?;
        for one in [&first, &second] {
            one.ready().await?;
            wait::until("two Alertmanagers to see each other", READY, || async {
                let peers = one.status().await?["cluster"]["peers"].as_array().map_or(0, Vec::len);
                if peers == 2 { Ok(()) } else { Err(format!("{peers} peers")) }
            })
            .await?;
        }
        Ok((first, second))
    }

    async fn launch(options: &AlertmanagerOptions, cluster: Vec<String>) -> Result<Self, Error> {
        let binary = tools::alertmanager().await?;
        let temporary = tempfile::Builder::new().prefix("lastgood-alertmanager-").tempdir();
        let temporary = temporary.map_err(Error::io("a directory for Alertmanager"))?;
        let (dir, port) = (temporary.path().to_owned(), ports::free()?);
        write_json(&dir.join("alertmanager.yml"), &config(options))?;
        if let Some(prefix) = binary.parent().and_then(Path::parent) {
            let link = dir.join(tools::ALERTMANAGER_ASSETS);
            std::os::unix::fs::symlink(prefix.join("share/prometheus/alertmanager"), &link)
                .map_err(Error::io(format!("linking {}", link.display())))?;
        }
        let daemon = Daemon::start("alertmanager", dir.join("alertmanager.log"), move || {
            let mut command = Command::new(&binary);
            command.args(arguments(&dir, port)).args(&cluster).current_dir(&dir);
            command
        })?;
        Ok(Self { port, daemon, _temporary: temporary })
    }

    /// The address, `http://127.0.0.1:…`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The process, to pause it.
    #[must_use]
    pub fn process(&self) -> Arc<Process> {
        self.daemon.process()
    }

    /// SIGKILL.
    pub async fn kill(&self) -> Result<(), Error> {
        self.daemon.kill().await
    }

    /// Starts it again with the same port and storage; it has forgotten the alerts till they are told again.
    pub async fn restart(&self) -> Result<(), Error> {
        self.daemon.respawn().await?;
        self.ready().await
    }

    /// Posts alerts as Prometheus would: an array of `{labels, annotations, startsAt, endsAt}`.
    pub async fn post_alerts(&self, alerts: &Value) -> Result<(), Error> {
        let url = format!("{}/api/v2/alerts", self.url());
        let failed = |reason: String| Error::request(format!("POST {url}"), reason);
        let answer = wait::http().post(&url).json(alerts).send().await.map_err(|error| failed(wait::chain(&error)))?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(failed(format!("{status} {}", answer.text().await.unwrap_or_default()))) }
    }

    /// The alerts it knows of, as its API tells them.
    pub async fn alerts(&self) -> Result<Value, Error> {
        let url = format!("{}/api/v2/alerts", self.url());
        let body = wait::get(&url).await.map_err(|reason| Error::request("the alerts", reason))?;
        serde_json::from_str(&body).map_err(|error| Error::request("the alerts", error))
    }

    async fn status(&self) -> Result<Value, String> {
        let body = wait::get(&format!("{}/api/v2/status", self.url())).await?;
        serde_json::from_str(&body).map_err(|error| error.to_string())
    }

    async fn ready(&self) -> Result<(), Error> {
        let url = format!("{}/-/ready", self.url());
        self.daemon.ready(READY, || async { wait::get(&url).await.map(drop) }).await
    }
}

fn arguments(dir: &Path, port: u16) -> [String; 4] {
    [
        format!("--config.file={}", dir.join("alertmanager.yml").display()),
        format!("--storage.path={}", dir.join("data").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--log.level=debug".to_owned(),
    ]
}

fn config(options: &AlertmanagerOptions) -> Value {
    let millis = |duration: Duration| format!("{}ms", duration.as_millis());
    let mut http = json!({ "follow_redirects": false });
    if let Some(token) = &options.bearer_token {
        http["authorization"] = json!({ "type": "Bearer", "credentials": token });
    }
    json!({
        "route": {
            "receiver": "lastgood",
            "group_by": options.group_by,
            // Alertmanager refuses an interval of zero, and takes a wait of zero.
            "group_wait": millis(options.group_wait),
            "group_interval": millis(options.group_interval.max(Duration::from_millis(1))),
            "repeat_interval": millis(options.repeat_interval.max(Duration::from_millis(1))),
        },
        "receivers": [{
            "name": "lastgood",
            "webhook_configs": [{ "url": options.webhook_url, "send_resolved": true, "http_config": http }],
        }],
    })
}
