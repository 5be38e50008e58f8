//! `bench`: what lastgood costs, measured side by side with what people use today.
//!
//! ```text
//! cargo run --release -p bench -- rollback   # alert to accepted rollback, against Debian's `webhook` running `kubectl rollout undo`
//! cargo run --release -p bench -- alerts     # alerts durably accepted a second, against plain publishes to JetStream
//! cargo run --release -p bench -- storm      # an alert storm through alert-ingest and orchestrator, and one ten times as large
//! cargo run --release -p bench -- kept       # nats-server with 0, 10,000 and 100,000 closed incidents, and after archiving them
//! cargo run --release -p bench -- ledger     # 1,000, 3,000 and 10,000 workloads in one orchestrator: time, memory a workload, bytes in NATS
//! cargo run --release -p bench -- memory     # resident memory of each idle service; fails at 30 MiB
//! cargo run --release -p bench -- all --write # everything, and RESULTS.md beside this crate is written anew
//! ```
//!
//! Guarantees: what is compared runs in one run, taking turns, on the same simulated cluster and the same kind of nats-server; loopback
//! only; bounded in number and time; all that was started ends with it. Must not: be run without `--release` (it refuses, but for `kept` and `ledger`,
//! which says so).

mod alerts;
mod fleet;
mod kept;
mod ledger;
mod memory;
mod payload;
mod rival;
mod rollback;
mod stage;
mod stats;
mod storm;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};
use testbed::tools;

/// The longest that a whole run may take.
const LONGEST: Duration = Duration::from_hours(1);

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// From the alert's POST to the rollback accepted by the API server.
    Rollback,
    /// Alerts durably accepted a second.
    Alerts,
    /// Resident memory of the idle services.
    Memory,
    /// 10,000 alerts of 1,000 workloads at once, and ten times that.
    Storm,
    /// What kept incidents cost nats-server, and that archiving bounds it.
    Kept,
    /// What each watched workload costs the orchestrator, and that its versions cost it nothing.
    Ledger,
    /// All of them.
    All,
}

#[derive(Debug, Parser)]
#[command(about = "lastgood's benchmarks; loopback only")]
struct Arguments {
    /// What to measure.
    what: What,
    /// How many rollbacks of each kind.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=200))]
    pairs: u32,
    /// For how many seconds alerts are sent on each side.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// How many closed incidents are kept.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(10_000..=200_000))]
    incidents: u32,
    /// Also say, on stderr, how long the services' steps took by their own metrics.
    #[arg(long)]
    profile: bool,
    /// Write the results to tests/bench/RESULTS.md; with `all` only, so that the file is always of one run.
    #[arg(long)]
    write: bool,
}

/// What a benchmark found.
struct Outcome {
    /// The section of the results.
    text: String,
    /// Whether a promise was kept that does not depend on the machine.
    good: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    // What kept incidents cost nats-server, and workloads the orchestrator's memory, does not depend on how this was built; the times do.
    if cfg!(debug_assertions) && !matches!(arguments.what, What::Kept | What::Ledger) {
        bail!("only release builds are worth measuring: cargo run --release -p bench");
    }
    if arguments.write && arguments.what != What::All {
        bail!("--write goes with `all`, so that RESULTS.md is always of one run");
    }
    tokio::time::timeout(LONGEST, run(&arguments)).await.with_context(|| format!("not done within {LONGEST:?}"))?
}

async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let wants = |what| arguments.what == what || arguments.what == What::All;
    let mut report = heading();
    print!("{report}");
    let mut good = true;
    let mut add = |outcome: Outcome| {
        println!("\n{}", outcome.text);
        report.push('\n');
        report.push_str(&outcome.text);
        good &= outcome.good;
    };
    // Memory first: nothing is warm then, and nothing of the others is left.
    if wants(What::Memory) {
        add(memory::run().await.context("memory")?);
    }
    if wants(What::Rollback) {
        add(rollback::run(arguments.pairs, arguments.profile).await.context("rollback")?);
    }
    if wants(What::Alerts) {
        add(alerts::run(Duration::from_secs(arguments.seconds.into())).await.context("alerts")?);
    }
    if wants(What::Storm) {
        add(storm::run().await.context("storm")?);
    }
    if wants(What::Ledger) {
        add(ledger::run().await.context("ledger")?);
    }
    if wants(What::Kept) {
        add(kept::run(arguments.incidents).await.context("kept")?);
    }
    if arguments.write {
        let path = results_path()?;
        std::fs::write(&path, &report).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn results_path() -> Result<PathBuf> {
    Ok(tools::workspace()?.join("tests/bench/RESULTS.md"))
}

/// When and on what this was measured.
fn heading() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown CPU", |(_, model)| model);
    let memory = read("/proc/meminfo");
    let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    let gib = kib.unwrap_or_default() / (1 << 20);
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("unknown");
    format!(
        "# Benchmarks\n\nMeasured {} on {cores} cores ({model}), {gib} GiB; load average before the start {load}. Made by \
         `cargo run --release -p bench -- all --write`.\n",
        stage::now().strftime("%Y-%m-%d %H:%M UTC")
    )
}
