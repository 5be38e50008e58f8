//! Carries a script out: at its time, each action happens to the world.
//!
//! Guarantees: it ends when the script does; nothing in it waits for the services. Must not: draw conclusions.

use std::collections::BTreeMap;
use std::time::Duration;

use chassis::Bus;
use chassis::clock::{Clock, Ids};
use contracts::v1::PauseSwitched;
use orchestrator::dead_letters::command::{DeadLettersCommand, Output};
use orchestrator::ledger::{LedgerStore, Scope};
use orchestrator::{dead_letters, pause};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::people::{self, Owners};
use super::{Action, Script};
use crate::world::alerting;
use crate::world::dice::derive;
use crate::world::history::What;
use crate::world::processes::Order;
use crate::world::time::HostClock;
use crate::world::{CLUSTER, Shared, lock};

/// Where orders to processes go.
pub type Orders = BTreeMap<String, mpsc::UnboundedSender<Order>>;

/// Plays the whole script from `start`, and what traps call for when they spring.
pub async fn play(world: &Shared, script: &Script, orders: &Orders, mut sprung: mpsc::UnboundedReceiver<usize>, start: Instant) {
    let mut owners = Owners::default();
    for (at, action) in &script.actions {
        let turn = sleep_until(start + Duration::from_millis(*at));
        tokio::pin!(turn);
        loop {
            tokio::select! {
                biased;
                Some(number) = sprung.recv() => ambush(world, script, orders, &mut owners, number),
                () = &mut turn => break,
            }
        }
        if world.is_broken() {
            return;
        }
        perform(world, script, orders, &mut owners, action);
    }
    while let Some(number) = sprung.recv().await {
        ambush(world, script, orders, &mut owners, number);
    }
}

fn ambush(world: &Shared, script: &Script, orders: &Orders, owners: &mut Owners, number: usize) {
    if let Some(ambush) = script.ambushes.get(number) {
        perform(world, script, orders, owners, &ambush.action);
    }
}

fn perform(world: &Shared, script: &Script, orders: &Orders, owners: &mut Owners, action: &Action) {
    world.note(format!("{action:?}"));
    let workload = |index: &usize| &script.workloads[*index];
    let later = |length: &Duration| Some(Instant::now() + *length);
    match action {
        Action::Deploy(index, tag) => owners.deploy(world, workload(index), tag),
        Action::ManualRollback(index) => owners.roll_back(world, workload(index)),
        Action::PutBadBack(index) => owners.put_bad_back(world, workload(index)),
        Action::PauseRollout(index, paused) => people::pause(world, workload(index), *paused),
        Action::Scale(index, replicas) => people::scale(world, workload(index), *replicas),
        Action::MoveTag(tag, to) => people::move_tag(world, tag, to),
        Action::Delete(index) => people::delete(world, workload(index)),
        Action::Stubborn(index, on) => {
            lock(&world.stubborn).insert(workload(index).name.clone(), *on);
        }
        Action::Switch(paused) => switch(world, *paused),
        Action::Acknowledge => acknowledge(world),
        Action::Kill(process) | Action::Upgrade(process) => order(orders, process, Order::Kill),
        Action::Jump(process, skew) => order(orders, process, Order::Jump(*skew)),
        Action::NatsAway(length) => world.nats.away_for(*length),
        Action::NatsRestarts => world.nats.away_for(Duration::ZERO),
        Action::ApiAway(length) => lock(&world.weather).api_away = later(length),
        Action::ExpireWatches => world.cluster.expire_watches(),
        Action::PagerAway(length) => lock(&world.weather).pager_away = later(length),
        Action::ChatAway(length) => lock(&world.weather).chat_away = later(length),
        Action::PrometheusAway(length) => lock(&world.weather).prometheus_away = later(length),
        Action::PodsUnreachable(length) => lock(&world.weather).pods_away = later(length),
        Action::Damage => damage(world, "lastgood.alert.alertmanager".to_owned()),
        Action::DamageFact(event_type) => {
            let open = lock(&world.history).open_incidents();
            if let Some(path) = open.first() {
                damage(world, format!("{path}.{event_type}"));
            }
        }
        Action::Full(stream, length) => {
            let (world, stream, length) = (Arc::clone(world), *stream, *length);
            tokio::spawn(async move {
                world.nats.set_full(stream, true);
                tokio::time::sleep(length).await;
                world.nats.set_full(stream, false);
            });
        }
    }
}

