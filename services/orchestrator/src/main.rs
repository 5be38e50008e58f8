//! `lastgood-orchestrator`: runs the service; `pause` and `resume` switch all automatic action off and on; `archived` tells
//! what the archive holds of an incident; `dead-letters` shows and replays what no service could process.
//!
//! Must not: hold logic; it reads the configuration, starts the chassis, wires and runs.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use chassis::bus::Bus;
use chassis::clock::{Clock, Ids, SystemClock};
use chassis::config::Args;
use clap::{Parser, Subcommand};
use contracts::IncidentId;
use contracts::v1::PauseSwitched;
use lastgood_core::configuration::Key;
use lastgood_core::policy::Policy;
use orchestrator::archive::{self, Archive};
use orchestrator::cluster::LiveCluster;
use orchestrator::config::Config;
use orchestrator::correlate::Rules;
use orchestrator::dead_letters::command::{DeadLettersCommand, Output};
use orchestrator::decision::Engine;
use orchestrator::ledger::{LedgerStore, Scope};
use orchestrator::policy::file::{self, FileError};
use orchestrator::policy::index::limits;
use orchestrator::{dead_letters, ledger, pause, wiring};

#[derive(Parser)]
#[command(version, about = "Finds what went bad and which version to go back to")]
struct Cli {
    #[command(flatten)]
    args: Args,
    #[command(subcommand)]
    command: Option<Subcommands>,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Run the service (the default).
    Run,
    /// Stop all automatic action in the cluster, or in one namespace of it.
    Pause {
        /// In this namespace alone.
        #[arg(long)]
        namespace: Option<String>,
        /// Why, for the people who will wonder.
        #[arg(long)]
        reason: String,
        /// Who says so; the login name if not given.
        #[arg(long)]
        who: Option<String>,
    },
    /// Tell the facts of an incident that left the log for the archive.
    Archived {
        /// Which, `inc_…`.
        incident: IncidentId,
    },
    /// Let automatic action go on.
    Resume {
        /// In this namespace, where it alone was paused.
        #[arg(long)]
        namespace: Option<String>,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
        /// Who says so; the login name if not given.
        #[arg(long)]
        who: Option<String>,
    },
    /// What no service could process: list it, look at it, deliver it again. Exits with 0 when done, 1 when something could not be
    /// done, 3 when there is no such dead letter.
    DeadLetters {
        /// How to print.
        #[arg(long, short, value_enum, global = true, default_value_t = Output::Text)]
        output: Output,
        #[command(subcommand)]
        command: DeadLettersCommand,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let config: Config = chassis::config::load("orchestrator", &cli.args)?;
    config.orchestrator.check()?;
    if cli.args.check_config {
        policies(&config)?;
        return Ok(ExitCode::SUCCESS);
    }
    match cli.command.unwrap_or(Subcommands::Run) {
        Subcommands::Run => run(config).await,
        Subcommands::Pause { namespace, reason, who } => switch(&config, namespace, true, reason, who).await,
        Subcommands::Archived { incident } => archived(&config, incident).await,
        Subcommands::Resume { namespace, reason, who } => switch(&config, namespace, false, reason, who).await,
        Subcommands::DeadLetters { output, command } => dead_letters(&config, &command, output).await,
    }
}

/// The policies of `orchestrator.policies_file`.
fn policies(config: &Config) -> Result<Vec<Policy>, FileError> {
    let settings = &config.orchestrator;
    settings.policies_file.as_ref().map_or_else(|| Ok(Vec::new()), |path| file::load(path, &limits(settings)))
}

async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let file = policies(&config)?;
    let service = chassis::service::start("orchestrator", &config.nats, &config.admin, &config.telemetry).await?;
    let client = chassis::cluster::connect(&config.kubernetes).await?;
    let cluster = Arc::new(LiveCluster::new(client.clone()));
    let rules = Rules { cluster: config.kubernetes.cluster.clone(), cluster_label: config.kubernetes.cluster_label };
    let key = config.kubernetes.fingerprint_key.as_ref().map(|key| Key::new(key.expose().as_bytes()));
    let engine = Engine::new(service.bus.clone(), cluster, rules, config.orchestrator).with_key(key);
    let (known, ready) = (service.readiness.flag("policies"), engine.policies.clone());
    known.not_ready("reading the policies");
    engine.policies.change(|index| *index = index.clone().awaiting_resources());
    for policy in file {
        engine.policies.change(|index| index.put(policy));
    }
    wiring::policies(&engine, &client, &service.lifecycle, move || known.ready());
    wiring::consume(&engine, &service.lifecycle);
    wiring::archive(&engine, &service.lifecycle);
    let (listed, stopping) = (service.readiness.flag("ledger"), service.lifecycle.stopping());
    listed.not_ready("listing the workloads");
    service.lifecycle.spawn("ledger watch", async move {
        let name = config.kubernetes.cluster;
        ready.until_read(&stopping).await;
        let terms = engine.terms();
        ledger::watch(client, engine.reader(), engine.store, terms, &name, stopping, || listed.ready()).await
    });
    Ok(service.run().await)
}

async fn dead_letters(config: &Config, command: &DeadLettersCommand, output: Output) -> anyhow::Result<ExitCode> {
    let answer = dead_letters::command::run(&connect(config).await?, command, output).await?;
    println!("{}", answer.text);
    Ok(ExitCode::from(answer.code))
}

/// A connection for one command, which does not wait for NATS for ever.
async fn connect(config: &Config) -> anyhow::Result<Bus> {
    chassis::cluster::install_crypto();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let connecting = Bus::connect(&config.nats, "orchestrator", Arc::clone(&clock), Ids::new(clock));
    Ok(tokio::time::timeout(config.nats.request_timeout * 2, connecting).await.context("NATS can't be reached")??)
}

async fn archived(config: &Config, incident: IncidentId) -> anyhow::Result<ExitCode> {
    let Some(archived) = Archive::new(connect(config).await?).read(incident).await? else {
        println!("{incident} is not in the archive");
        return Ok(ExitCode::FAILURE);
    };
    println!("{incident} of {}", archived.workload_subject);
    for recorded in archive::facts(&archived)? {
        println!("{} {:?}", recorded.at, recorded.fact);
    }
    Ok(ExitCode::SUCCESS)
}

async fn switch(
    config: &Config,
    namespace: Option<String>,
    paused: bool,
    reason: String,
    who: Option<String>,
) -> anyhow::Result<ExitCode> {
    let bus = connect(config).await?;
    let who = pause::who(who, std::env::var("USER").ok());
    let scope = Scope { cluster: config.kubernetes.cluster.clone(), namespace };
    let wanted = PauseSwitched { paused, who, reason, ..PauseSwitched::default() };
    let said = pause::switch(&LedgerStore::new(bus), &scope, &wanted).await?;
    println!("{said}");
    Ok(ExitCode::SUCCESS)
}
