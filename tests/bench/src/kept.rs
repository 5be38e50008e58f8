//! What kept incidents cost nats-server, memory and restart, and that archiving bounds both.
//!
//! Guarantees: the incidents are made of real facts, sixteen each, as a completed rollback leaves them; they are archived by the product's
//! own code; restarts are after a kill, so that nothing was put in order beforehand. Must not: count the writing of them, which is done without a
//! flush each.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::{self, context::PublishAckFuture};
use chassis::bus::Bus;
use chassis::clock::{Clock, Ids, SystemClock};
use chassis::config::Nats as NatsConfig;
use contracts::subjects::{self, streams};
use contracts::v1::{self, WorkloadRef};
use contracts::{Envelope, Fact, IncidentId, IncidentSubject, OccurrenceFact};
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use orchestrator::archive::Archivist;
use orchestrator::cluster::LiveCluster;
use orchestrator::config::Settings;
use orchestrator::correlate::Rules;
use orchestrator::decision::Engine;
use tempfile::TempDir;
use testbed::nats::{Nats, NatsOptions};
use testbed::sim::{SimCluster, SimOptions};
use tokio::time::Instant;

use crate::{Outcome, table};

/// Workloads that the incidents are spread over; one of each stays.
const WORKLOADS: u32 = 1000;
/// Publishes awaited at once.
const WINDOW: usize = 2000;
/// Restarts after a kill; the one in the middle counts.
const RESTARTS: usize = 3;
/// How long nats-server is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(3);
/// What the streams may hold, and the server.
const STREAM_BYTES: i64 = 6 << 30;
const STORE_BYTES: u64 = 48 << 30;

/// nats-server at one moment.
struct Row {
    what: String,
    messages: u64,
    disk: f64,
    resident: f64,
    restart: f64,
}

/// The time from which the incidents' ids are: their facts are all written now.
struct Year {
    incidents: u32,
    ends: Timestamp,
}

impl Year {
    /// The id of an incident by its number: spread evenly over the year, in no order.
    fn id(&self, number: u32) -> IncidentId {
        // Multiples of the golden section, modulo one, lie evenly.
        let share = f64::from(number.wrapping_mul(0x9e37_79b9)) / f64::from(u32::MAX);
        let back = SignedDuration::from_secs_f64(share * 365.0 * 86_400.0);
        let milliseconds = u128::try_from((self.ends - back).as_millisecond()).unwrap_or(0);
        let random = u128::from(number).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) >> 66;
        let id = milliseconds << 80 | 7 << 76 | 2 << 62 | random;
        format!("inc_{id:032x}").parse().expect("32 hex digits")
    }
}

/// Keeps and archives this many incidents.
pub(crate) async fn run(incidents: u32) -> Result<Outcome> {
    let dir = TempDir::with_prefix("lastgood-kept-").context("a directory for nats-server")?;
    let cluster = SimCluster::start(SimOptions::default()).await?;
    let mut rows = Vec::new();
    let mut made = 0;
    let year = Year { incidents: 2 * incidents, ends: SystemClock.now() };
    for wanted in [0, incidents / 10, incidents] {
        fill(dir.path(), &year, made, wanted).await.with_context(|| format!("writing {wanted} incidents"))?;
        made = wanted;
        rows.push(measure(dir.path(), format!("{wanted} closed incidents on the log")).await?);
    }
    let (mut archived, mut took) = (0, 0.0);
    for wanted in [incidents, year.incidents] {
        fill(dir.path(), &year, made, wanted).await.with_context(|| format!("writing {wanted} incidents"))?;
        made = wanted;
        let nats = start(dir.path(), true).await?;
        let began = Instant::now();
        archived += archive(&nats, &cluster).await?;
        took += began.elapsed().as_secs_f64();
        eprintln!("kept: {archived} archived in {took:.0} s");
        ensure!(archived + u64::from(WORKLOADS) == u64::from(wanted), "{archived} of {wanted} were archived");
        nats.kill().await?;
        drop(nats);
        rows.push(measure(dir.path(), format!("{wanted}, of which {WORKLOADS} on the log, the others archived")).await?);
    }
    cluster.stop().await;
    Ok(Outcome { text: text(&rows, archived, took), good: bounded(&rows) })
}

/// Archiving halves both at least, and twice as many archived incidents leave them about there.
fn bounded(rows: &[Row]) -> bool {
    let [_, _, full, once, twice] = rows else { return false };
    let halved = |of: fn(&Row) -> f64| of(once) < of(full) / 2.0 && of(twice) < 1.5 * of(once);
    halved(|row| row.resident) && halved(|row| row.restart) && once.messages.max(twice.messages) < full.messages / 10
}

async fn start(dir: &Path, sync_always: bool) -> Result<Nats> {
    let options =
        NatsOptions { dir: Some(PathBuf::from(dir)), sync_always, max_store_bytes: Some(STORE_BYTES), ..NatsOptions::default() };
    Nats::start(options).await.context("nats-server")
}

