//! From the alert's POST to the rollback accepted by the API server: lastgood and `webhook` with `kubectl rollout undo`, in turns.
//!
//! Guarantees: both get the same payload and a fresh Deployment with a proved version 1 and a bad version 2, on the same cluster; the end is
//! when the API server answered 200 to the first write that was no dry run; each sample is checked to have restored version 1, and the
//! next begins only when the one before is over. Must not: count the first pair, in which both sides connect and warm up.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contracts::LedgerFact;
use jiff::Timestamp;
use serde_json::Value;
use testbed::app::{App, AppOptions};
use testbed::journal::{Journal, Said};
use testbed::sim::JournalEntry;
use testbed::world::SERVICES;
use testbed::{real_cluster, wait};

use crate::payload::{self, About};
use crate::rival::Rival;
use crate::stage::{self, Stage};
use crate::stats::{median, summary};
use crate::{Outcome, table};

/// For anything that a cluster or an incident does.
const PATIENCE: Duration = Duration::from_mins(1);
/// The steps of lastgood's way, as the split of its time names them.
const STEPS: [&str; 6] = [
    "alert durably stored",
    "incident open",
    "decided and planned",
    "chat thread open, where that is later",
    "dry run accepted and intent stored",
    "write accepted",
];

/// One of lastgood's rollbacks, in milliseconds.
struct Ours {
    whole: f64,
    steps: [f64; STEPS.len()],
}

/// All that a sample needs.
struct Field {
    stage: Stage,
    journal: Journal,
    rival: Rival,
}

/// Measures this many pairs; with `profile` the services' own timings go to stderr.
pub(crate) async fn run(pairs: u32, profile: bool) -> Result<Outcome> {
    let stage = Stage::start(&SERVICES, &[]).await?;
    let journal = Journal::follow(&stage.nats.url()).await?;
    let rival = Rival::start(stage.cluster.kubeconfig_path(), stage.dir()).await?;
    let field = Field { stage, journal, rival };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for pair in 0..=pairs {
        let measured = field.pair(pair).await;
        let (our, their) = measured.with_context(|| format!("pair {pair}; {}", field.last_words()))?;
        eprintln!("rollback {pair}/{pairs}: lastgood {:.1} ms {:.1?}, webhook {their:.1} ms", our.whole, our.steps);
        if pair > 0 {
            ours.push(our);
            theirs.push(their);
        }
    }
    if profile {
        eprintln!("{}", field.stage.timings().await?);
    }
    field.stage.stop().await;
    Ok(Outcome { text: text(&ours, &theirs), good: true })
}

impl Field {
    /// For a failure: what the services warned of, and what happened to the incidents.
    fn last_words(&self) -> String {
        let entries = self.journal.entries();
        let said = entries.iter().rev().take(30).rev().map(|entry| match &entry.said {
            Said::Incident(subject, fact) => format!("\n  {} {} {fact:?}", entry.at, subject.workload.namespace),
            Said::Ledger(workload, fact) => format!("\n  {} {workload} {}", entry.at, fact.event_type()),
            Said::Occurrence(fingerprint, fact) => format!("\n  {} {fingerprint} {fact:?}", entry.at),
            Said::Alert(_) => format!("\n  {} a notification", entry.at),
            Said::Unknown(subject) => format!("\n  {} {subject}", entry.at),
        });
        let said: String = said.map(|line| line.chars().take(400).collect::<String>()).collect();
        format!("{}\nthe end of the log:{said}\n", self.stage.last_words())
    }

    /// One rollback of each, the first one in turns.
    async fn pair(&self, pair: u32) -> Result<(Ours, f64)> {
        let (mine, other) = tokio::try_join!(self.bad(pair, "ours", Some("auto")), self.bad(pair, "theirs", None))?;
        let measured = if pair.is_multiple_of(2) {
            let our = self.ours(&mine).await?;
            (our, self.theirs(&other).await?)
        } else {
            let their = self.theirs(&other).await?;
            (self.ours(&mine).await?, their)
        };
        mine.remove().await?;
        other.remove().await?;
        Ok(measured)
    }

    /// A Deployment whose version 1 is proved and whose version 2 serves errors.
    async fn bad(&self, pair: u32, side: &str, mode: Option<&'static str>) -> Result<App> {
        let options = AppOptions { replicas: 1 + pair % 2, mode, ..AppOptions::default() };
        let app = App::create(self.stage.client.clone(), &format!("{side}-{pair}"), "web", options).await?;
        app.deploy("v1").await?;
        self.proved(&app, 1).await?;
        app.roll_out("v2-failing").await?;
        self.proved(&app, 2).await?;
        Ok(app)
    }

    async fn proved(&self, app: &App, versions: usize) -> Result<()> {
        app.available(PATIENCE).await?;
        let available = |fact: &LedgerFact| matches!(fact, LedgerFact::VersionAvailable(_));
        self.journal.wait_ledger_count(&app.namespace, &app.name, "version_available", PATIENCE, versions, available).await
    }

