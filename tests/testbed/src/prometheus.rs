//! The real Prometheus, scraping the pods of a cluster every second and evaluating the alerts that lastgood reacts to.
//!
//! Guarantee: it listens on loopback, its storage is temporary, and its configuration is written from values, never pasted together.

mod pod_targets;

use std::{path::PathBuf, process::Command, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Error, ports,
    process::{Daemon, Process},
    tools, wait,
};

use self::pod_targets::PodTargets;

/// How long it may take to be ready.
const READY: Duration = Duration::from_secs(30);

/// What Prometheus scrapes, evaluates and tells.
#[derive(Debug, Clone)]
pub struct PrometheusOptions {
    /// The cluster whose pods are scraped; `None` scrapes only the static targets.
    pub kubeconfig: Option<PathBuf>,
    /// The port at which pods answer `/metrics`.
    pub pod_port: u16,
    /// More targets, for tests without a cluster.
    pub static_targets: Vec<StaticTarget>,
    /// Where alerts go: `http://127.0.0.1:…`, one or more.
    pub alertmanager_urls: Vec<String>,
    /// The alerts to evaluate.
    pub rules: Vec<Rule>,
    /// How often targets are scraped and rules evaluated; whole seconds.
    pub scrape_interval: Duration,
    /// Labels that every alert carries, for instance `cluster`.
    pub external_labels: Vec<(String, String)>,
}

impl Default for PrometheusOptions {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            pod_port: 8080,
            static_targets: Vec::new(),
            alertmanager_urls: Vec::new(),
            rules: vec![Rule::high_error_rate()],
            scrape_interval: Duration::from_secs(1),
            external_labels: Vec::new(),
        }
    }
}

/// One target named by hand.
#[derive(Debug, Clone)]
pub struct StaticTarget {
    /// `host:port`, scraped at `/metrics`.
    pub address: String,
    /// Labels added to its series.
    pub labels: Vec<(String, String)>,
}

/// An alerting rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The alert's name.
    pub alert: String,
    /// The expression that fires.
    pub expr: String,
    /// How long it must hold, as Prometheus writes durations (`0s`, `1m`).
    pub hold: String,
    /// Labels added to the alert.
    pub labels: Vec<(String, String)>,
    /// Annotations, templates allowed.
    pub annotations: Vec<(String, String)>,
}

impl Rule {
    /// `HighErrorRate` per namespace and deployment: more than a fifth of the answers in the last 5 s were 5xx. Pages at once.
    #[must_use]
    pub fn high_error_rate() -> Self {
        let rate = |selector: &str| format!("sum by (namespace, deployment) (rate(http_requests_total{selector}[5s]))");
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        Self {
            alert: "HighErrorRate".to_owned(),
            expr: format!("{} / {} > 0.2", rate("{code=~\"5..\"}"), rate("")),
            hold: "0s".to_owned(),
            labels: vec![label("severity", "page")],
            annotations: vec![
                label(
                    "summary",
                    "{{ $labels.deployment }} answers {{ $value | humanizePercentage }} of its requests with errors",
                ),
                label("description", "More than 20% of the answers of {{ $labels.namespace }}/{{ $labels.deployment }} are 5xx."),
            ],
        }
    }

    fn render(&self) -> Value {
        let map =
            |pairs: &[(String, String)]| pairs.iter().cloned().map(|(key, value)| (key, Value::String(value))).collect::<Value>();
        json!({
            "alert": self.alert, "expr": self.expr, "for": self.hold,
            "labels": map(&self.labels), "annotations": map(&self.annotations),
        })
    }
}

/// A Prometheus that runs.
#[derive(Debug)]
pub struct Prometheus {
    port: u16,
    daemon: Daemon,
    _pods: Option<PodTargets>,
    _temporary: TempDir,
}

