//! One seed from its beginning to its verdict.
//!
//! Guarantees: runs in a runtime of its own on the calling thread, in virtual time only; the same seed gives the same digest, events and
//! verdict. Must not: touch the network, the disk or the host's clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contracts::Fact;
use contracts::subjects::streams;
use contracts::v1::Outcome;
use testbed::sim::memory::MemoryCluster;
use tokio::runtime::Builder;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

use crate::invariants::{self, Violation};
use crate::nats;
use crate::scenario::play::{Orders, play, replay};
use crate::scenario::{Script, UNREST, people, script, settings};
use crate::world::describe::describe;
use crate::world::dice::derive;
use crate::world::history::{History, Message, What};
use crate::world::sabotage::{Sabotage, Saboteur};
use crate::world::time::VirtualTime;
use crate::world::traps::Traps;
use crate::world::weather::Weather;
use crate::world::{Shared, World, alerting, lock, processes};

/// What became of a seed.
#[derive(Debug, Clone)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The hash of everything that happened.
    pub digest: u64,
    /// The first broken invariant.
    pub violation: Option<Violation>,
    /// Closed incidents by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// What happened, by kind: crashes, outages and the like.
    pub counts: BTreeMap<String, u64>,
    /// Virtual seconds.
    pub seconds: u64,
    /// The events, one a line.
    pub events: Vec<String>,
}

/// Runs a seed; `keep` keeps all events, else only those of a broken run are kept.
///
/// # Panics
/// Where a thread can have no runtime at all, or the empty world can't be set up.
#[must_use]
pub fn run(seed: u64, keep: bool) -> Report {
    run_with(seed, None, keep)
}

/// The same of a product that makes a mistake.
///
/// # Panics
/// As [`run`].
#[must_use]
pub fn run_with(seed: u64, sabotage: Option<Sabotage>, keep: bool) -> Report {
    // kube's watches draw their jitter from this thread's generator.
    fastrand::seed(seed);
    let runtime =
        Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime without I/O needs nothing");
    let report = runtime.block_on(simulate(seed, sabotage, keep));
    drop(runtime);
    report
}

async fn simulate(seed: u64, sabotage: Option<Sabotage>, keep: bool) -> Report {
    let script = script(seed);
    let (world, sprung) = build(seed, &script, sabotage);
    let orders = start(&world, &script);
    let begun = Instant::now();
    tokio::select! {
        biased;
        () = world.broken.notified() => {}
        () = play(&world, &script, &orders, sprung, begun) => {}
        () = sleep_until(begun + UNREST) => {}
    }
    calm(&world);
    let settled = settle(&world).await && operate(&world).await;
    let mut history = lock(&world.history);
    if !settled {
        let open = history.open_incidents();
        history.fail(
            "S5 every incident closes, and everybody is told",
            format!("after {:?} these are open: {open:?}", settings::SETTLED_WITHIN),
        );
    }
    history.finish();
    report(&world, &history, keep)
}

fn build(seed: u64, script: &Script, sabotage: Option<Sabotage>) -> (Shared, mpsc::UnboundedReceiver<usize>) {
    let time = VirtualTime::start();
    let cluster = MemoryCluster::start(move || time.now(), derive(seed, "cluster")).expect("the first objects are good");
    let server = nats::Server::start(derive(seed, "nats"), time.now());
    server.set_faults(script.bus_faults());
    let history = History::new(invariants::all());
    let (traps, sprung) = Traps::new(script.ambushes.iter().map(|ambush| ambush.trap.clone()).collect());
    let world = Arc::new(World {
        seed,
        time,
        cluster,
        nats: server,
        weather: Mutex::new(Weather::stormy(script.rough)),
        history: Mutex::new(history),
        ingests: Mutex::default(),
        stubborn: Mutex::default(),
        rules: Mutex::default(),
        traps: Arc::new(traps),
        saboteur: Saboteur::new(sabotage),
        befallen: Mutex::default(),
        broken: Notify::new(),
    });
    let observer = Arc::downgrade(&world);
    world.nats.on_stored(move |stream, stored| {
        if let Some(world) = observer.upgrade() {
            world.record(What::Stored(Message {
                stream: stream.to_owned(),
                sequence: stored.sequence,
                subject: stored.subject.clone(),
                at: stored.at,
                data: stored.data.clone(),
            }));
        }
    });
    (world, sprung)
}