    async fn ours(&self, app: &App) -> Result<Ours> {
        let began = stage::now();
        let (firing, resolved) = (notification(app, "firing", began), notification(app, "resolved", began));
        self.stage.post(&firing).await?;
        let written = self.written(app, began).await?;
        self.stage.post(&resolved).await?;
        let incident = self.journal.wait_incident(&app.namespace, &app.name, 0, PATIENCE).await?.incident;
        self.journal.wait_fact(incident, "incident_closed", PATIENCE).await?;
        app.available(PATIENCE).await?;
        let facts = self.journal.facts(incident);
        let of = |event_type: &str| facts.iter().find(|fact| fact.fact.event_type() == event_type).map(|fact| fact.at);
        let planned = of("rollback_planned").context("the plan")?;
        let moments = [
            self.heard(app).context("the stored alert")?,
            of("anomaly_detected").context("the opening")?,
            planned,
            // The thread is opened while the decision is made; the executor waits for both.
            of("announced").context("the announcement")?.max(planned),
            of("rollback_started").context("the intent")?,
            written,
        ];
        let mut before = began;
        let steps = moments.map(|moment| millis(std::mem::replace(&mut before, moment), moment));
        Ok(Ours { whole: millis(began, written), steps })
    }

    async fn theirs(&self, app: &App) -> Result<f64> {
        let began = stage::now();
        let firing = notification(app, "firing", began);
        self.rival.post(&firing).await?;
        let written = self.written(app, began).await?;
        app.available(PATIENCE).await?;
        Ok(millis(began, written))
    }

    /// When the first write of this Deployment after `began` was accepted; version 1 is its template then.
    async fn written(&self, app: &App, began: Timestamp) -> Result<Timestamp> {
        let image = real_cluster::image("v1");
        wait::until("version 1 in the template", PATIENCE, || async {
            let deployment = self.stage.cluster.get("deployments.apps", &app.namespace, &app.name)?;
            let restored = deployment.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str) == Some(&image);
            restored.then_some(())
        })
        .await?;
        // The journal has a write once it is answered, a moment after it is stored.
        let first = wait::until("the rollback in the journal", PATIENCE, || async { self.first_write(app, began) }).await?;
        ensure!(first.body.to_string().contains(&image), "the first write was not the rollback: {}", first.body);
        Ok(first.time)
    }

    /// The first accepted write of this Deployment after `began`.
    fn first_write(&self, app: &App, began: Timestamp) -> Option<JournalEntry> {
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/{}", app.namespace, app.name);
        let writes = self.stage.cluster.journal().into_iter().filter(|entry| {
            let writes = matches!(entry.method.as_str(), "PUT" | "PATCH") && !entry.dry_run && entry.status == 200;
            writes && entry.path == path && entry.time >= began
        });
        writes.min_by_key(|entry| entry.time)
    }

    /// When the alert about this application was stored.
    fn heard(&self, app: &App) -> Option<Timestamp> {
        self.journal.entries().iter().find_map(|entry| match &entry.said {
            Said::Alert(notification) => {
                let about = |label: &str| label == app.namespace;
                let found = notification.alerts.iter().any(|alert| alert.labels.get("namespace").is_some_and(|l| about(l)));
                found.then_some(entry.at)
            }
            _ => None,
        })
    }
}

/// An alert that has just begun: one from before the bad version would not be explained by it.
fn notification(app: &App, status: &str, starts_at: Timestamp) -> Value {
    let starts_at = format!("{starts_at:.3}");
    let (namespace, deployment) = (app.namespace.as_str(), app.name.as_str());
    let hash =
        namespace.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let about = About { namespace, deployment, status, starts_at, fingerprint: format!("{hash:016x}") };
    payload::notification(namespace, &[about])
}

fn millis(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() * 1000.0
}

fn text(ours: &[Ours], theirs: &[f64]) -> String {
    let wholes: Vec<f64> = ours.iter().map(|our| our.whole).collect();
    let ratios: Vec<f64> = theirs.iter().zip(&wholes).map(|(their, our)| their / our).collect();
    let row = |name: &str, samples: &[f64]| {
        let summary = summary(samples)?;
        let number = |value: f64| format!("{value:.1}");
        Some([name.to_owned(), number(summary.median), number(summary.p95), number(summary.min), number(summary.max)])
    };
    let rows = [
        row("lastgood, ms", &wholes),
        row("`webhook` + `kubectl rollout undo`, ms", theirs),
        row("ratio, pair by pair", &ratios),
    ];
    let rows: Vec<_> = rows.into_iter().flatten().collect();
    let steps: Vec<_> = STEPS
        .iter()
        .enumerate()
        .map(|(step, name)| {
            [(*name).to_owned(), format!("{:.1}", median(&ours.iter().map(|our| our.steps[step]).collect::<Vec<_>>()))]
        })
        .collect();
    format!(
        "## From the alert's POST to the rollback accepted by the API server\n\n{} pairs, in turns, on one simulated cluster; nats-server \
         flushes every write; one notification in a group, posted straight to each.\n\n{}\nWhere lastgood's time goes:\n\n{}",
        ours.len(),
        table::render(["", "median", "p95", "min", "max"], &rows),
        table::render(["until", "median, ms"], &steps)
    )
}
