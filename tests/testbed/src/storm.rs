//! An alert storm: every workload of a cluster fails at once, and two Alertmanagers tell of it, over and over.
//!
//! Guarantees: bounded in number and time; alerts are numbered, so that what became of each can be checked exactly; a notification that is
//! answered 503 is sent again, as Alertmanager does, and any other refusal is an error. Must not: ask lastgood how it went; [`Tally`] is
//! made of what the streams hold.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::HeaderMap;
use async_nats::jetstream::{self, consumer::pull};
use contracts::subjects::{self, streams};
use contracts::v1::{self, WorkloadRef};
use contracts::{Fact, IncidentSubject, LedgerFact};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::wait;

/// Namespaces that the workloads are spread over.
const NAMESPACES: usize = 10;
/// Requests to the cluster, or to the bus, at the same time.
const AT_ONCE: usize = 16;
/// How often a notification that was answered 503 is sent again.
const TRIES: usize = 30;

/// How large it is.
#[derive(Debug, Clone, Copy)]
pub struct Storm {
    /// Deployments, each in its second version with a proved first one.
    pub workloads: usize,
    /// Alerts of each.
    pub alerts: usize,
}

/// Where it goes.
#[derive(Debug, Clone)]
pub struct Target {
    /// alert-ingest, `http://…`.
    pub ingest: String,
    /// Its bearer token.
    pub token: String,
    /// The client that keeps its connections.
    pub http: reqwest::Client,
}

/// What became of it, by what the streams hold.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Alerts with so many dispositions (opened, joined or dismissed).
    pub dispositions: BTreeMap<usize, usize>,
    /// Workloads with so many incidents.
    pub incidents: BTreeMap<usize, usize>,
    /// Plans.
    pub planned: usize,
    /// Halts by their reason.
    pub halted: BTreeMap<String, usize>,
    /// Rollbacks that began.
    pub started: usize,
    /// Dead letters.
    pub dead: u64,
}

impl Storm {
    fn namespace(workload: usize) -> String {
        format!("storm-{}", workload % NAMESPACES)
    }

    fn name(workload: usize) -> String {
        format!("app-{workload}")
    }

    /// Creates the Deployments (without pods: what runs is not what a storm of alerts is about) and a ledger in which each has a version
    /// that proved itself. lastgood's streams exist.
    pub async fn prepare(&self, client: &kube::Client, nats_url: &str, cluster: &str) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        for number in 0..NAMESPACES.min(self.workloads) {
            let body = serde_json::from_value(json!({"metadata": {"name": Self::namespace(number)}}))?;
            namespaces.create(&PostParams::default(), &body).await.context("a namespace")?;
        }
        let context = jetstream::new(async_nats::connect(nats_url).await?);
        let each = |workload: usize| {
            let (context, client) = (context.clone(), client.clone());
            async move {
                proved(&context, cluster, workload).await?;
                let api: Api<Deployment> = Api::namespaced(client, &Self::namespace(workload));
                let body = serde_json::from_value(manifest(&Self::name(workload)))?;
                api.create(&PostParams::default(), &body).await.context("a Deployment")?;
                anyhow::Ok(())
            }
        };
        stream::iter((0..self.workloads).map(each)).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    /// Waits until lastgood has seen the second version of every workload.
    pub async fn seen(&self, nats_url: &str, patience: Duration) -> Result<()> {
        let stream = jetstream::new(async_nats::connect(nats_url).await?).get_stream(streams::LEDGER).await?;
        let wanted = 3 * self.workloads;
        wait::until("the ledger of every workload", patience, || async {
            let info = stream.get_info().await.map_err(|error| error.to_string())?;
            let messages = usize::try_from(info.state.messages).unwrap_or(usize::MAX);
            if messages >= wanted { Ok(()) } else { Err(format!("{messages} facts of {wanted}")) }
        })
        .await?;
        Ok(())
    }

    /// The fingerprint of a workload's alert.
    #[must_use]
    pub fn fingerprint(workload: usize, alert: usize) -> String {
        format!("{workload:08x}{alert:08x}")
    }

    /// As an Alertmanager that groups by workload sends it: one notification each.
    #[must_use]
    pub fn by_workload(&self, starts_at: &str) -> Vec<Vec<u8>> {
        let of = |workload| (0..self.alerts).map(|alert| alert_json(workload, alert, starts_at)).collect::<Vec<_>>();
        (0..self.workloads).map(|workload| notification(&format!("workload-{workload}"), &of(workload))).collect()
    }

