//! The processes: each is one service's real wiring on a lifecycle that can be killed at any await, and comes up again.
//!
//! Guarantees: every incarnation has a bus, a clock, ids and a kube client of its own; what a dead one left running reaches nobody. The wiring
//! is that of the services' `main`, but for telemetry, signals and sockets. Must not: keep anything of a process across its death.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use alert_ingest::detectors::rollout::Rollouts;
use alert_ingest::sources;
use chassis::clock::{Clock, Ids};
use chassis::{Bus, Incidents, Lifecycle};
use executor::cluster::Cluster;
use executor::run::Executor;
use http::StatusCode;
use notifier::deliver::Persistence;
use notifier::handlers::Desk;
use notifier::handlers::wire::{self as notifying, BusLog};
use orchestrator::cluster::LiveCluster;
use orchestrator::correlate;
use orchestrator::decision::Engine;
use orchestrator::{ledger, wiring};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tower::ServiceExt as _;
use verifier::handlers::{OnMitigated, OnTrafficShifted, consume};
use verifier::log::Log;
use verifier::runner::Stabilisation;
use verifier::verify::Verification;
use verifier::watch::AlertWatch;

use super::alerting::{self, HttpCall};
use super::dice::{Dice, derive};
use super::gate::{CrashPoint, Edge, Gate};
use super::history::What;
use super::sabotage::Sabotage;
use super::tampered::Tampered;
use super::time::HostClock;
use super::wire::Wire;
use super::{CLUSTER, Shared, lock, people, probes};
use crate::cluster;
use crate::scenario::settings;

/// The services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the services of the same names")]
pub enum Service {
    AlertIngest,
    Orchestrator,
    Executor,
    Verifier,
    Notifier,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::AlertIngest, Self::Orchestrator, Self::Executor, Self::Verifier, Self::Notifier];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AlertIngest => "alert-ingest",
            Self::Orchestrator => "orchestrator",
            Self::Executor => "executor",
            Self::Verifier => "verifier",
            Self::Notifier => "notifier",
        }
    }

    /// What it does to the world: where it is worth dying.
    const fn operations(self) -> &'static [&'static str] {
        match self {
            Self::AlertIngest => &["bus alert", "append person_acted", "bus ack"],
            Self::Orchestrator => &[
                "append ",
                "append anomaly_detected",
                "append rollback_planned",
                "append notification_requested",
                "append incident_closed",
                "bus timer",
                "bus ack",
                "bus ledger",
                "read ",
            ],
            Self::Executor => &[
                "append rollback_started",
                "append previous_version_deployed",
                "append pods_ready",
                "append traffic_shifted",
                "append status_updated",
                "append ",
                "dry-run deployments",
                "write deployments",
                "write replicasets",
                "read ",
                "bus ack",
            ],
            Self::Verifier => &["append smoke_test_finished", "append mitigated", "append ", "probe", "read pods", "bus ack"],
            Self::Notifier => &[
                "send ",
                "open slack",
                "append announced",
                "append on_call_notified",
                "append escalated",
                "append incident_closed",
                "append ",
                "bus ack",
            ],
        }
    }
}

/// One process of the deployment.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its name, e.g. `executor-1`.
    pub name: String,
    /// What it runs.
    pub service: Service,
    /// How long after the beginning it first starts.
    pub delay: Duration,
    /// The event types that its binary does not know, until it is upgraded.
    pub unknown: Arc<[&'static str]>,
    /// When it is restarted with a binary that knows them, after the beginning.
    pub upgraded: Duration,
}

/// What somebody does to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Kill it; it comes up again.
    Kill,
    /// Its host's clock is off by this many milliseconds from now on.
    Jump(i64),
}

/// One incarnation.
struct Incarnation {
    world: Shared,
    gate: Arc<Gate>,
    life: Lifecycle,
    clock: Arc<dyn Clock>,
    ids: Ids,
    dice: Dice,
}

