//! An alert storm, and one ten times as large: how long each POST takes, until everything is disposed of, and what memory it needs.
//!
//! Guarantees: the storm of the end-to-end test, through the same two programs, told by two Alertmanagers at once (one notification a
//! workload, and groups of ten thousand); what became of it is checked as there; memory is the most that was resident at any time
//! (`VmHWM`); what has to be linear is the CPU time of all three programs, since the time on the clock is also that of whatever else the host
//! runs (`steal`) and of its disk. Must not: leave anything out of the time: it ends when no consumer has anything left.

use std::time::Duration;

use anyhow::{Context as _, Result};
use testbed::services::Service;
use testbed::storm::Storm;
use tokio::time::Instant;

use crate::stage::{self, Stage};
use crate::stats::{percentile, summary};
use crate::{Outcome, table};

/// Workloads of the smaller storm, and alerts of each.
const WORKLOADS: usize = 1000;
const ALERTS: usize = 10;
/// How many times as large the larger one is.
const TIMES: usize = 10;
/// More than this the larger one may not take, in multiples of the smaller.
const LINEAR: f64 = 12.0;
/// The largest group: what fits into alert-ingest's 16 MiB.
const GROUP: usize = 10_000;
/// The brake's limit, as it is installed.
const BRAKE: usize = 10;
const PATIENCE: Duration = Duration::from_mins(15);

/// What one storm came to.
struct Measured {
    alerts: usize,
    post_ms: (f64, f64, f64),
    group_ms: f64,
    settled: f64,
    /// Seconds that the host gave its CPUs to others meanwhile, of all of this machine's together.
    stolen: f64,
    /// Seconds of CPU of alert-ingest, orchestrator and nats-server.
    cpu: [f64; 3],
    /// MiB of the same.
    memory: [f64; 3],
}

/// Measures both.
pub(crate) async fn run() -> Result<Outcome> {
    let small = measure(WORKLOADS).await.context("the smaller storm")?;
    let large = measure(WORKLOADS * TIMES).await.context("the larger storm")?;
    let good = large.cpu.iter().sum::<f64>() <= small.cpu.iter().sum::<f64>() * LINEAR;
    Ok(Outcome { text: text(&small, &large), good })
}

async fn measure(workloads: usize) -> Result<Measured> {
    let storm = Storm { workloads, alerts: ALERTS };
    let brake = BRAKE.to_string();
    // Nobody tells of the incidents here, so the deadlines for telling would pass.
    let env = [
        ("ORCHESTRATOR__MASS_FAILURE__WORKLOADS", brake.as_str()),
        ("ORCHESTRATOR__SOAK", "0s"),
        ("ORCHESTRATOR__DEADLINES__NOTIFY", "1h"),
        ("ORCHESTRATOR__DEADLINES__ACKNOWLEDGE", "1h"),
    ];
    let stage = Stage::start(&["alert-ingest", "orchestrator"], &env).await?;
    eprintln!("storm: {workloads} Deployments");
    storm.prepare(&stage.client, &stage.nats.url(), "default").await?;
    storm.seen(&stage.nats.url(), PATIENCE).await.with_context(|| stage.last_words())?;
    eprintln!("storm: {} alerts, told twice", workloads * ALERTS);
    let target = stage.storm_target()?;
    let starts_at = stage::now().to_string();
    let (each, all) = (storm.by_workload(&starts_at), storm.in_one_group(&starts_at, GROUP));
    let service = |name: &str| stage.services.get(name).map(Service::process);
    let programs = [service("alert-ingest"), service("orchestrator"), Some(stage.nats.process())];
    let used = || programs.each_ref().map(|of| of.as_ref().and_then(|process| process.cpu_time()).unwrap_or_default());
    let (began, cpu_before, stolen_before) = (Instant::now(), used(), stolen());
    let (each, all) = tokio::try_join!(target.post_all(each, 8), target.post_all(all, 1)).with_context(|| stage.last_words())?;
    storm.settled(&stage.nats.url(), PATIENCE).await.with_context(|| stage.last_words())?;
    let (settled, cpu_after) = (began.elapsed().as_secs_f64(), used());
    let stolen = stolen() - stolen_before;
    let cpu = [0, 1, 2].map(|of| cpu_after[of].saturating_sub(cpu_before[of]).as_secs_f64());
    let tally = storm.tally(&stage.nats.url()).await?;
    eprintln!("storm: {settled:.1} s, {tally:?}");
    storm.judge(&tally, BRAKE).with_context(|| stage.last_words())?;
    let millis = |times: &[Duration]| times.iter().map(|time| time.as_secs_f64() * 1000.0).collect::<Vec<_>>();
    let (each, all) = (millis(&each), millis(&all));
    let memory = programs.each_ref().map(|of| of.as_ref().and_then(|process| process.peak_kib()).map_or(0.0, mib));
    stage.stop().await;
    let most = |times: &[f64]| summary(times).map_or(0.0, |summary| summary.max);
    let post_ms = (percentile(&each, 50), percentile(&each, 99), most(&each));
    Ok(Measured { alerts: workloads * ALERTS, post_ms, group_ms: most(&all), settled, stolen, cpu, memory })
}

/// Seconds since the start that the host gave this machine's CPUs to others, of all CPUs together.
fn stolen() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = stat.lines().next().and_then(|line| line.split_whitespace().nth(8)?.parse::<u32>().ok());
    f64::from(ticks.unwrap_or_default()) / 100.0
}

/// KiB as MiB.
fn mib(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
}

fn text(small: &Measured, large: &Measured) -> String {
    let row = |name: &str, of: &dyn Fn(&Measured) -> f64, digits: usize| {
        let (one, ten) = (of(small), of(large));
        let ratio = if one > 0.0 { format!("{:.1}", ten / one) } else { "–".to_owned() };
        [name.to_owned(), format!("{one:.digits$}"), format!("{ten:.digits$}"), ratio]
    };
    let rows = [
        row("POST of a workload's ten alerts, p50, ms", &|m| m.post_ms.0, 1),
        row("the same, p99, ms", &|m| m.post_ms.1, 1),
        row("the same, slowest, ms", &|m| m.post_ms.2, 1),
        row("POST of a group of 10,000, slowest, ms", &|m| m.group_ms, 0),
        row("until all are disposed of and decided, s", &|m| m.settled, 1),
        row("CPU that the host gave to others meanwhile, s", &|m| m.stolen, 1),
        row("alert-ingest, CPU, s", &|m| m.cpu[0], 1),
        row("orchestrator, CPU, s", &|m| m.cpu[1], 1),
        row("nats-server, CPU, s", &|m| m.cpu[2], 1),
        row("all three, CPU, s", &|m| m.cpu.iter().sum(), 1),
        row("alert-ingest, most resident, MiB", &|m| m.memory[0], 1),
        row("orchestrator, most resident, MiB", &|m| m.memory[1], 1),
        row("nats-server, most resident, MiB", &|m| m.memory[2], 1),
    ];
    let head = [String::new(), format!("{} alerts", small.alerts), format!("{} alerts", large.alerts), "times".to_owned()];
    format!(
        "## Alert storm\n\nTen alerts of each workload at once, told by two Alertmanagers at the same time: one notification a workload, 8 at a \
         time, and groups of 10,000. Each alert got exactly one disposition, each workload one incident, the mass-failure brake let fewer \
         than {BRAKE} plans pass, nothing was dead.\n\n{}",
        table::render(head.each_ref().map(String::as_str), &rows)
    )
}