    /// As one that groups nothing apart sends it: one notification of all alerts, or, where that is more than `most`, one for each so many
    /// workloads; within it each workload's alerts are far apart.
    #[must_use]
    pub fn in_one_group(&self, starts_at: &str, most: usize) -> Vec<Vec<u8>> {
        let workloads: Vec<usize> = (0..self.workloads).collect();
        let group = |(number, workloads): (usize, &[usize])| {
            let all = (0..self.alerts).flat_map(|alert| workloads.iter().map(move |workload| (*workload, alert)));
            let all: Vec<Value> = all.map(|(workload, alert)| alert_json(workload, alert, starts_at)).collect();
            notification(&format!("everything-{number}"), &all)
        };
        workloads.chunks((most / self.alerts.max(1)).max(1)).enumerate().map(group).collect()
    }

    /// Waits until every alert has its disposition and every incident is decided, and nothing is left to be handled.
    pub async fn settled(&self, nats_url: &str, patience: Duration) -> Result<()> {
        let context = jetstream::new(async_nats::connect(nats_url).await?);
        let idle = async |stream: &str, durable: &str| -> Result<(), String> {
            let stream = context.get_stream(stream).await.map_err(|error| error.to_string())?;
            let mut consumer: jetstream::consumer::PullConsumer =
                stream.get_consumer(durable).await.map_err(|error| error.to_string())?;
            let info = consumer.info().await.map_err(|error| error.to_string())?;
            let left = usize::try_from(info.num_pending).unwrap_or(usize::MAX).saturating_add(info.num_ack_pending);
            if left == 0 { Ok(()) } else { Err(format!("{left} messages are left to {durable}")) }
        };
        wait::until("the storm settled", patience, || async {
            idle(streams::ALERTS, "orchestrator-alerts").await?;
            idle(streams::INCIDENTS, "orchestrator-resume").await
        })
        .await?;
        Ok(())
    }

    /// Counts what the streams hold.
    pub async fn tally(&self, nats_url: &str) -> Result<Tally> {
        let context = jetstream::new(async_nats::connect(nats_url).await?);
        let mut dispositions: BTreeMap<String, usize> = BTreeMap::new();
        let mut incidents: BTreeMap<String, usize> = BTreeMap::new();
        let mut tally = Tally::default();
        let stream = context.get_stream(streams::INCIDENTS).await?;
        let mut left = stream.cached_info().state.messages;
        let config = pull::OrderedConfig::default();
        let mut messages = stream.create_consumer(config).await?.messages().await?;
        while left > 0 {
            let message = tokio::time::timeout(Duration::from_secs(10), messages.next()).await.context("the log stalls")?;
            let message = message.context("the log ends early")?.map_err(|error| anyhow::anyhow!("{error}"))?;
            left -= 1;
            let subject = message.subject.as_str();
            if let Some(rest) = subject.strip_prefix("lastgood.occurrence.") {
                let (fingerprint, event_type) = rest.split_once('.').context("an occurrence's subject")?;
                *dispositions.entry(fingerprint.to_owned()).or_default() += usize::from(event_type != "occurrence_resolved");
            } else {
                let (incident, event_type) = IncidentSubject::parse(subject)?;
                let path = subjects::workload_path(&incident.workload);
                match Fact::decode(event_type, &message.payload)? {
                    Fact::AnomalyDetected(_) => *incidents.entry(path).or_default() += 1,
                    Fact::RollbackPlanned(_) => tally.planned += 1,
                    Fact::RollbackStarted(_) => tally.started += 1,
                    Fact::RollbackHalted(halted) => *tally.halted.entry(halted.reason).or_default() += 1,
                    _ => {}
                }
            }
        }
        for workload in 0..self.workloads {
            let path = subjects::workload_path(&reference("default", workload));
            *tally.incidents.entry(incidents.get(&path).copied().unwrap_or_default()).or_default() += 1;
            for alert in 0..self.alerts {
                let count = dispositions.get(&Self::fingerprint(workload, alert)).copied().unwrap_or_default();
                *tally.dispositions.entry(count).or_default() += 1;
            }
        }
        tally.dead = context.get_stream(streams::DEAD).await?.cached_info().state.messages;
        Ok(tally)
    }

    /// That the promises held: one disposition each, one incident each, no more plans than the brake lets pass, nothing dead.
    pub fn judge(&self, tally: &Tally, brake: usize) -> Result<()> {
        ensure!(
            tally.dispositions == BTreeMap::from([(1, self.workloads * self.alerts)]),
            "exactly one disposition each: {tally:?}"
        );
        ensure!(tally.incidents == BTreeMap::from([(1, self.workloads)]), "one incident a workload: {tally:?}");
        ensure!(tally.planned < brake, "at most {} plans pass the brake: {tally:?}", brake - 1);
        let halted: usize = tally.halted.values().sum();
        ensure!(
            tally.halted.contains_key("mass_failure") && halted + tally.planned >= self.workloads,
            "the brake holds: {tally:?}"
        );
        ensure!(tally.started == 0, "nothing is rolled back: {tally:?}");
        ensure!(tally.dead == 0, "nothing is dead: {tally:?}");
        Ok(())
    }
}