/// A server as it is shipped, killed and started again.
async fn measure(dir: &Path, what: String) -> Result<Row> {
    let nats = start(dir, true).await?;
    bus(&nats).await?;
    let mut restarts = Vec::with_capacity(RESTARTS);
    for _ in 0..RESTARTS {
        let began = Instant::now();
        nats.restart().await?;
        restarts.push(began.elapsed().as_secs_f64());
    }
    restarts.sort_by(f64::total_cmp);
    let restart = restarts[RESTARTS / 2];
    // Not for luck: being idle is what is measured.
    tokio::time::sleep(IDLE).await;
    let resident = nats.process().rss_kib().map_or(0.0, |kib| f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0);
    let stream = jetstream::new(async_nats::connect(nats.url()).await?).get_stream(streams::INCIDENTS).await?;
    let messages = stream.cached_info().state.messages;
    let row = Row { what, messages, disk: size(&dir.join("jetstream"))?, resident, restart };
    eprintln!("kept: {}: {messages} messages, {:.0} MiB, {resident:.0} MiB resident, {restart:.2} s", row.what, row.disk);
    nats.kill().await?;
    Ok(row)
}

/// MiB of all files below.
fn size(dir: &Path) -> Result<f64> {
    let mut total = 0.0;
    for entry in std::fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let (path, metadata) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
        let kib = u32::try_from(metadata.len() / 1024).unwrap_or(u32::MAX);
        total += if metadata.is_dir() { size(&path)? } else { f64::from(kib) / 1024.0 };
    }
    Ok(total)
}

async fn bus(nats: &Nats) -> Result<Bus> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let config = NatsConfig { urls: vec![nats.url()], max_bytes: STREAM_BYTES, ..NatsConfig::default() };
    Ok(Bus::connect(&config, "bench", Arc::clone(&clock), Ids::new(clock)).await?)
}

/// Archives everything that may go.
async fn archive(nats: &Nats, cluster: &SimCluster) -> Result<u64> {
    let bus = bus(nats).await?;
    bus.ensure_bucket(streams::ARCHIVE_BUCKET, Duration::ZERO).await?;
    let mut settings = Settings { cooldown: Duration::ZERO, window: Duration::ZERO, ..Settings::default() };
    settings.archive.after = Duration::from_millis(1);
    settings.mass_failure.window = Duration::ZERO;
    let rules = Rules { cluster: "default".into(), cluster_label: None };
    let archivist = Archivist::new(Engine::new(bus, Arc::new(LiveCluster::new(cluster.client().await?)), rules, settings));
    let (mut archived, mut worked) = (0, false);
    loop {
        let round = archivist.round().await?;
        archived += round.archived as u64;
        worked |= round.archived > 0 || round.forgotten > 0;
        // Occurrences go first, and only then the incidents that they named: until a whole pass finds nothing.
        if !round.more {
            eprintln!("kept: {archived} archived");
            if !std::mem::take(&mut worked) {
                return Ok(archived);
            }
        }
    }
}

/// Writes incidents number `from` to `to`, without a flush each.
async fn fill(dir: &Path, year: &Year, from: u32, to: u32) -> Result<()> {
    let nats = start(dir, false).await?;
    let bus = bus(&nats).await?;
    let context = jetstream::new(async_nats::connect(nats.url()).await?);
    let mut window: Vec<PublishAckFuture> = Vec::with_capacity(WINDOW);
    for number in from..to {
        let (subject, trigger) = incident(&bus, year, number);
        for fact in completed(&trigger) {
            let headers = headers(&bus, fact.ce_type());
            window.push(context.publish_with_headers(subject.fact(fact.event_type()), headers, fact.encode().into()).await?);
        }
        let (incident, workload_subject) = (subject.incident.to_string(), subjects::workload_path(&subject.workload));
        let occurrence: [OccurrenceFact; 2] = [
            v1::OccurrenceOpened { incident, workload_subject, starts_at: trigger.starts_at }.into(),
            v1::OccurrenceResolved { ends_at: trigger.starts_at }.into(),
        ];
        for fact in occurrence {
            let subject = subjects::occurrence(&trigger.fingerprint, fact.event_type());
            window.push(context.publish_with_headers(subject, headers(&bus, fact.ce_type()), fact.encode().into()).await?);
        }
        if window.len() >= WINDOW {
            try_join_all(window.drain(..).map(IntoFuture::into_future)).await.context("the acknowledgements")?;
        }
    }
    try_join_all(window.drain(..).map(IntoFuture::into_future)).await.context("the acknowledgements")?;
    nats.kill().await?;
    Ok(())
}

fn headers(bus: &Bus, ce_type: &str) -> async_nats::HeaderMap {
    let envelope = Envelope {
        id: bus.ids().event(),
        source: "lastgood/bench".to_owned(),
        event_type: ce_type.to_owned(),
        time: bus.clock().now(),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
    };
    let mut headers = async_nats::HeaderMap::new();
    for (name, value) in envelope.headers() {
        headers.insert(name, value.as_str());
    }
    headers
}

