//! Two executors on one incident: what one has read before the other acted is no ground to judge the other's work by.
//!
//! The slow one reads the workload as it was and the log as it is later, which a gate before its reads of the log arranges; the other one
//! writes and reports in between. Judged by the old read, the report would make a person's change of what that read still shows.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chassis::bus::{Connection, Outgoing, Subscription, Transport, TransportError};
use chassis::{Bus, ConsumerSpec, Ids, Incidents};
use contracts::IncidentSubject;
use contracts::subjects::{facts_of_type, streams};
use executor::cluster::Cluster;
use executor::run::Executor;
use support::{CLUSTER, SOON, World};
use testbed::wait::until;
use tokio::sync::watch;

/// What the good version runs.
const GOOD: &str = "docker.io/local/web:v1";

/// Holds reads of the incidents back while it is shut.
struct Gate {
    bus: Bus,
    open: watch::Sender<bool>,
    /// It shuts by itself when a fact of this type is sent.
    shuts_at: Option<&'static str>,
    shut_once: AtomicBool,
}

impl Gate {
    async fn pass(&self, subject: &str) {
        let is_meant = self.shuts_at.is_some_and(|event_type| subject.ends_with(&format!(".{event_type}")));
        if is_meant && !self.shut_once.swap(true, Ordering::SeqCst) {
            self.open.send_replace(false);
        }
        if subject.contains(&format!("GET.{}", streams::INCIDENTS)) {
            let mut open = self.open.subscribe();
            let _ = open.wait_for(|open| *open).await; // the sender lives as long as the gate
        }
    }
}

/// A gate that somebody else can open.
#[derive(Clone)]
struct Gated(Arc<Gate>);

#[async_trait]
impl Transport for Gated {
    async fn publish(&self, message: Outgoing) -> Result<(), TransportError> {
        self.0.pass(&message.subject).await;
        self.0.bus.transport().publish(message).await
    }

    async fn request(&self, message: Outgoing, timeout: Duration) -> Result<Bytes, TransportError> {
        self.0.pass(&message.subject).await;
        self.0.bus.transport().request(message, timeout).await
    }

    async fn subscribe(&self, subject: String) -> Result<Box<dyn Subscription>, TransportError> {
        self.0.bus.transport().subscribe(subject).await
    }

    fn new_inbox(&self) -> String {
        self.0.bus.transport().new_inbox()
    }

    async fn flush(&self) -> Result<(), TransportError> {
        self.0.bus.transport().flush().await
    }

    fn connection(&self) -> watch::Receiver<Connection> {
        self.0.bus.transport().connection()
    }

    fn server_version(&self) -> String {
        self.0.bus.transport().server_version()
    }
}

/// The cluster as the slow one sees it: each read of the Deployment that was answered is counted.
fn counting(world: &World) -> (Cluster, Arc<Mutex<u32>>) {
    let reads: Arc<Mutex<u32>> = Arc::default();
    let (client, counted) = (world.client.clone(), Arc::clone(&reads));
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let is_read = request.method() == http::Method::GET && request.uri().path().ends_with("/deployments/web");
        let (client, counted) = (client.clone(), Arc::clone(&counted));
        async move {
            let answer = client.send(request).await;
            *counted.lock().unwrap() += u32::from(is_read);
            answer
        }
    });
    (Cluster::new(kube::Client::new(service, "default")), reads)
}

struct Slow {
    gate: Gated,
    reads: Arc<Mutex<u32>>,
}

impl Slow {
    /// Starts an executor whose reads of the log the gate holds back: from the start, or once it has sent a fact of this type.
    async fn start(world: &World, shuts_at: Option<&'static str>) -> Self {
        let open = watch::Sender::new(shuts_at.is_some());
        let gate = Gated(Arc::new(Gate { bus: world.bus.clone(), open, shuts_at, shut_once: AtomicBool::new(false) }));
        let config = chassis::config::Nats { request_timeout: SOON, ..chassis::config::Nats::default() };
        let ids = Ids::new(Arc::clone(&world.clock));
        let bus = Bus::over(Arc::new(gate.clone()), &config, "executor", Arc::clone(&world.clock), ids).await.unwrap();
        let (cluster, reads) = counting(world);
        let executor = Executor::new(Incidents::new(bus.clone()), cluster, Arc::clone(&world.clock), world.config.clone());
        executor.start(&bus, &world.life, CLUSTER);
        Self { gate, reads }
    }

    /// Waits until it has read the workload this often.
    async fn has_read(&self, times: u32) {
        let reads = || async {
            let reads = *self.reads.lock().unwrap();
            if reads >= times { Ok(()) } else { Err(reads) }
        };
        until("the slow one's read of the workload", SOON, reads).await.unwrap();
    }

    /// The other one comes and does the rollback; then the slow one hears what is on the log.
    async fn is_overtaken(&self, world: &World, subject: &IncidentSubject) {
        let other = Executor::new(world.incidents.clone(), world.cluster.clone(), Arc::clone(&world.clock), world.config.clone());
        // So that the incident is in the middle of its rollback until the slow one has judged it.
        world.sim.as_ref().unwrap().set_pull_ok(GOOD, false);
        let spec = ConsumerSpec::new(streams::INCIDENTS, "other", vec![facts_of_type("announced")]);
        world.bus.consume(spec, Arc::new(other), &world.life);
        world.fact(subject, "previous_version_deployed").await;
        let before = *self.reads.lock().unwrap();
        self.gate.0.open.send_replace(true);
        let judged = || async {
            let again = *self.reads.lock().unwrap() > before;
            let types = world.types(subject).await;
            if again || types.contains(&"superseded") { Ok(()) } else { Err(types.join(", ")) }
        };
        until("the slow one's next look, or its judgement", SOON, judged).await.unwrap();
        world.sim.as_ref().unwrap().set_pull_ok(GOOD, true);
        world.fact(subject, "traffic_shifted").await;
        let idle = || async {
            let consumers = world.bus.consumers(streams::INCIDENTS).await.map_err(|error| error.to_string())?;
            let busy: Vec<_> = consumers.iter().filter(|consumer| !consumer.idle).map(|consumer| &consumer.name).collect();
            if busy.is_empty() { Ok(()) } else { Err(format!("{busy:?}")) }
        };
        until("both being done", SOON, idle).await.unwrap();
        let types = world.types(subject).await;
        assert!(!types.contains(&"superseded"), "the other one's write was taken for a person's: {types:?}");
        assert_eq!(world.our_writes("web").len(), 1);
    }
}

async fn planned() -> (World, IncidentSubject) {
    let world = World::simulated().await;
    world.deploy("web", "v1", 1).await;
    let good = world.rolled_out("web", "v1").await;
    world.deploy("web", "v2-failing", 1).await;
    world.rolled_out("web", "v2-failing").await;
    let subject = world.plan("web", &good, |_| {}).await;
    (world, subject)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_before_the_log_does_not_count_once_there_is_an_intent() {
    let (world, subject) = planned().await;
    let slow = Slow::start(&world, None).await;
    world.announce(&subject).await;
    // It reads the workload while it waits for the log.
    slow.has_read(1).await;
    slow.is_overtaken(&world, &subject).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_before_the_log_moved_on_is_read_again() {
    let (world, subject) = planned().await;
    let slow = Slow::start(&world, Some("rollback_started")).await;
    // The plan alone gives it nothing to do.
    slow.has_read(1).await;
    world.announce(&subject).await;
    world.fact(&subject, "rollback_started").await;
    // Once with the log, and once more after its intent.
    slow.has_read(3).await;
    slow.is_overtaken(&world, &subject).await;
}