impl Target {
    /// Posts bodies, so many at a time, until each is accepted; how long the accepted POST of each took.
    pub async fn post_all(&self, bodies: Vec<Vec<u8>>, at_once: usize) -> Result<Vec<Duration>> {
        let posts = bodies.into_iter().map(|body| self.post(body));
        stream::iter(posts).buffer_unordered(at_once).try_collect().await
    }

    async fn post(&self, body: Vec<u8>) -> Result<Duration> {
        let body = bytes::Bytes::from(body);
        for _ in 0..TRIES {
            let began = Instant::now();
            let request = self.http.post(format!("{}/v1/alerts/alertmanager", self.ingest)).bearer_auth(&self.token);
            let request = request.header("Content-Type", "application/json").body(body.clone());
            let answer = request.send().await.context("posting alerts")?;
            let (status, said) = (answer.status(), answer.text().await.unwrap_or_default());
            if status.is_success() {
                return Ok(began.elapsed());
            }
            ensure!(status.as_u16() == 503, "alert-ingest: {status} {said}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        anyhow::bail!("alert-ingest was unavailable {TRIES} times")
    }
}

fn reference(cluster: &str, workload: usize) -> WorkloadRef {
    WorkloadRef {
        cluster: cluster.to_owned(),
        namespace: Storm::namespace(workload),
        kind: "Deployment".to_owned(),
        name: Storm::name(workload),
    }
}

/// Records a first version as one that has proved itself.
async fn proved(context: &jetstream::Context, cluster: &str, workload: usize) -> Result<()> {
    let workload = reference(cluster, workload);
    let template = json!({"spec": {"containers": [{"name": "web", "image": "web:v1"}]}});
    let template_hash = lastgood_core::template::hash(&template);
    let version = v1::Version { template_hash: template_hash.clone(), ..v1::Version::default() };
    let template_json = template.to_string().into_bytes();
    let stood = Some(contracts::time::duration_to_proto(std::time::Duration::from_hours(1)));
    let facts: [LedgerFact; 3] = [
        v1::VersionObserved { version: Some(version), template_json, ..v1::VersionObserved::default() }.into(),
        v1::VersionAvailable { template_hash: template_hash.clone(), replicas: 1, restarts: 0, images: Vec::new() }.into(),
        v1::VersionSoaked { template_hash, stood, replicas: 1, restarts: 0, images: Vec::new() }.into(),
    ];
    let mut expected = 0;
    for fact in facts {
        // As the product appends it: a reader goes back from fact to fact by what each expected.
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string().as_str());
        headers.insert("Nats-Expected-Last-Subject-Sequence-Subject", subjects::ledger_filter(&workload).as_str());
        let subject = subjects::ledger(&workload, fact.event_type());
        let stored =
            context.publish_with_headers(subject, headers, fact.encode().into()).await?.await.context("a ledger fact")?;
        expected = stored.sequence;
    }
    Ok(())
}

fn manifest(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "annotations": {"lastgood.dev/mode": "auto"}},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": "web:v2"}]},
            },
        },
    })
}

fn notification(group: &str, alerts: &[Value]) -> Vec<u8> {
    let body = json!({
        "version": "4", "groupKey": format!("{{}}:{{group=\"{group}\"}}"), "truncatedAlerts": 0, "status": "firing",
        "receiver": "lastgood", "groupLabels": {"group": group}, "commonLabels": {}, "commonAnnotations": {},
        "externalURL": "http://alertmanager.example:9093", "alerts": alerts,
    });
    body.to_string().into_bytes()
}

fn alert_json(workload: usize, alert: usize, starts_at: &str) -> Value {
    let (namespace, name) = (Storm::namespace(workload), Storm::name(workload));
    json!({
        "status": "firing",
        "labels": {
            "alertname": format!("Bad{alert}"), "severity": "page", "prometheus": "monitoring/k8s",
            "namespace": namespace, "deployment": name, "container": "web",
        },
        "annotations": {
            "summary": format!("{name} answers with errors"),
            "description": format!("12.3% of the requests to {namespace}/{name} have failed for 5 minutes; the limit is 5%."),
        },
        "startsAt": starts_at, "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example:9090/graph?g0.expr=errors&g0.tab=1",
        "fingerprint": Storm::fingerprint(workload, alert),
    })
}