fn incident(bus: &Bus, year: &Year, number: u32) -> (IncidentSubject, v1::Occurrence) {
    let workload = WorkloadRef {
        cluster: "default".to_owned(),
        namespace: format!("ns-{}", number % WORKLOADS % 20),
        kind: "Deployment".to_owned(),
        name: format!("app-{}", number % WORKLOADS),
    };
    let labels = [("alertname", "HighErrorRate"), ("namespace", &workload.namespace), ("deployment", &workload.name)];
    let trigger = v1::Occurrence {
        fingerprint: format!("{number:016x}"),
        starts_at: Some(contracts::time::to_proto(bus.clock().now())),
        source: "alertmanager".to_owned(),
        alert_name: "HighErrorRate".to_owned(),
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        annotations: [("summary".to_owned(), format!("{} answers with errors", workload.name))].into(),
        generator_url: "http://prometheus.example:9090/graph?g0.expr=errors&g0.tab=1".to_owned(),
    };
    (IncidentSubject { workload, incident: year.id(number) }, trigger)
}

/// The facts of a rollback that completed.
fn completed(trigger: &v1::Occurrence) -> Vec<Fact> {
    let version = |hash: &str| Some(v1::Version { template_hash: hash.repeat(64), ..v1::Version::default() });
    let template = "{\"spec\":{\"containers\":[{\"name\":\"web\",\"image\":\"registry.example/web:v1\"}]}}";
    let plan = v1::Plan {
        strategy: "rolling".to_owned(),
        from: version("b"),
        to: version("a"),
        template_json: template.repeat(8).into_bytes(),
        managed_fields_json: template.repeat(16).into_bytes(),
        diff: "spec.containers[web].image: registry.example/web:v2 → registry.example/web:v1".to_owned(),
        ..v1::Plan::default()
    };
    let (workload_uid, attempt, reason) = ("6f1c9d0e-5b1b-4d7c-9a53-3f6f8f3f2a11".to_owned(), 1, "completed".to_owned());
    let started = v1::RollbackStarted { attempt, workload_uid: workload_uid.clone(), ..v1::RollbackStarted::default() };
    let opened = v1::AnomalyDetected {
        trigger: Some(trigger.clone()),
        deadlines: Some(Settings::default().deadlines.recorded()),
        workload_uid: workload_uid.clone(),
        requested: None,
    };
    let asked = v1::NotificationRequested {
        audience: v1::Audience::OnCall.into(),
        urgency: v1::Urgency::Inform.into(),
        reason: reason.clone(),
        ..v1::NotificationRequested::default()
    };
    let told = v1::OnCallNotified { reason: reason.clone(), channel: "slack".to_owned(), dedup_key: workload_uid.clone() };
    let checked = v1::SmokeTestFinished {
        check: "home".to_owned(),
        kind: "http".to_owned(),
        verdict: v1::Verdict::Passed.into(),
        ..v1::SmokeTestFinished::default()
    };
    let resolved = v1::AlertResolved { fingerprint: trigger.fingerprint.clone(), ..v1::AlertResolved::default() };
    vec![
        opened.into(),
        v1::CurrentVersionIdentified { version: version("b"), workload_uid, ..v1::CurrentVersionIdentified::default() }.into(),
        v1::PreviousVersionFound { version: version("a"), evidence: "seen fully available".to_owned() }.into(),
        v1::RollbackPlanned { plan: Some(plan) }.into(),
        v1::Announced { channel: "C0INCIDENTS".to_owned(), thread: "1795000000.000100".to_owned() }.into(),
        started.into(),
        v1::PreviousVersionDeployed { attempt, ..v1::PreviousVersionDeployed::default() }.into(),
        v1::PodsReady { attempt, ready: 3, desired: 3 }.into(),
        v1::TrafficShifted { attempt, ..v1::TrafficShifted::default() }.into(),
        checked.into(),
        v1::VerificationPassed { checks: 1 }.into(),
        v1::Mitigated {}.into(),
        resolved.into(),
        asked.into(),
        told.into(),
        v1::IncidentClosed { outcome: v1::Outcome::Completed.into(), reason }.into(),
    ]
}

fn text(rows: &[Row], archived: u64, took: f64) -> String {
    let cells = rows.iter().map(|row| {
        let numbers = [format!("{:.0}", row.disk), format!("{:.0}", row.resident), format!("{:.2}", row.restart)];
        let [disk, resident, restart] = numbers;
        [row.what.clone(), row.messages.to_string(), disk, resident, restart]
    });
    let head = ["nats-server", "messages on the log", "on disk, MiB", "resident, MiB", "restart after a kill (median of 3), s"];
    format!(
        "## Kept incidents\n\nIncidents of 16 facts and 2 of their alert's each, over {WORKLOADS} workloads; resident (`VmRSS`) {} s after a \
         restart. Archived by the product's code, every write flushed: {archived} in {took:.0} s. What is left is bounded by the workloads \
         (the newest incident of each stays) and the incidents of the last `orchestrator.archive.after`; the archive is on the same server, \
         many incidents in an object, until `orchestrator.archive.keep`.\n\n{}",
        IDLE.as_secs(),
        table::render(head, &cells.collect::<Vec<_>>())
    )
}
