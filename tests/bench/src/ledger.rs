//! What each watched workload costs the orchestrator: 1,000, 3,000 and 10,000 of them in one process.
//!
//! Guarantees: the real program, beside a nats-server that flushes every write; each workload is a Deployment with its ReplicaSet, a pod
//! (imagined: an object and no process) and a ConfigMap that its template refers to, and soaks, so that all that the ledger's watch ever
//! remembers of a workload is there. All of it is there before the orchestrator starts, which is the worst hour of its life. Each number of
//! workloads has a stage of its own. Must not: count the cluster's own work: the time until the second versions are recorded has the
//! rollouts in it, and says so.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::process::Process;
use testbed::services::Service;
use testbed::sim::SimOptions;
use tokio::time::Instant;

use crate::fleet::{CROWD, Fleet, WAVE};
use crate::stage::Stage;
use crate::{Outcome, table};

/// How many workloads.
const SIZES: [usize; 3] = [1_000, 3_000, 10_000];
/// How long the orchestrator is left alone before its memory is read: what was read at the end of the work may still be held.
const IDLE: Duration = Duration::from_secs(3);
/// How much more a workload of the largest cluster may cost than one of the smallest, in multiples.
const FLAT: f64 = 1.25;
/// How much more memory the second versions may take, in multiples of what there was.
const SECOND: f64 = 1.25;

/// What so many workloads came to.
struct Measured {
    workloads: usize,
    /// Seconds from the orchestrator's start until all were recorded.
    recorded: f64,
    /// Seconds in which the second versions were rolled out and recorded.
    rolled_out: f64,
    /// Seconds of the orchestrator's CPU until all were recorded.
    cpu: f64,
    /// MiB resident: without workloads, with their first versions, with their second ones, and the most at any time.
    memory: [f64; 4],
    /// Bytes of the stream, after the first versions and after the second.
    bytes: [u64; 2],
}

impl Measured {
    /// KiB resident for each workload, with its first version.
    fn each(&self) -> f64 {
        (self.memory[1] - self.memory[0]) * 1024.0 / count(self.workloads)
    }
}

/// Measures all sizes.
pub(crate) async fn run() -> Result<Outcome> {
    let mut all = Vec::new();
    for workloads in SIZES {
        all.push(measure(workloads).await.with_context(|| format!("{workloads} workloads"))?);
    }
    let (Some(smallest), Some(largest)) = (all.first(), all.last()) else { anyhow::bail!("nothing was measured") };
    let flat = largest.each() <= smallest.each() * FLAT;
    let steady = all.iter().all(|measured| measured.memory[2] <= measured.memory[1] * SECOND);
    Ok(Outcome { text: text(&all), good: flat && steady })
}

async fn measure(workloads: usize) -> Result<Measured> {
    let options = SimOptions { imagined: true, ..SimOptions::default() };
    // As it is installed: nothing is proved before the measurement is over.
    let stage = Stage::start_on(options, &["orchestrator"], &[("ORCHESTRATOR__SOAK", "10m")]).await?;
    let fleet = Fleet { stage: &stage, workloads };
    let service = stage.services.get("orchestrator").context("the orchestrator")?;
    let empty = resident(&service.process()).await?;
    service.terminate(Duration::from_secs(10)).await?;
    eprintln!("ledger: {workloads} workloads");
    let began = Instant::now();
    fleet.create().await?;
    eprintln!("ledger: they run after {:.1} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    service.respawn().await?;
    fleet.recorded(1).await.with_context(|| stage.last_words())?;
    let recorded = began.elapsed().as_secs_f64();
    let process = service.process();
    let cpu = process.cpu_time().unwrap_or_default().as_secs_f64();
    let (first, first_bytes) = (resident(&process).await?, fleet.bytes().await?);
    eprintln!("ledger: recorded after {recorded:.1} s");
    let began = Instant::now();
    fleet.roll_out("v2").await.with_context(|| stage.last_words())?;
    let rolled_out = began.elapsed().as_secs_f64();
    let (second, second_bytes) = (resident(&process).await?, fleet.bytes().await?);
    let most = process.peak_kib().map_or(0.0, mib);
    eprintln!("ledger: {empty:.1}, {first:.1}, {second:.1}, at most {most:.1} MiB");
    stop(service, &process).await?;
    stage.stop().await;
    let (memory, bytes) = ([empty, first, second, most], [first_bytes, second_bytes]);
    Ok(Measured { workloads, recorded, rolled_out, cpu, memory, bytes })
}

/// That it still ran tells that the memory was its own.
async fn stop(service: &Service, process: &Process) -> Result<()> {
    ensure!(process.is_running(), "the orchestrator does not run any more");
    service.terminate(Duration::from_secs(10)).await?;
    Ok(())
}

async fn resident(process: &Process) -> Result<f64> {
    // Not for luck: being left alone for this long is what is measured.
    tokio::time::sleep(IDLE).await;
    process.rss_kib().map(mib).context("the orchestrator does not run any more")
}

/// KiB as MiB.
fn mib(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn kib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX))
}

fn text(all: &[Measured]) -> String {
    let row = |name: &str, digits: usize, of: &dyn Fn(&Measured) -> f64| {
        let values: Vec<f64> = all.iter().map(of).collect();
        let ratio = match (values.first(), values.last()) {
            (Some(first), Some(last)) if *first > 0.0 => format!("{:.1}", last / first),
            _ => "–".to_owned(),
        };
        let cell = |index: usize| values.get(index).map(|value| format!("{value:.digits$}")).unwrap_or_default();
        [name.to_owned(), cell(0), cell(1), cell(2), ratio]
    };
    let rows = [
        row("until all are recorded, from the start, s", 1, &|m| m.recorded),
        row("workloads recorded a second", 0, &|m| count(m.workloads) / m.recorded),
        row("orchestrator, CPU a workload, ms", 1, &|m| m.cpu * 1000.0 / count(m.workloads)),
        row("resident without workloads, MiB", 1, &|m| m.memory[0]),
        row("resident with them, MiB", 1, &|m| m.memory[1]),
        row("that is for each, KiB", 2, &Measured::each),
        row("resident after a second version of each, MiB", 1, &|m| m.memory[2]),
        row("most at any time, MiB", 1, &|m| m.memory[3]),
        row("second versions rolled out and recorded, s", 1, &|m| m.rolled_out),
        row("bytes in NATS for each, first version, KiB", 2, &|m| kib(m.bytes[0]) / count(m.workloads)),
        row("the same, both versions, KiB", 2, &|m| kib(m.bytes[1]) / count(m.workloads)),
    ];
    let sizes: Vec<String> = all.iter().map(|measured| format!("{} workloads", measured.workloads)).collect();
    let size = |index: usize| sizes.get(index).map(String::as_str).unwrap_or_default();
    let head = ["one orchestrator", size(0), size(1), size(2), "times"];
    let build = if cfg!(debug_assertions) { "debug build" } else { "release build" };
    format!(
        "## Many workloads\n\nOne orchestrator ({build}) that starts on a cluster of so many Deployments, each with a ReplicaSet, a pod and a \
         ConfigMap, {CROWD} in a namespace, all of them soaking; resident is `VmRSS`, {} s after the work. The second versions are \
         rolled out {WAVE} at a time.\n\n{}",
        IDLE.as_secs(),
        table::render(head, &rows)
    )
}
