//! The processes: each is one service's real wiring on a lifecycle that can be killed at any await, and comes up again.
//!
//! Guarantees: every incarnation has a bus, a clock, ids and a kube client of its own; what a dead one left running reaches nobody. The wiring
//! is that of the services' `main`, but for telemetry, signals and sockets. Must not: keep anything of a process across its death.

use std::sync::Arc;
use std::time::Duration;

use chassis::clock::{Clock, Ids};
use chassis::{Bus, Lifecycle};
use tokio::sync::mpsc;

use super::dice::{Dice, derive};
use super::gate::{CrashPoint, Edge, Gate};
use super::history::What;
use super::tampered::Tampered;
use super::time::HostClock;
use super::wire::Wire;
use super::{Shared, lock};

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
pub(super) struct Incarnation {
    pub(super) world: Shared,
    pub(super) gate: Arc<Gate>,
    pub(super) life: Lifecycle,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Ids,
    pub(super) dice: Dice,
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
}