/// Starts everything that lives as long as the world.
fn start(world: &Shared, script: &Script) -> Orders {
    people::prepare(world, &script.workloads);
    let names: Vec<String> = script.workloads.iter().map(|workload| workload.name.clone()).collect();
    tokio::spawn(alerting::prometheus(Arc::clone(world), names));
    for peer in 0..2 {
        let dice = world.dice(&format!("alertmanager {peer}"));
        tokio::spawn(alerting::alertmanager(Arc::clone(world), peer, dice));
    }
    let mut orders = Orders::new();
    for process in &script.processes {
        let (sender, receiver) = mpsc::unbounded_channel();
        orders.insert(process.name.clone(), sender);
        tokio::spawn(processes::supervise(Arc::clone(world), process.clone(), receiver));
    }
    orders
}

/// The end of all faults.
fn calm(world: &Shared) {
    *lock(&world.weather) = Weather::calm();
    world.nats.set_faults(nats::Faults::none());
    for stream in [streams::INCIDENTS, streams::ALERTS, streams::LEDGER] {
        world.nats.set_full(stream, false);
    }
    world.record(What::Calm);
}

/// Waits until every incident is closed and stays so; false when that takes too long.
async fn settle(world: &Shared) -> bool {
    let deadline = Instant::now() + settings::SETTLED_WITHIN;
    let mut quiet = 0;
    while Instant::now() < deadline {
        sleep(Duration::from_secs(5)).await;
        let history = lock(&world.history);
        if history.violation().is_some() {
            return true;
        }
        quiet = if history.open_incidents().is_empty() { quiet + 1 } else { 0 };
        // Long enough for whatever still fires to be told once more.
        if quiet > 24 {
            return true;
        }
    }
    lock(&world.history).open_incidents().is_empty()
}

/// What people do afterwards; false when it does not settle again.
async fn operate(world: &Shared) -> bool {
    if world.is_broken() {
        return true;
    }
    match replay(world).await {
        Ok(0) => true,
        Ok(_) => settle(world).await,
        Err(why) => {
            lock(&world.history).fail("S8 dead letters can be replayed", why);
            true
        }
    }
}

fn report(world: &Shared, history: &History, keep: bool) -> Report {
    let mut outcomes = BTreeMap::new();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for event in history.events() {
        let kind = match &event.what {
            What::Stored(message) => {
                if let Ok(Fact::IncidentClosed(closed)) = Fact::decode(message.event_type(), &message.data) {
                    let outcome = Outcome::try_from(closed.outcome).unwrap_or(Outcome::Unspecified);
                    *outcomes.entry(outcome.as_str_name().trim_start_matches("OUTCOME_").to_ascii_lowercase()).or_default() += 1;
                }
                if message.stream.starts_with("OBJ_") { "archive messages".to_owned() } else { "facts stored".to_owned() }
            }
            What::Wrote(write) if write.process.is_none() => "changes by people".to_owned(),
            What::Wrote(_) => "cluster writes".to_owned(),
            What::Told(_) => "messages to people".to_owned(),
            What::Ended(_, why) if why.starts_with("killed right") => "crashes at an operation".to_owned(),
            What::Ended(..) => "crashes".to_owned(),
            What::Noted(note) if !note.starts_with("page ") => note.split(['(', ' ']).next().unwrap_or_default().to_owned(),
            _ => continue,
        };
        *counts.entry(kind).or_default() += 1;
    }
    for (kind, count) in world.nats.injected() {
        *counts.entry(format!("bus: {kind}")).or_default() += count;
    }
    for (kind, count) in lock(&world.befallen).iter() {
        *counts.entry((*kind).to_owned()).or_default() += count;
    }
    let events = if keep || history.violation().is_some() { history.events().iter().map(describe).collect() } else { Vec::new() };
    Report {
        seed: world.seed,
        digest: history.digest(),
        violation: history.violation().cloned(),
        outcomes,
        counts,
        seconds: world.time.millis() / 1000,
        events,
    }
}