/// Runs a process for ever: starts it, kills it when it is to die, starts it again.
pub async fn supervise(world: Shared, process: Process, mut orders: mpsc::UnboundedReceiver<Order>) {
    tokio::time::sleep(process.delay).await;
    let dice = world.dice(&format!("process {}", process.name));
    let clock = Arc::new(HostClock::new(world.time, 0));
    for incarnation in 0_u32.. {
        let (died, mut death) = mpsc::unbounded_channel();
        let point = crash_point(&world, process.service, &dice);
        let gate = Arc::new(Gate::new(process.name.clone(), point, died, Arc::clone(&world.traps)));
        world.record(What::Started(process.name.clone()));
        let now = Arc::clone(&clock) as Arc<dyn Clock>;
        let ids = Ids::seeded(Arc::clone(&now), derive(world.seed, &format!("ids {} {incarnation}", process.name)));
        let life = Lifecycle::default();
        let one = Incarnation {
            world: Arc::clone(&world),
            gate: Arc::clone(&gate),
            life: life.clone(),
            clock: now,
            ids,
            dice: dice.clone(),
        };
        let living = one.live(&process);
        tokio::pin!(living);
        let why = loop {
            tokio::select! {
                biased;
                Some(why) = death.recv() => break why,
                order = orders.recv() => match order {
                    Some(Order::Kill) => break "killed".to_owned(),
                    Some(Order::Jump(skew)) => clock.jump(skew),
                    None => return,
                },
                why = &mut living => break why,
            }
        };
        gate.kill("it is over");
        life.kill();
        world.nats.kill(&process.name);
        lock(&world.ingests).remove(&process.name);
        world.record(What::Ended(process.name.clone(), why));
        tokio::time::sleep(dice.millis(200, 6_000)).await;
    }
}

fn crash_point(world: &Shared, service: Service, dice: &Dice) -> Option<CrashPoint> {
    let marked = dice.chance(world.sky().crash_point);
    marked.then(|| CrashPoint {
        operation: (*dice.pick(service.operations())).to_owned(),
        spare: u32::try_from(dice.between(0, 6)).unwrap_or_default(),
        edge: if dice.chance(0.5) { Edge::Before } else { Edge::After },
    })
}

impl Incarnation {
    /// Starts the service and waits until one of its tasks ends, which ends a process; answers why.
    async fn live(self, process: &Process) -> String {
        let transport = self.world.nats.connect(&process.name);
        let transport = match self.world.saboteur.sabotage() {
            Some(sabotage) => Arc::new(Tampered::new(transport, sabotage)) as _,
            None => transport,
        };
        let is_old = Duration::from_millis(self.world.time.millis()) < process.upgraded;
        let unknown = if is_old { Arc::clone(&process.unknown) } else { Arc::default() };
        let wire = Wire::new(transport, Arc::clone(&self.gate), unknown, &self.world);
        let nats = chassis::config::Nats::default();
        let bus = Bus::over(Arc::new(wire), &nats, process.service.name(), Arc::clone(&self.clock), self.ids.clone()).await;
        let bus = match bus {
            Ok(bus) => bus,
            Err(error) => return format!("it can't start: {error}"),
        };
        bus.watch_fullness(&self.life);
        match process.service {
            Service::AlertIngest => self.alert_ingest(&bus),
            Service::Orchestrator => self.orchestrator(&bus),
            Service::Executor => self.executor(&bus),
            Service::Verifier => self.verifier(&bus),
            Service::Notifier => self.notifier(&bus),
        }
        self.life.first_end().await
    }

    fn client(&self) -> kube::Client {
        cluster::client(&self.world, &self.gate, self.dice.clone())
    }

    fn alert_ingest(&self, bus: &Bus) {
        let config = settings::ingest();
        let incidents = Arc::new(Incidents::new(bus.clone()));
        let app = sources::App::new(Arc::new(bus.clone()), incidents, Arc::clone(&self.clock), &config);
        let (calls, listen) = mpsc::unbounded_channel();
        let serving = serve(Arc::clone(&self.world), Arc::clone(&self.gate), sources::router(app, &config.auth()), listen);
        self.life.spawn("HTTP endpoints", async move {
            serving.await;
            Ok::<(), Infallible>(())
        });
        lock(&self.world.ingests).insert(self.gate.process().to_owned(), calls);
        let rollouts = Rollouts {
            store: Arc::new(bus.clone()),
            history: Arc::new(bus.clone()),
            client: self.client(),
            clock: Arc::clone(&self.clock),
            cluster: CLUSTER.to_owned(),
            cluster_label: None,
            config: settings::detector(),
        };
        let stopping = self.life.stopping();
        self.life.spawn("rollout detector", async move {
            rollouts.run(stopping).await;
            Ok::<(), Infallible>(())
        });
    }

