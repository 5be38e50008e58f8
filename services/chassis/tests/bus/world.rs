//! What the tests share: a server, buses on it, incidents, a proxy that withholds replies.

use std::sync::Arc;
use std::time::Duration;

use chassis::bus::{Bus, Group, NewEvent};
use chassis::clock::{Ids, SystemClock};
use chassis::config;
use contracts::v1::{self, WorkloadRef};
use contracts::{Fact, IncidentSubject};
use testbed::nats::{Nats, NatsOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn nats() -> Nats {
    Nats::start(NatsOptions { sync_always: true, ..NatsOptions::default() }).await.unwrap()
}

pub(crate) fn config(url: &str) -> config::Nats {
    config::Nats {
        urls: vec![url.to_owned()],
        request_timeout: Duration::from_secs(5),
        max_bytes: 64 << 20,
        ..config::Nats::default()
    }
}

pub(crate) async fn bus(url: &str) -> Bus {
    connect(&config(url)).await
}

pub(crate) async fn connect(config: &config::Nats) -> Bus {
    let clock = Arc::new(SystemClock);
    let ids = Ids::new(clock.clone());
    tokio::time::timeout(PATIENCE, Bus::connect(config, "tester", clock, ids)).await.unwrap().unwrap()
}

/// `JetStream`'s administration, below the bus.
pub(crate) fn jetstream(bus: &Bus) -> async_nats::jetstream::Context {
    async_nats::jetstream::new(bus.client().expect("NATS").clone())
}

pub(crate) fn workload(name: &str) -> WorkloadRef {
    WorkloadRef { cluster: "default".into(), namespace: "shop".into(), kind: "Deployment".into(), name: name.into() }
}

pub(crate) fn incident(bus: &Bus, name: &str) -> IncidentSubject {
    IncidentSubject { workload: workload(name), incident: bus.ids().incident() }
}

pub(crate) fn opening() -> Fact {
    let trigger = v1::Occurrence { fingerprint: "f00".into(), source: "test".into(), ..v1::Occurrence::default() };
    Fact::from(v1::AnomalyDetected { trigger: Some(trigger), workload_uid: "uid".into(), ..v1::AnomalyDetected::default() })
}

pub(crate) fn ready(attempt: u32) -> Fact {
    Fact::from(v1::PodsReady { attempt, ready: 1, desired: 1 })
}

pub(crate) fn group(bus: &Bus, incident: &IncidentSubject, expected: u64, facts: &[Fact]) -> Group {
    let events = facts.iter().map(|fact| NewEvent::incident(bus.ids().event(), incident, fact)).collect();
    Group { filter: incident.workload_filter(), expected, events }
}

/// A proxy before a server whose replies can be withheld.
pub(crate) struct Proxy {
    pub(crate) url: String,
    open: watch::Sender<bool>,
}

impl Proxy {
    pub(crate) async fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let server = server.strip_prefix("nats://").unwrap().to_owned();
        let (open, gate) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let (mut from_client, to_client) = client.into_split();
                let (from_server, mut to_server) = server.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
                tokio::spawn(gated(from_server, to_client, gate.clone()));
            }
        });
        Self { url, open }
    }

    pub(crate) fn replies(&self, flow: bool) {
        self.open.send_replace(flow);
    }
}

async fn gated(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut gate: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 65536];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if gate.wait_for(|open| *open).await.is_err() || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