/// What an operator does when the trouble is over: has everything that was given up delivered again, with the product's own command.
pub async fn replay(world: &Shared) -> Result<usize, String> {
    let Some(bus) = laptop(world, "replay").await else { return Err("NATS can't be reached".to_owned()) };
    let letters = bus.dead_letters().await.map_err(|error| error.to_string())?;
    if letters.is_empty() {
        return Ok(0);
    }
    world.record(What::Replayed(letters.iter().map(|entry| (entry.letter.stream.clone(), entry.letter.sequence)).collect()));
    let all = DeadLettersCommand::Replay { sequence: None, all: true, consumer: None };
    let answer = dead_letters::command::run(&bus, &all, Output::Text).await.map_err(|error| error.to_string())?;
    if answer.code == dead_letters::command::DONE { Ok(letters.len()) } else { Err(answer.text) }
}

fn order(orders: &Orders, process: &str, order: Order) {
    if let Some(sender) = orders.get(process) {
        // A supervisor never ends before the world does.
        let _ = sender.send(order);
    }
}

/// An operator's laptop: a connection of its own, without a gate.
async fn laptop(world: &Shared, what: &str) -> Option<Bus> {
    let clock: Arc<dyn Clock> = Arc::new(HostClock::new(world.time, 0));
    let ids = Ids::seeded(Arc::clone(&clock), derive(world.seed, &format!("laptop {what} {}", world.time.millis())));
    Bus::over(world.nats.connect("laptop"), &chassis::config::Nats::default(), "orchestrator", clock, ids).await.ok()
}

/// `lastgood-orchestrator pause` or `resume`, tried until it works.
fn switch(world: &Shared, paused: bool) {
    let world = Arc::clone(world);
    tokio::spawn(async move {
        let Some(bus) = laptop(&world, "switch").await else { return };
        let (who, reason) = ("ann".to_owned(), "a drill".to_owned());
        let wanted = PauseSwitched { paused, who, reason, ..PauseSwitched::default() };
        while pause::switch(&LedgerStore::new(bus.clone()), &Scope::cluster(CLUSTER), &wanted).await.is_err() {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    });
}

/// Acknowledges every incident that has paged and is open, as a person does who looks at the pager.
fn acknowledge(world: &Shared) {
    let world = Arc::clone(world);
    let dice = world.dice(&format!("acknowledge {}", world.time.millis()));
    let paged: Vec<String> = {
        let history = lock(&world.history);
        let told = history.events().iter().filter_map(|event| match &event.what {
            What::Told(told) => Some(told.incident.clone()),
            _ => None,
        });
        told.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    };
    tokio::spawn(async move {
        for incident in paged {
            let path = format!("/v1/incidents/{incident}/acknowledge");
            for _ in 0..3 {
                let answer = alerting::post(&world, &dice, &path, &json!({"who": "ann"}), Vec::new()).await;
                if answer.is_some_and(|status| status < 500) {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        }
    });
}

/// Stores a message there that no binary can decode.
fn damage(world: &Shared, subject: String) {
    let world = Arc::clone(world);
    tokio::spawn(async move {
        let transport = world.nats.connect("vandal");
        let message = chassis::bus::Outgoing::new(subject, b"\xff\xff\xff\xff".as_slice());
        for _ in 0..20 {
            // A message whose acknowledgement is lost is there all the same, and another one as well.
            if let Ok(reply) = transport.request(message.clone(), Duration::from_secs(2)).await
                && serde_json::from_slice::<serde_json::Value>(&reply).is_ok_and(|ack| ack["error"].is_null())
            {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
}
