//! What people and machines around lastgood do in a small world: alerts begin and end, pages are acknowledged; and how a test knows that
//! nothing is under way any more.
//!
//! Guarantees: an alert is posted again until it is taken, as Alertmanager does it; every wait has a deadline. Must not: reach into a
//! service.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_nats::jetstream::consumer;
use contracts::subjects::streams;
use contracts::{IncidentSubject, LedgerFact};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::app::{App, AppOptions};
use crate::receivers::pagerduty::Page;
use crate::small_world::SmallWorld;
use crate::wait;

/// Long enough for a machine that runs many worlds at once.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Where Alertmanager posts.
const ALERTS: &str = "/v1/alerts/alertmanager";

/// One alert about an application, from its beginning to its end.
#[derive(Debug, Clone)]
pub struct Alarm {
    alert: String,
    namespace: String,
    deployment: Option<String>,
    starts_at: Timestamp,
}

impl Alarm {
    /// Begins now, about this application's Deployment.
    #[must_use]
    pub fn about(app: &App, alert: &str) -> Self {
        Self::about_named(&app.namespace, &app.name, alert)
    }

    /// Begins now, about the Deployment of this name.
    #[must_use]
    pub fn about_named(namespace: &str, name: &str, alert: &str) -> Self {
        let deployment = Some(name.to_owned());
        Self { alert: alert.to_owned(), namespace: namespace.to_owned(), deployment, starts_at: now() }
    }

    /// Begins now, and names no workload.
    #[must_use]
    pub fn about_nothing(namespace: &str, alert: &str) -> Self {
        Self { alert: alert.to_owned(), namespace: namespace.to_owned(), deployment: None, starts_at: now() }
    }

    /// Its fingerprint: another one for other labels.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let labels = format!("{}/{}/{:?}", self.alert, self.namespace, self.deployment);
        let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        format!("{:016x}", labels.bytes().fold(0xcbf2_9ce4_8422_2325, fnv))
    }

    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> Value {
        let mut labels = json!({"alertname": self.alert, "severity": "page", "namespace": self.namespace});
        if let Some(deployment) = &self.deployment {
            labels["deployment"] = json!(deployment);
        }
        labels
    }

    fn notification(&self, ends_at: Option<Timestamp>) -> Value {
        let status = if ends_at.is_some() { "resolved" } else { "firing" };
        let ends_at = ends_at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_string());
        json!({
            "version": "4", "groupKey": format!("{{}}:{{alertname=\"{}\"}}", self.alert), "truncatedAlerts": 0,
            "status": status, "receiver": "lastgood", "groupLabels": {"alertname": self.alert}, "commonLabels": self.labels(),
            "commonAnnotations": {}, "externalURL": "http://alertmanager.example:9093",
            "alerts": [{
                "status": status, "labels": self.labels(), "annotations": {"summary": format!("{} it is", self.alert)},
                "startsAt": self.starts_at.to_string(), "endsAt": ends_at,
                "generatorURL": "http://prometheus.example:9090/graph", "fingerprint": self.fingerprint(),
            }],
        })
    }
}

impl SmallWorld {
    /// An application in a namespace of its name; nothing runs yet.
    pub async fn app(&self, name: &str, options: AppOptions) -> Result<App> {
        App::create(self.client.clone(), name, name, options).await
    }

    /// Waits until the ledger has seen this many versions of it fully available, and the first one stand as long as it has to.
    pub async fn proved(&self, app: &App, versions: usize) -> Result<()> {
        app.available(PATIENCE).await?;
        let available = |fact: &LedgerFact| matches!(fact, LedgerFact::VersionAvailable(_));
        self.journal.wait_ledger_count(&app.namespace, &app.name, "version_available", PATIENCE, versions, available).await?;
        let soaked = |fact: &LedgerFact| matches!(fact, LedgerFact::VersionSoaked(_));
        self.journal.wait_ledger_count(&app.namespace, &app.name, "version_soaked", PATIENCE, 1, soaked).await
    }

    /// Tells that the alert fires, until somebody has taken it.
    pub async fn raise(&self, alarm: &Alarm) -> Result<()> {
        self.tell(ALERTS, &alarm.notification(None)).await
    }

    /// Tells once that the alert fires, and gives the answer's status.
    pub async fn try_raise(&self, alarm: &Alarm) -> Result<http::StatusCode> {
        let url = self.ingest_urls().into_iter().next().context("no alert-ingest")?;
        let request = wait::http().post(format!("{url}{ALERTS}")).bearer_auth(self.ingest_token());
        Ok(request
            .json(&alarm.notification(None))
            .timeout(Duration::from_secs(20))
            .send()
            .await
            .context("posting an alert")?
            .status())
    }

