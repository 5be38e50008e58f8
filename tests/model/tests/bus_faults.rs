//! The bus over the server in memory while everything goes wrong, and that a seed repeats itself.
//!
//! Guarantees: what these runs find holds of the code that talks to NATS, which is the product's own. Must not: stand for the real
//! server's behaviour; `bus_fidelity` does.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chassis::bus::{AppendError, Bus, ConsumerSpec, Delivery, Group, HandleError, Handler, NewEvent};
use chassis::clock::Ids;
use chassis::config;
use chassis::lifecycle::Lifecycle;
use contracts::subjects::{self, streams};
use contracts::v1::{self, WorkloadRef};
use contracts::{Fact, IncidentSubject};
use model::nats::{Faults, OperationKind, Server, Verdict};
use tokio::time::Instant;

const EPOCH: &str = "2026-11-22T10:00:00Z";

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(future)
}

async fn bus(server: &Server, process: &str, seed: u64) -> Bus {
    let config = config::Nats { request_timeout: Duration::from_secs(2), ..config::Nats::default() };
    let ids = Ids::seeded(server.clock(), seed);
    Bus::over(server.connect(process), &config, process, server.clock(), ids).await.unwrap()
}

fn incident(bus: &Bus, name: &str) -> IncidentSubject {
    let workload =
        WorkloadRef { cluster: "default".into(), namespace: "shop".into(), kind: "Deployment".into(), name: name.into() };
    IncidentSubject { workload, incident: bus.ids().incident() }
}

fn ready(attempt: u32) -> Fact {
    Fact::from(v1::PodsReady { attempt, ready: 1, desired: 1 })
}

fn group(bus: &Bus, incident: &IncidentSubject, expected: u64, facts: &[Fact]) -> Group {
    let events = facts.iter().map(|fact| NewEvent::incident(bus.ids().event(), incident, fact)).collect();
    Group { filter: incident.workload_filter(), expected, events }
}

/// Appends one numbered fact or two after the other until the time is over; gives what was acknowledged.
async fn write(bus: Bus, incident: IncidentSubject, until: Instant) -> Vec<(u64, u64, u32)> {
    let (mut acknowledged, mut number) = (Vec::new(), 0);
    while Instant::now() < until {
        let Ok(last) = bus.last(streams::INCIDENTS, &incident.workload_filter()).await else { continue };
        number += 1;
        let facts = vec![ready(number); 1 + usize::from(number % 2 == 0)];
        match bus.append(vec![group(&bus, &incident, last.map_or(0, |stored| stored.sequence), &facts)]).await {
            Ok(appended) => acknowledged.push((appended.first, appended.last, number)),
            Err(AppendError::Lost | AppendError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(other) => panic!("an outage became {other:?}"),
        }
    }
    acknowledged
}

/// Notes the sequences that it has handled; each reads as the services do.
struct Notes(Bus, Mutex<BTreeMap<u64, u32>>);

#[async_trait]
impl Handler for Notes {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let (filter, sequence) = (subjects::ALL_INCIDENTS, delivery.sequence());
        let read = self.0.read(streams::INCIDENTS, filter, sequence.saturating_sub(3).max(1), Some(sequence)).await?;
        assert!(read.iter().any(|stored| stored.sequence == sequence), "a read reaches what woke the handler");
        *self.1.lock().unwrap().entry(delivery.sequence()).or_default() += 1;
        Ok(())
    }
}

/// What a run came to: the log, what was handled, the faults.
#[derive(Debug, PartialEq)]
struct Run {
    log: Vec<(u64, String, String)>,
    handled: Vec<BTreeMap<u64, u32>>,
    injected: BTreeMap<&'static str, u64>,
}

