//! What people and machines around lastgood do in a world: raise and resolve alerts, acknowledge, pause, look at the cluster.
//!
//! Guarantees: an alert goes through a real Alertmanager; every wait has a deadline. Must not: reach into a service.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use contracts::IncidentSubject;
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Endpoints;
use kube::api::Api;
use kube::runtime::watcher;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::app::App;
use crate::journal::Journal;
use crate::load::Load;
use crate::receivers::pagerduty::Page;
use crate::receivers::slack::Message;
use crate::tools;
use crate::wait;
use crate::world::World;

const PATIENCE: Duration = Duration::from_mins(1);

impl World {
    /// Users of the application: 20 requests a second to its Service, until dropped.
    pub async fn load(&self, app: &App) -> Result<Load> {
        Ok(Load::start(&format!("{}/", app.url().await?), 20, Duration::from_mins(5))?)
    }

    /// Fires an alert of this name on the application, as a rule in Prometheus would; it fires until resolved.
    pub async fn raise(&self, app: &App, alert: &str) -> Result<()> {
        self.tell(&json!([firing(app, alert)])).await
    }

    /// Fires it on all of them in one go.
    pub async fn raise_all(&self, apps: &[App], alert: &str) -> Result<()> {
        self.tell(&apps.iter().map(|app| firing(app, alert)).collect()).await
    }

    /// Resolves it.
    pub async fn resolve(&self, app: &App, alert: &str) -> Result<()> {
        let mut resolved = firing(app, alert);
        resolved["endsAt"] = json!(now().to_string());
        self.tell(&json!([resolved])).await
    }

    /// Prometheus sends to every Alertmanager, so that is what is done here.
    async fn tell(&self, alerts: &Value) -> Result<()> {
        for alertmanager in std::iter::once(&self.alertmanager).chain(&self.peer) {
            alertmanager.post_alerts(alerts).await.context("posting to Alertmanager")?;
        }
        Ok(())
    }

    /// How many notifications about this application were stored.
    #[must_use]
    pub fn alerts_heard(&self, app: &App) -> usize {
        self.journal.notifications(&app.namespace).len()
    }

    /// Waits until that many were stored.
    pub async fn wait_alerts_heard(&self, app: &App, count: usize, deadline: Duration) -> Result<()> {
        let heard = |journal: &Journal| journal.notifications(&app.namespace).len();
        let what = format!("{count} notifications about {}", app.name);
        self.journal.wait(&what, deadline, |j| (heard(j) >= count).then_some(()), |j| format!("{} were heard", heard(j))).await
    }

    /// The wall clock's second.
    #[must_use]
    pub fn unix_now(&self) -> i64 {
        now().as_second()
    }