    /// Tells that it has ended, until somebody has taken it.
    pub async fn resolve(&self, alarm: &Alarm) -> Result<()> {
        self.tell(ALERTS, &alarm.notification(Some(now()))).await
    }

    /// Somebody acknowledges the incident, trying until it is taken.
    pub async fn acknowledge(&self, incident: &IncidentSubject) -> Result<()> {
        let path = format!("/v1/incidents/{}/acknowledge", incident.incident);
        self.tell(&path, &json!({"who": "sam", "note": "on it"})).await
    }

    /// Posts to any alert-ingest until one takes it: 5xx and no answer mean again, 4xx is an error.
    async fn tell(&self, path: &str, body: &Value) -> Result<()> {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            for url in self.ingest_urls() {
                let request = wait::http().post(format!("{url}{path}")).bearer_auth(self.ingest_token()).json(body);
                match request.send().await {
                    Ok(answer) if answer.status().is_success() => return Ok(()),
                    Ok(answer) if answer.status().is_client_error() => {
                        bail!("{path}: {} {}", answer.status(), answer.text().await.unwrap_or_default())
                    }
                    _ => {}
                }
            }
            if tokio::time::Instant::now() >= end {
                bail!("nobody took {path} within {PATIENCE:?}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The incident that opens on an application, the `nth` (0 is the first).
    pub async fn opens(&self, app: &App, nth: usize) -> Result<IncidentSubject> {
        self.journal.wait_incident(&app.namespace, &app.name, nth, PATIENCE).await
    }

    /// The pages of an incident.
    #[must_use]
    pub fn pages(&self, incident: &str) -> Vec<Page> {
        self.pagerduty.pages().into_iter().filter(|page| page.dedup_key.contains(incident)).collect()
    }

    /// Waits for an incident's page to this audience (`on_call`, `team_lead`).
    pub async fn page(&self, incident: &IncidentSubject, audience: &str) -> Result<Page> {
        let key = format!("/{}/{audience}/", incident.incident);
        let probe = || async {
            let pages = self.pages(&incident.incident.to_string());
            let seen: Vec<_> = pages.iter().map(|page| page.dedup_key.clone()).collect();
            pages.into_iter().find(|page| page.dedup_key.contains(&key)).ok_or_else(|| format!("{seen:?}"))
        };
        Ok(wait::until(&format!("a page to {audience}"), PATIENCE, probe).await?)
    }

    /// Waits until every message of every stream has been handled by every consumer: nothing is under way any more.
    pub async fn settles(&self) -> Result<()> {
        let probe = || async {
            let busy = self.under_way().await.map_err(|error| format!("{error:#}"))?;
            if busy.is_empty() { Ok(()) } else { Err(busy.join(", ")) }
        };
        wait::until("everything being handled", PATIENCE, probe).await?;
        Ok(())
    }

    async fn under_way(&self) -> Result<Vec<String>> {
        let mut busy = Vec::new();
        for name in [streams::ALERTS, streams::INCIDENTS, streams::LEDGER, streams::TIMERS, streams::DEAD, streams::ADVISORIES] {
            let stream = self.jetstream.get_stream(name).await.with_context(|| format!("stream {name}"))?;
            let consumers: Vec<consumer::Info> = stream.consumers().try_collect().await.context("its consumers")?;
            // The test's own journal is a consumer too, without a durable name and without acks.
            let left = consumers.iter().filter(|info| info.config.durable_name.is_some());
            busy.extend(
                left.filter(|info| info.num_pending > 0 || info.num_ack_pending > 0)
                    .map(|info| format!("{} has {} to come and {} in hand", info.name, info.num_pending, info.num_ack_pending)),
            );
        }
        Ok(busy)
    }

    /// How many messages the streams of dead letters and advisories hold.
    pub async fn given_up(&self) -> Result<u64> {
        let mut count = 0;
        for name in [streams::DEAD, streams::ADVISORIES] {
            count += self.jetstream.get_stream(name).await?.cached_info().state.messages;
        }
        Ok(count)
    }
}

/// The wall clock, which is the one that everybody in this world has.
#[expect(clippy::disallowed_methods, reason = "the testbed plays the world outside, whose clocks are real")]
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}