impl Prometheus {
    /// Starts it and waits till it is ready to answer queries.
    pub async fn start(options: PrometheusOptions) -> Result<Self, Error> {
        let binary = tools::prometheus().await?;
        let temporary = tempfile::Builder::new().prefix("lastgood-prometheus-").tempdir();
        let temporary = temporary.map_err(Error::io("a directory for Prometheus"))?;
        let (dir, port) = (temporary.path().to_owned(), ports::free()?);
        let pods = match &options.kubeconfig {
            Some(kubeconfig) => Some(PodTargets::start(kubeconfig, options.pod_port).await?),
            None => None,
        };
        // JSON is YAML, and quoting is nobody's business then.
        write_json(&dir.join("prometheus.yml"), &config(&options, pods.as_ref().map(PodTargets::url)))?;
        write_json(&dir.join("rules.yml"), &rules(&options))?;
        let log = dir.join("prometheus.log");
        let daemon = Daemon::start("prometheus", log, move || {
            let mut command = Command::new(&binary);
            command
                .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
                .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                // Alerts are told again soon, so that an Alertmanager that was restarted learns of them.
                .arg("--rules.alert.resend-delay=2s")
                .current_dir(&dir);
            command
        })?;
        let prometheus = Self { port, daemon, _pods: pods, _temporary: temporary };
        prometheus.ready().await?;
        Ok(prometheus)
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

    /// Starts it again with the same port and storage.
    pub async fn restart(&self) -> Result<(), Error> {
        self.daemon.respawn().await?;
        self.ready().await
    }

    /// An instant query; the `result` array of the answer.
    pub async fn query(&self, expr: &str) -> Result<Vec<Value>, Error> {
        let mut url = url::Url::parse(&self.url()).map_err(|error| Error::request(expr, error))?;
        url.set_path("/api/v1/query");
        url.query_pairs_mut().append_pair("query", expr);
        let body = wait::get(url.as_str()).await.map_err(|reason| Error::request(format!("query {expr}"), reason))?;
        let mut answer: Value = serde_json::from_str(&body).map_err(|error| Error::request(format!("query {expr}"), error))?;
        match answer["data"]["result"].take() {
            Value::Array(result) => Ok(result),
            other => Err(Error::request(format!("query {expr}"), format!("no vector: {other}"))),
        }
    }

    /// The names and labels of the alerts that fire now (not pending).
    pub async fn firing(&self) -> Result<Vec<Value>, Error> {
        let samples = self.query("ALERTS{alertstate=\"firing\"}").await?;
        Ok(samples.into_iter().map(|mut sample| sample["metric"].take()).collect())
    }

    async fn ready(&self) -> Result<(), Error> {
        let url = format!("{}/-/ready", self.url());
        self.daemon.ready(READY, || async { wait::get(&url).await.map(drop) }).await
    }
}

pub(crate) fn write_json(path: &std::path::Path, value: &Value) -> Result<(), Error> {
    std::fs::write(path, value.to_string()).map_err(Error::io(format!("writing {}", path.display())))
}

fn rules(options: &PrometheusOptions) -> Value {
    json!({ "groups": [{ "name": "testbed", "rules": options.rules.iter().map(Rule::render).collect::<Vec<_>>() }] })
}

fn config(options: &PrometheusOptions, pods: Option<&str>) -> Value {
    let interval = format!("{}s", options.scrape_interval.as_secs().max(1));
    let map =
        |pairs: &[(String, String)]| pairs.iter().cloned().map(|(key, value)| (key, Value::String(value))).collect::<Value>();
    let static_configs: Vec<Value> = (options.static_targets.iter())
        .map(|target| json!({ "targets": [target.address], "labels": map(&target.labels) }))
        .collect();
    let mut scrapes = vec![json!({ "job_name": "static", "static_configs": static_configs })];
    if let Some(url) = pods {
        scrapes.push(json!({
            "job_name": "pods",
            "http_sd_configs": [{ "url": url, "refresh_interval": interval }],
            "relabel_configs": pod_relabeling(),
        }));
    }
    let hosts = options.alertmanager_urls.iter().map(|url| url.trim_start_matches("http://").trim_end_matches('/'));
    let hosts: Vec<&str> = hosts.collect();
    json!({
        "global": {
            "scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval,
            "external_labels": map(&options.external_labels),
        },
        "rule_files": ["rules.yml"],
        "alerting": { "alertmanagers": [{ "api_version": "v2", "static_configs": [{ "targets": hosts }] }] },
        "scrape_configs": scrapes,
    })
}

/// Running pods that ask for it, each at one address, with the labels that alerts are grouped by.
fn pod_relabeling() -> Value {
    let meta = |name: &str| json!([format!("__meta_kubernetes_pod_{name}")]);
    json!([
        { "source_labels": meta("annotation_prometheus_io_scrape"), "regex": "true", "action": "keep" },
        { "source_labels": meta("phase"), "regex": "Running", "action": "keep" },
        { "source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace" },
        { "source_labels": meta("name"), "target_label": "pod" },
        { "source_labels": meta("label_app"), "target_label": "deployment" },
        { "source_labels": meta("label_version"), "regex": "(.+)", "target_label": "version" },
    ])
}