/// Two writers and two replicas of a consumer for two minutes of faults, and then quiet until all is handled.
async fn storm(seed: u64) -> Run {
    let server = Server::start(seed, EPOCH.parse().unwrap());
    let (one, two) = (bus(&server, "one", seed).await, bus(&server, "two", seed + 1).await);
    let web = incident(&one, "web");
    server.set_faults(Faults::all(0.02));
    let life = Lifecycle::default();
    let notes = [&one, &two].map(|bus| Arc::new(Notes(bus.clone(), Mutex::default())));
    for (bus, notes) in [&one, &two].into_iter().zip(&notes) {
        let spec = ConsumerSpec::new(streams::INCIDENTS, "reader", vec![subjects::ALL_INCIDENTS.into()]);
        bus.consume(spec, notes.clone(), &life);
    }
    let until = Instant::now() + Duration::from_mins(2);
    let writers = [one.clone(), two].map(|bus| tokio::spawn(write(bus, web.clone(), until)));
    tokio::time::sleep(Duration::from_secs(40)).await;
    server.away_for(Duration::from_secs(20));
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    server.set_faults(Faults::none());
    let ended = Instant::now() + Duration::from_mins(10);
    while server.pending(streams::INCIDENTS).values().any(|pending| *pending != (0, 0)) {
        assert!(Instant::now() < ended, "seed {seed}: {:?} are not handled", server.pending(streams::INCIDENTS));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    check(seed, &server, &acknowledged);
    let handled: Vec<_> = notes.iter().map(|notes| notes.1.lock().unwrap().clone()).collect();
    for stored in server.log(streams::INCIDENTS) {
        let times = |notes: &BTreeMap<u64, u32>| notes.contains_key(&stored.sequence);
        assert!(handled.iter().any(times), "seed {seed}: {} was never handled", stored.sequence);
    }
    assert!(server.log(streams::DEAD).is_empty(), "seed {seed}: outages made dead letters");
    let log = server.log(streams::INCIDENTS);
    let log = log.iter().map(|s| (s.sequence, s.at.to_string(), s.header("ce-id").unwrap().to_owned())).collect();
    life.stop();
    life.run_until_done().await;
    Run { log, handled, injected: server.injected() }
}

/// Everything acknowledged is there, once, and is what was acknowledged.
fn check(seed: u64, server: &Server, acknowledged: &[(u64, u64, u32)]) {
    let log = server.log(streams::INCIDENTS);
    assert!(acknowledged.len() > 50, "seed {seed}: only {} appends went through", acknowledged.len());
    let mut ids = BTreeSet::new();
    for stored in &log {
        assert!(ids.insert(stored.header("ce-id").unwrap()), "seed {seed}: {} is stored twice", stored.sequence);
    }
    for (first, last, number) in acknowledged {
        for sequence in *first..=*last {
            let stored = log.iter().find(|stored| stored.sequence == sequence);
            let stored = stored.unwrap_or_else(|| panic!("seed {seed}: acknowledged {sequence} is lost"));
            let fact = Fact::decode(stored.event_type(), &stored.data).unwrap();
            assert_eq!(fact, ready(*number), "seed {seed}: {sequence} is somebody else's");
        }
    }
}

/// `LASTGOOD_SEEDS` says how many, for a longer look.
#[test]
fn nothing_acknowledged_is_lost_or_doubled_whatever_goes_wrong() {
    let mut injected: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut facts, mut again) = (0, 0);
    let seeds = std::env::var("LASTGOOD_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(8);
    for seed in 1..=seeds {
        let run = run(storm(seed));
        facts += run.log.len();
        again += run.handled.iter().flat_map(BTreeMap::values).sum::<u32>() as usize - run.log.len();
        for (kind, count) in run.injected {
            *injected.entry(kind).or_default() += count;
        }
    }
    println!("{facts} facts, {again} handled again; faults: {injected:?}");
    let kinds = [
        "delay",
        "disconnect",
        "duplicate delivery",
        "forgotten acks",
        "in flight",
        "lost delivery",
        "lost reply",
        "lost request",
        "reordered delivery",
        "server away",
        "slow store",
        "stale read",
        "unavailable",
    ];
    assert_eq!(injected.keys().copied().collect::<Vec<_>>(), kinds, "each kind has befallen");
}

#[test]
fn a_seed_repeats_itself_and_another_does_not() {
    let first = run(storm(77));
    let second = run(storm(77));
    let differs = first.log.iter().zip(&second.log).find(|(one, other)| one != other);
    assert!(differs.is_none(), "{differs:?}");
    assert!(first == second, "the logs are equal and the rest is not: {:?} {:?}", first.injected, second.injected);
    assert!(first.log != run(storm(78)).log);
}

#[test]
fn a_process_dies_right_before_or_right_after_an_operation() {
    run(async {
        for (verdict, stored) in [(Verdict::DropBefore, 0), (Verdict::DropAfter, 1), (Verdict::Go, 1)] {
            let server = Server::start(1, EPOCH.parse().unwrap());
            let bus = bus(&server, "doomed", 1).await;
            let fatal = Arc::new(Mutex::new(Vec::new()));
            let seen = fatal.clone();
            server.on_operation(move |operation| {
                seen.lock().unwrap().push((operation.process.clone(), operation.kind));
                if operation.kind == OperationKind::Append { verdict } else { Verdict::Go }
            });
            let web = incident(&bus, "web");
            let append = bus.append(vec![group(&bus, &web, 0, &[ready(1)])]);
            let ended = tokio::time::timeout(Duration::from_mins(1), append).await;
            assert_eq!(ended.is_ok(), verdict == Verdict::Go, "a dead process's call never returns");
            assert_eq!(server.log(streams::INCIDENTS).len(), stored, "{verdict:?}");
            assert_eq!(fatal.lock().unwrap().as_slice(), [("doomed".to_owned(), OperationKind::Append)]);
        }
    });
}

#[test]
fn a_full_stream_is_full_until_there_is_room() {
    run(async {
        let server = Server::start(1, EPOCH.parse().unwrap());
        let bus = bus(&server, "one", 1).await;
        let web = incident(&bus, "web");
        server.set_full(streams::INCIDENTS, true);
        let full = bus.append(vec![group(&bus, &web, 0, &[ready(1), ready(2)])]).await;
        assert!(matches!(full, Err(AppendError::Full(_))), "{full:?}");
        server.set_full(streams::INCIDENTS, false);
        assert_eq!(bus.append(vec![group(&bus, &web, 0, &[ready(1), ready(2)])]).await.unwrap().last, 2);
    });
}

#[test]
fn observers_see_what_is_stored_when_it_is() {
    run(async {
        let server = Server::start(1, EPOCH.parse().unwrap());
        let bus = bus(&server, "one", 1).await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (notes, looking) = (seen.clone(), server.clone());
        server.on_stored(move |stream, stored| {
            assert_eq!(looking.log(stream).last().unwrap().sequence, stored.sequence);
            notes.lock().unwrap().push((stream.to_owned(), stored.event_type().to_owned()));
        });
        let web = incident(&bus, "web");
        bus.append(vec![group(&bus, &web, 0, &[ready(1)])]).await.unwrap();
        let at = server.now() + Duration::from_mins(5);
        bus.schedule(&web, contracts::DeadlineKind::Decide, at).await.unwrap();
        tokio::time::sleep(Duration::from_mins(6)).await;
        let expected = [(streams::INCIDENTS, "pods_ready"), (streams::TIMERS, "decide"), (streams::TIMERS, "decide")];
        assert_eq!(*seen.lock().unwrap(), expected.map(|(stream, what)| (stream.to_owned(), what.to_owned())));
        assert_eq!(server.log(streams::TIMERS)[0].at, at);
    });
}