    /// Waits until this wall-clock second.
    pub async fn wait_until(&self, unix: i64) {
        let left = u64::try_from(unix - now().as_second()).unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(left)).await;
    }

    /// Waits until the executor's write of this incident is on the workload.
    pub async fn wait_written(&self, app: &App, incident: &IncidentSubject) -> Result<()> {
        let id = incident.incident.to_string();
        let what = format!("the rollback of {id} being written");
        let probe = || async {
            let workload = app.workload().await.ok()?;
            (workload["metadata"]["annotations"]["lastgood.dev/incident"] == id.as_str()).then_some(())
        };
        Ok(wait::until(&what, PATIENCE, probe).await?)
    }

    /// The real kubectl on this cluster.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let kubectl = tools::kubectl().await?;
        let run = tokio::process::Command::new(kubectl).args(arguments).env("KUBECONFIG", self.ground.kubeconfig()).output();
        let output = tokio::time::timeout(PATIENCE, run).await.context("kubectl took too long")?.context("running kubectl")?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "kubectl {arguments:?}: {err}");
        Ok(out.into_owned())
    }

    /// `kubectl apply` of one object, as its owner would, with these further arguments.
    pub async fn apply(&self, object: &Value, arguments: &[&str]) -> Result<String> {
        let name = |key: &str| object["metadata"][key].as_str().unwrap_or("none").to_owned();
        let file = self.dir().join(format!("{}-{}.json", name("namespace"), name("name")));
        std::fs::write(&file, object.to_string()).context("writing a manifest")?;
        let file = file.display().to_string();
        let mut all = vec!["apply", "-f", file.as_str()];
        all.extend(arguments);
        self.kubectl(&all).await
    }

    /// What Prometheus and the journal know of an application's alerts: the last words of a scenario whose alert never came.
    pub async fn alerting(&self, app: &App, load: &Load) -> String {
        let of = |metric: &str| format!("{metric}{{namespace=\"{}\"}}", app.namespace);
        let mut words = format!("requests: {:?}", load.counts());
        let answers = format!("sum by (pod, code) ({})", of("http_requests_total"));
        for query in [of("up"), of("scrape_duration_seconds"), answers, of("ALERTS")] {
            let found = match self.prometheus.query(&query).await {
                Ok(found) => {
                    let samples = found.iter().map(|sample| format!("\n    {} {}", sample["metric"], sample["value"]));
                    samples.collect::<Vec<_>>().concat()
                }
                Err(error) => format!(" {error}"),
            };
            words.push_str(&["\n  ", &query, ":", &found].concat());
        }
        format!("{words}\n  notifications heard: {}", self.alerts_heard(app))
    }

    /// The pages of an incident.
    #[must_use]
    pub fn pages(&self, incident: &str) -> Vec<Page> {
        self.pagerduty.pages().into_iter().filter(|page| page.dedup_key.contains(incident)).collect()
    }

    /// The change events of an incident.
    #[must_use]
    pub fn changes(&self, incident: &str) -> usize {
        self.pagerduty.changes().iter().filter(|change| change.payload.to_string().contains(incident)).count()
    }

    /// Waits for an incident's page to this audience (`on_call`, `team_lead`).
    pub async fn page(&self, incident: &str, audience: &str, deadline: Duration) -> Result<Page> {
        let key = format!("/{incident}/{audience}/");
        let what = format!("a page to {audience} about {incident}");
        let probe = || async {
            let pages = self.pages(incident);
            let seen: Vec<_> = pages.iter().map(|page| page.dedup_key.clone()).collect();
            pages.into_iter().find(|page| page.dedup_key.contains(&key)).ok_or_else(|| format!("{seen:?}"))
        };
        Ok(wait::until(&what, deadline, probe).await?)
    }

    /// The one thread of an incident.
    pub fn thread(&self, incident: &str) -> Result<(Message, Vec<Message>)> {
        let named = |message: &Message| format!("{}{}{}", message.text(), message.blocks(), message.metadata).contains(incident);
        let mut threads: Vec<_> = self.slack.threads().into_iter().filter(|(parent, _)| named(parent)).collect();
        ensure!(threads.len() == 1, "{} chat threads about {incident}, not one", threads.len());
        threads.pop().context("a thread")
    }

    /// Somebody acknowledges the incident.
    pub async fn acknowledge(&self, incident: &IncidentSubject) -> Result<()> {
        let url = format!("{}/v1/incidents/{}/acknowledge", self.ingest_url(), incident.incident);
        let request = wait::http().post(url).bearer_auth(self.ingest_token()).json(&json!({"who": "sam", "note": "on it"}));
        let answer = request.send().await.context("acknowledging")?;
        let (status, body) = (answer.status(), answer.text().await.unwrap_or_default());
        ensure!(status.is_success(), "acknowledging: {status} {body}");
        Ok(())
    }

    /// Presses the pause switch.
    pub async fn pause(&self, reason: &str) -> Result<()> {
        self.switch("pause", reason).await
    }

    /// Takes it back.
    pub async fn unpause(&self, reason: &str) -> Result<()> {
        self.switch("resume", reason).await
    }

    async fn switch(&self, command: &str, reason: &str) -> Result<()> {
        let program = self.binaries.path("lastgood-orchestrator")?;
        let mut run = tokio::process::Command::new(program);
        // As a person's shell would have it: the service's configuration, and nothing of this test's.
        run.env_clear().envs(&self.env).args([command, "--who", "sam", "--reason", reason]).kill_on_drop(true);
        let run = run.output();
        let output = tokio::time::timeout(PATIENCE, run).await.context("the switch took too long")?.context("running it")?;
        if !output.status.success() {
            bail!("{command}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Watches how many ready endpoints the application's Service has, from now on.
    pub async fn watch_endpoints(&self, app: &App) -> Result<EndpointWatch> {
        let api: Api<Endpoints> = Api::namespaced(self.client.clone(), &app.namespace);
        let current = ready(&api.get(&app.name).await.context("reading the endpoints")?);
        let fewest = Arc::new(AtomicUsize::new(current));
        let (seen, name) = (Arc::clone(&fewest), app.name.clone());
        let task = tokio::spawn(async move {
            let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
            let mut events = watcher::watcher(api, config).boxed();
            while let Some(event) = events.next().await {
                match event {
                    Ok(watcher::Event::Apply(endpoints) | watcher::Event::InitApply(endpoints)) => {
                        seen.fetch_min(ready(&endpoints), Ordering::Relaxed);
                    }
                    Ok(watcher::Event::Delete(_)) => seen.store(0, Ordering::Relaxed),
                    Ok(watcher::Event::Init | watcher::Event::InitDone) | Err(_) => {}
                }
            }
        });
        Ok(EndpointWatch { fewest, task })
    }
}

/// A watch on a Service's endpoints.
#[derive(Debug)]
pub struct EndpointWatch {
    fewest: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl EndpointWatch {
    /// The fewest ready endpoints since it began; ends the watch.
    #[must_use]
    pub fn fewest_ready(&self) -> usize {
        self.task.abort();
        self.fewest.load(Ordering::Relaxed)
    }
}

fn ready(endpoints: &Endpoints) -> usize {
    endpoints.subsets.iter().flatten().map(|subset| subset.addresses.as_ref().map_or(0, Vec::len)).sum()
}

fn firing(app: &App, alert: &str) -> Value {
    let mut labels = json!({"alertname": alert, "namespace": app.namespace, "severity": "page"});
    labels[app.kind().label()] = json!(app.name);
    json!({
        "labels": labels,
        "annotations": {"summary": format!("{alert} on {}", app.name)},
        "startsAt": now().to_string(),
        "generatorURL": "http://prometheus.example/graph"
    })
}

#[expect(clippy::disallowed_methods, reason = "the testbed plays the world outside, whose clocks are real")]
fn now() -> Timestamp {
    Timestamp::now()
}
