//! Both grounds: the same names for what a scenario does on a real server and on the one in memory.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message};
use chassis::Clock;
use chassis::bus::{Bus, Group, NewEvent, Outgoing, Subscription, Transport};
use chassis::clock::{Ids, ManualClock, SystemClock};
use chassis::config;
use contracts::v1::{self, WorkloadRef};
use contracts::{Fact, IncidentSubject};
use futures::StreamExt;
use jiff::Timestamp;
use model::nats::Server;
use serde_json::Value;
use testbed::nats::{Nats, NatsOptions};

const EPOCH: &str = "2026-11-22T10:00:00Z";

/// A server.
pub(crate) enum Ground {
    Real(Nats),
    Memory(Server),
}

/// What happened, one thing a line.
pub(crate) type Transcript = Vec<String>;

fn runtime(paused: bool) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(paused).build().unwrap()
}

/// Runs a scenario on both and compares.
pub(crate) fn compare(scenario: impl AsyncFn(Ground) -> Transcript) {
    let limit = Duration::from_mins(1);
    let memory = runtime(true).block_on(async {
        let server = Server::start(7, EPOCH.parse().unwrap());
        tokio::time::timeout(limit, scenario(Ground::Memory(server))).await.expect("the scenario ends in memory")
    });
    let real = runtime(false).block_on(async {
        let nats = Nats::start(NatsOptions { sync_always: true, ..NatsOptions::default() }).await.unwrap();
        tokio::time::timeout(limit, scenario(Ground::Real(nats))).await.expect("the scenario ends on nats-server")
    });
    for (line, (memory, real)) in memory.iter().zip(&real).enumerate() {
        assert_eq!(memory, real, "line {line}: in memory (left) and on nats-server (right)");
    }
    assert_eq!(memory.len(), real.len(), "one of them says more: {memory:#?} {real:#?}");
    assert!(!memory.is_empty());
}

impl Ground {
    /// A bus whose ids and envelopes are the same on both grounds.
    pub(crate) async fn bus(&self, process: &str) -> Bus {
        self.bus_with(process, 64 << 20).await
    }

    pub(crate) async fn bus_with(&self, process: &str, max_bytes: i64) -> Bus {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(EPOCH.parse().unwrap()));
        let ids = Ids::seeded(clock.clone(), 1);
        let config = config::Nats { request_timeout: Duration::from_secs(2), max_bytes, ..config::Nats::default() };
        match self {
            Self::Real(nats) => {
                let config = config::Nats { urls: vec![nats.url()], ..config };
                Bus::connect(&config, process, clock, ids).await.unwrap()
            }
            Self::Memory(server) => Bus::over(server.connect(process), &config, process, clock, ids).await.unwrap(),
        }
    }

    /// The server's time.
    pub(crate) fn now(&self) -> Timestamp {
        match self {
            Self::Real(_) => SystemClock.now(),
            Self::Memory(server) => server.now(),
        }
    }

    pub(crate) async fn stop(&self) {
        match self {
            Self::Real(nats) => nats.kill().await.unwrap(),
            Self::Memory(server) => server.away_for(Duration::from_hours(1)),
        }
    }

    pub(crate) async fn start(&self) {
        match self {
            Self::Real(nats) => nats.restart().await.unwrap(),
            Self::Memory(server) => server.away_for(Duration::ZERO),
        }
    }

    pub(crate) async fn restart(&self) {
        self.stop().await;
        self.start().await;
    }
}

pub(crate) fn workload(name: &str) -> WorkloadRef {
    WorkloadRef { cluster: "default".into(), namespace: "shop".into(), kind: "Deployment".into(), name: name.into() }
}

pub(crate) fn incident(bus: &Bus, name: &str) -> IncidentSubject {
    IncidentSubject { workload: workload(name), incident: bus.ids().incident() }
}

pub(crate) fn ready(attempt: u32) -> Fact {
    Fact::from(v1::PodsReady { attempt, ready: 1, desired: 1 })
}

pub(crate) fn group(bus: &Bus, incident: &IncidentSubject, expected: u64, facts: &[Fact]) -> Group {
    let events = facts.iter().map(|fact| NewEvent::incident(bus.ids().event(), incident, fact)).collect();
    Group { filter: incident.workload_filter(), expected, events }
}

/// Headers from pairs.
pub(crate) fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.insert(*name, *value);
    }
    headers
}

/// Headers as one line, sorted; without those that only one server has.
pub(crate) fn shown(headers: Option<&HeaderMap>) -> String {
    let mut lines: Vec<String> = headers
        .into_iter()
        .flat_map(HeaderMap::iter)
        .flat_map(|(name, values)| values.iter().map(move |value| format!("{name}={}", value.as_str())))
        .filter(|line| !line.starts_with("Nats-Time-Stamp"))
        .filter(|line| !line.starts_with("Nats-UpTo-Sequence") && !line.starts_with("Nats-Pending-Bytes"))
        .collect();
    lines.sort();
    lines.join(" ")
}

/// Asks and shows the answer: of JSON what matters, else the bytes.
pub(crate) async fn ask(transport: &dyn Transport, subject: &str, headers: Option<HeaderMap>, body: &str) -> String {
    let message = Outgoing { headers, ..Outgoing::new(subject, body.to_owned()) };
    let answer = match transport.request(message, Duration::from_secs(2)).await {
        Ok(answer) => answer,
        Err(error) => return format!("{subject}: {}", error.to_string().contains("responders")),
    };
    let Ok(value) = serde_json::from_slice::<Value>(&answer) else {
        return format!("{subject}: {:?}", String::from_utf8_lossy(&answer));
    };
    let keys = ["seq", "duplicate", "count", "success", "purged", "num_ack_pending", "num_pending", "name"];
    let mut parts: Vec<String> = Vec::new();
    for key in keys {
        if let Some(value) = value.get(key) {
            parts.push(format!("{key}={value}"));
        }
    }
    if let Some(error) = value.get("error") {
        parts.push(format!("error {} {} {}", error["code"], error["err_code"], error["description"]));
    }
    if let Some(state) = value.get("state") {
        let of_state = ["messages", "first_seq", "last_seq", "consumer_count", "subjects", "bytes"];
        parts.extend(of_state.iter().map(|key| format!("{key}={}", state[key])));
    }
    if let Some(message) = value.get("message") {
        parts.push(format!("message {} {} {}", message["subject"], message["seq"], message.get("data").is_some()));
    }
    format!("{subject}: {}", parts.join(" "))
}

/// Listens on an inbox of its own.
pub(crate) async fn listen(transport: &dyn Transport) -> (String, Box<dyn Subscription>) {
    let inbox = transport.new_inbox();
    let listener = transport.subscribe(inbox.clone()).await.unwrap();
    (inbox, listener)
}

/// The next message, or nothing within this long; shown without its inbox and time.
pub(crate) async fn next(listener: &mut dyn Subscription, within: Duration) -> Option<Message> {
    tokio::time::timeout(within, listener.next()).await.ok().flatten()
}

/// A delivery or a status as a line.
pub(crate) fn line(message: Option<&Message>) -> String {
    let Some(message) = message else { return "nothing".to_owned() };
    let reply: Option<Vec<String>> = message.reply.as_ref().map(|reply| reply.split('.').take(7).map(str::to_owned).collect());
    let status = message.status.map(|status| status.as_u16());
    let headers = shown(message.headers.as_ref());
    match status {
        Some(status) => format!("status {status} {} [{headers}]", message.description.as_deref().unwrap_or_default()),
        None => format!("{} {reply:?} [{headers}]", message.subject),
    }
}
