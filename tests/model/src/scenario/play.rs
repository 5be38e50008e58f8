//! Carries a script out: at its time, each action happens to the world.
//!
//! Guarantees: it ends when the script does; nothing in it waits for the services. Must not: draw conclusions.

use std::collections::BTreeMap;
use std::time::Duration;

use chassis::Bus;
use chassis::clock::{Clock, Ids};
use contracts::v1::PauseSwitched;
use orchestrator::ledger::LedgerStore;
use orchestrator::pause;
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

/// Plays the whole script from `start`.
pub async fn play(world: &Shared, script: &Script, orders: &Orders, start: Instant) {
    let mut owners = Owners::default();
    for (at, action) in &script.actions {
        sleep_until(start + Duration::from_millis(*at)).await;
        if world.is_broken() {
            return;
        }
        perform(world, script, orders, &mut owners, action);
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
        Action::Delete(index) => people::delete(world, workload(index)),
        Action::Stubborn(index, on) => {
            lock(&world.stubborn).insert(workload(index).name.clone(), *on);
        }
        Action::Switch(paused) => switch(world, *paused),
        Action::Acknowledge => acknowledge(world),
        Action::Kill(process) => order(orders, process, Order::Kill),
        Action::Jump(process, skew) => order(orders, process, Order::Jump(*skew)),
        Action::NatsAway(length) => world.nats.away_for(*length),
        Action::NatsRestarts => world.nats.away_for(Duration::ZERO),
        Action::ApiAway(length) => lock(&world.weather).api_away = later(length),
        Action::ExpireWatches => world.cluster.expire_watches(),
        Action::PagerAway(length) => lock(&world.weather).pager_away = later(length),
        Action::ChatAway(length) => lock(&world.weather).chat_away = later(length),
        Action::PrometheusAway(length) => lock(&world.weather).prometheus_away = later(length),
        Action::Damage => damage(world),
    }
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
        let wanted = PauseSwitched { paused, who: "ann".to_owned(), reason: "a drill".to_owned() };
        while pause::switch(&LedgerStore::new(bus.clone()), CLUSTER, &wanted).await.is_err() {
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

/// Stores an alert notification that no binary can decode.
fn damage(world: &Shared) {
    let world = Arc::clone(world);
    tokio::spawn(async move {
        let transport = world.nats.connect("vandal");
        let message = chassis::bus::Outgoing::new("lastgood.alert.alertmanager", b"\xff\xff\xff\xff".as_slice());
        for _ in 0..20 {
            if let Ok(reply) = transport.request(message.clone(), Duration::from_secs(2)).await {
                let sequence = serde_json::from_slice::<serde_json::Value>(&reply).ok().and_then(|ack| ack["seq"].as_u64());
                if let Some(sequence) = sequence {
                    world.record(What::Damaged("LASTGOOD_ALERTS".to_owned(), sequence));
                    return;
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
}