    fn orchestrator(&self, bus: &Bus) {
        let client = self.client();
        let cluster = Arc::new(LiveCluster::new(client.clone()));
        let rules = correlate::Rules { cluster: CLUSTER.to_owned(), cluster_label: None };
        let engine = Engine::new(bus.clone(), cluster, rules, settings::orchestrator());
        wiring::consume(&engine, &self.life);
        wiring::archive(&engine, &self.life);
        let stopping = self.life.stopping();
        self.life.spawn("ledger watch", async move {
            ledger::watch(client, engine.cluster, engine.store, CLUSTER, stopping, || ()).await
        });
    }

    fn executor(&self, bus: &Bus) {
        let incidents = Incidents::new(bus.clone());
        let executor =
            Executor::new(incidents, Cluster::new(self.client()), Arc::clone(&self.clock), executor::config::Executor::default());
        executor.start(bus, &self.life, CLUSTER);
    }

    fn verifier(&self, bus: &Bus) {
        let settings = settings::verifier();
        let tools = probes::tools(&self.world, &self.gate, &self.dice);
        let incidents = Incidents::new(bus.clone());
        let log: Arc<dyn Log> = Arc::new(verifier::log::BusLog::new(incidents, Arc::clone(&self.clock)));
        let listen = |event_type: &str, handler| consume(bus, &self.life, CLUSTER, event_type, settings.max_in_flight, handler);
        if let Some(prometheus) = tools.prometheus.clone() {
            let watch = AlertWatch {
                log: Arc::clone(&log),
                prometheus,
                poll: settings.prometheus.poll,
                ignore_labels: settings.prometheus.ignore_labels.clone(),
            };
            listen("mitigated", Arc::new(OnMitigated { watch, stopping: self.life.stopping() }));
        }
        let stabilisation = Stabilisation { window: settings.stabilisation, every: settings.look_every };
        let verification = Verification { log, clock: Arc::clone(&self.clock), tools, rules: Vec::new(), stabilisation };
        let (client, stopping) = (self.client(), self.life.stopping());
        listen("traffic_shifted", Arc::new(OnTrafficShifted { verification, client, stopping }));
    }

    fn notifier(&self, bus: &Bus) {
        let settings = settings::notifier();
        let log = BusLog::new(bus.clone(), Arc::clone(&self.clock), self.ids.clone());
        let desk = Arc::new(Desk {
            log: Arc::new(log),
            channels: people::channels(&self.world, &self.gate, &self.dice),
            fallback: None,
            links: settings.links(),
            give_up_after: settings.give_up_after,
            clock: Arc::clone(&self.clock),
            persistence: Persistence::new(self.ids.clone(), self.life.stopping()),
        });
        notifying::start(bus, &desk, settings.edit_interval, &self.life);
    }
}

/// Answers requests until the process ends; what was not answered by then never is.
async fn serve(world: Shared, gate: Arc<Gate>, router: axum::Router, mut calls: mpsc::UnboundedReceiver<HttpCall>) {
    let mut hands = JoinSet::new();
    while let Some(HttpCall { request, answer, heard }) = calls.recv().await {
        while hands.try_join_next().is_some() {}
        let (world, gate, router) = (Arc::clone(&world), Arc::clone(&gate), router.clone());
        hands.spawn(async move {
            let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
            if gate.is_dead() {
                return;
            }
            let refusal_is_ok = world.saboteur.makes(Sabotage::RefusalAnsweredOk) && response.status().is_server_error();
            let status = if refusal_is_ok { StatusCode::OK } else { response.status() };
            if status.is_success() {
                alerting::hear(&world, heard);
            }
            // The sender has gone: it will come again.
            let _ = answer.send(status.as_u16());
        });
    }
}
