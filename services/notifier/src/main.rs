//! `lastgood-notifier`: reads its configuration, starts the chassis, wires channels and consumers, runs.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use chassis::config::{Args, load};
use clap::Parser;
use notifier::channels::{self, registry};
use notifier::config::{ChannelName, Config};
use notifier::deliver::Persistence;
use notifier::handlers::Desk;
use notifier::handlers::wire::{self, BusLog};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let config: Config = load("notifier", &args)?;
    config.notifier.check()?;
    if args.check_config {
        return Ok(ExitCode::SUCCESS);
    }
    let service = chassis::service::start("notifier", &config.nats, &config.admin, &config.telemetry).await?;
    let section = config.notifier;
    let channels = registry(&section, &service.clock).context("can't make an HTTP client")?;
    let named = channels::named(&section, &service.clock).context("can't make an HTTP client")?;
    section.log_what_is_on();
    let log = BusLog::new(service.bus.clone(), Arc::clone(&service.clock), service.ids.clone());
    let desk = Arc::new(Desk {
        log: Arc::new(log),
        channels,
        named,
        fallback: section.fallback.map(ChannelName::as_str),
        links: section.links(),
        give_up_after: section.give_up_after,
        clock: Arc::clone(&service.clock),
        persistence: Persistence::new(service.ids.clone(), service.lifecycle.stopping()),
        owed: tokio::sync::Semaphore::new(notifier::handlers::OWED),
    });
    wire::start(&service.bus, &desk, section.edit_interval, &service.lifecycle);
    Ok(service.run().await)
}
