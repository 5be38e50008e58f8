//! Consuming.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chassis::bus::{Advisory, AdvisoryKind, Bus, ConsumerSpec, Delivery, Group, HandleError, Handler, NewEvent, decode_advisory};
use chassis::lifecycle::Lifecycle;
use contracts::subjects::{self, streams};
use contracts::{Fact, IncidentSubject};
use testbed::wait;
use tokio::time::Instant;

use crate::world::{self, PATIENCE, bus, group, incident, jetstream, nats, ready};

type Behaviour = dyn Fn(&Delivery) -> Result<(), HandleError> + Send + Sync;

/// Notes what it has handled, and does as it is told.
struct Notes {
    handled: Mutex<Vec<(String, u64, Instant)>>,
    tries: AtomicU32,
    takes: Duration,
    behaviour: Box<Behaviour>,
}

impl Notes {
    fn new(takes: Duration, behaviour: impl Fn(&Delivery) -> Result<(), HandleError> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { handled: Mutex::default(), tries: AtomicU32::new(0), takes, behaviour: Box::new(behaviour) })
    }

    fn count(&self) -> usize {
        self.handled.lock().unwrap().len()
    }

    async fn wait_for(&self, count: usize) {
        wait::until("the messages to be handled", PATIENCE, || async { (self.count() >= count).then_some(()) }).await.unwrap();
    }
}

#[async_trait]
impl Handler for Notes {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        self.tries.fetch_add(1, Ordering::SeqCst);
        (self.behaviour)(delivery)?;
        tokio::time::sleep(self.takes).await;
        self.handled.lock().unwrap().push((delivery.default_key(), delivery.sequence(), Instant::now()));
        Ok(())
    }
}

fn spec(durable: &str) -> ConsumerSpec {
    ConsumerSpec::new(streams::INCIDENTS, durable, vec![subjects::ALL_INCIDENTS.into()])
}

fn decoding(delivery: &Delivery) -> Result<(), HandleError> {
    delivery.fact().map(drop)
}

async fn append(bus: &Bus, incident: &IncidentSubject, expected: u64, facts: &[Fact]) -> u64 {
    bus.append(vec![group(bus, incident, expected, facts)]).await.unwrap().last
}

async fn raw(bus: &Bus, incident: &IncidentSubject, expected: u64, event_type: &str, data: &[u8]) -> u64 {
    let event = NewEvent { id: bus.ids().event(), subject: incident.fact(event_type), ce_type: "x".into(), data: data.to_vec() };
    let group = Group { filter: incident.workload_filter(), expected, events: vec![event] };
    bus.append(vec![group]).await.unwrap().last
}

async fn pending(bus: &Bus, durable: &str) -> (usize, u64) {
    let stream = jetstream(bus).get_stream(streams::INCIDENTS).await.unwrap();
    let info = stream.consumer_info(durable).await.unwrap();
    (info.num_ack_pending, info.num_pending)
}

async fn end(life: &Lifecycle) {
    life.stop();
    assert_eq!(format!("{:?}", life.run_until_done().await), format!("{:?}", std::process::ExitCode::SUCCESS));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_one_incident_come_one_at_a_time_and_in_order() {
    let nats = nats().await;
    let bus = bus(&nats.url()).await;
    let names = ["a", "b", "c", "d"];
    let incidents: HashMap<_, _> = names.iter().map(|name| (*name, incident(&bus, name))).collect();
    let (life, notes) = (Lifecycle::default(), Notes::new(Duration::from_millis(10), decoding));
    bus.consume(spec("orders"), notes.clone(), &life);
    for name in names {
        append(&bus, &incidents[name], 0, &(0..25).map(ready).collect::<Vec<_>>()).await;
    }
    notes.wait_for(100).await;
    let handled = notes.handled.lock().unwrap().clone();
    let (mut last_first, mut first_last) = (None, None);
    for name in names {
        let key = incidents[name].filter().replace("lastgood.incident.", "").replace(".>", "");
        let own: Vec<_> = handled.iter().filter(|(k, ..)| *k == key).collect();
        assert_eq!(own.len(), 25);
        last_first = last_first.max(Some(own[0].2));
        first_last = Some(first_last.map_or(own[24].2, |first: Instant| first.min(own[24].2)));
        for pair in own.windows(2) {
            assert!(pair[0].1 < pair[1].1, "in order");
            assert!(pair[1].2 - pair[0].2 >= Duration::from_millis(9), "one at a time");
        }
    }
    assert!(last_first < first_last, "incidents were not handled beside each other");
    end(&life).await;
    assert_eq!(pending(&bus, "orders").await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_becomes_a_dead_letter_blocks_nothing_and_can_be_replayed() {
    let nats = nats().await;
    let bus = bus(&nats.url()).await;
    let (web, api) = (incident(&bus, "web"), incident(&bus, "api"));
    let mended = Arc::new(AtomicBool::new(false));
    let now = mended.clone();
    let notes = Notes::new(Duration::ZERO, move |delivery| if now.load(Ordering::SeqCst) { Ok(()) } else { decoding(delivery) });
    let life = Lifecycle::default();
    bus.consume(spec("reader"), notes.clone(), &life);
    let damaged = raw(&bus, &web, 0, "pods_ready", b"\xff\xff\xff").await;
    append(&bus, &web, damaged, &[ready(1)]).await;
    append(&bus, &api, 0, &[ready(1)]).await;
    notes.wait_for(2).await;
    let letters = wait::until("the dead letter", PATIENCE, || async {
        bus.dead_letters().await.ok().filter(|letters| !letters.is_empty())
    });
    let letters = letters.await.unwrap();
    let letter = &letters[0].letter;
    assert_eq!((letter.service.as_str(), letter.stream.as_str(), letter.sequence), ("tester", streams::INCIDENTS, damaged));
    assert_eq!((letters.len(), letter.data.as_slice()), (1, b"\xff\xff\xff".as_slice()));
    assert!(letter.reason.contains("pods_ready") && letter.headers.contains_key("ce-id"), "{letter:?}");
    let before = bus.last_sequence(streams::INCIDENTS).await.unwrap();
    mended.store(true, Ordering::SeqCst);
    bus.replay(letters[0].sequence).await.unwrap();
    notes.wait_for(3).await;
    let replayed = notes.handled.lock().unwrap().last().cloned().unwrap();
    assert_eq!(replayed.1, damaged, "the handler sees the original's sequence");
    assert!(web.filter().contains(&replayed.0));
    assert_eq!(bus.last_sequence(streams::INCIDENTS).await.unwrap(), before, "nothing is appended");
    assert!(bus.replay(9999).await.is_err());
    end(&life).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_type_is_left_alone_and_the_rest_goes_on() {
    let nats = nats().await;
    let bus = bus(&nats.url()).await;
    let (life, notes) = (Lifecycle::default(), Notes::new(Duration::ZERO, decoding));
    bus.consume(spec("older"), notes.clone(), &life);
    raw(&bus, &incident(&bus, "web"), 0, "sung_about", b"la").await;
    append(&bus, &incident(&bus, "api"), 0, &[ready(1)]).await;
    notes.wait_for(1).await;
    assert_eq!(pending(&bus, "older").await, (1, 0), "the unknown one is neither acknowledged nor lost");
    assert!(bus.dead_letters().await.unwrap().is_empty());
    end(&life).await;
    // A newer binary that knows it gets it as soon as its time has come; here, that it is still the consumer's.
    assert_eq!(pending(&bus, "older").await.0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_count_outages_and_panics_are_told_apart() {
    let nats = nats().await;
    let bus = bus(&nats.url()).await;
    let outages = AtomicU32::new(0);
    let notes = Notes::new(Duration::ZERO, move |delivery| {
        let name = delivery.incident()?.0.workload.name;
        match name.as_str() {
            "outage" if outages.fetch_add(1, Ordering::SeqCst) < 6 => {
                Err(HandleError::RetryAfter { after: Duration::ZERO, reason: "away".into(), outage: true })
            }
            "failing" => Err(HandleError::retry(Duration::from_millis(20), "no")),
            "panicking" => panic!("ouch"),
            _ => Ok(()),
        }
    });
    let life = Lifecycle::default();
    bus.consume(ConsumerSpec { max_deliver: 2, ..spec("failures") }, notes.clone(), &life);
    for name in ["outage", "failing", "panicking", "good"] {
        append(&bus, &incident(&bus, name), 0, &[ready(1)]).await;
    }
    notes.wait_for(2).await;
    let letters = wait::until("two dead letters", PATIENCE, || async {
        bus.dead_letters().await.ok().filter(|letters| letters.len() >= 2)
    });
    let reasons: Vec<String> = letters.await.unwrap().iter().map(|entry| entry.letter.reason.clone()).collect();
    assert!(reasons.iter().any(|reason| reason == "failed 2 times, last: no"), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("panicked: ouch")), "{reasons:?}");
    wait::until("all off the consumer", PATIENCE, || async { (pending(&bus, "failures").await == (0, 0)).then_some(()) })
        .await
        .unwrap();
    assert_eq!(bus.dead_letters().await.unwrap().len(), 2);
    end(&life).await;
}

/// Each handling needs NATS, like a real one.
struct Reads(Bus, Arc<Notes>);
#[async_trait]
impl Handler for Reads {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.0.last(streams::INCIDENTS, subjects::ALL_INCIDENTS).await?;
        self.1.handle(delivery).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_nats_loses_nothing_and_buries_nothing() {
    let nats = nats().await;
    let config = chassis::config::Nats { request_timeout: Duration::from_secs(2), ..world::config(&nats.url()) };
    let bus = world::connect(&config).await;
    let reader = bus.clone();
    let (life, notes) = (Lifecycle::default(), Notes::new(Duration::ZERO, decoding));
    let spec = ConsumerSpec { ack_wait: Duration::from_secs(2), max_deliver: 1, ..spec("outage") };
    bus.consume(spec, Arc::new(Reads(reader, notes.clone())), &life);
    for n in 0..20 {
        append(&bus, &incident(&bus, &format!("w{n}")), 0, &[ready(1)]).await;
    }
    nats.kill().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await; // longer than the ack wait and the request timeout
    nats.restart().await.unwrap();
    notes.wait_for(20).await;
    wait::until("all acknowledged", PATIENCE, || async { (pending(&bus, "outage").await == (0, 0)).then_some(()) })
        .await
        .unwrap();
    assert!(bus.dead_letters().await.unwrap().is_empty());
    // And the consumer is awake again: what comes now is handled at once.
    let (done, started) = (notes.count(), Instant::now());
    append(&bus, &incident(&bus, "after"), 0, &[ready(1)]).await;
    notes.wait_for(done + 1).await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    end(&life).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lost_its_streams_needs_no_restart_of_services() {
    let nats = nats().await;
    let bus = bus(&nats.url()).await;
    let (life, notes) = (Lifecycle::default(), Notes::new(Duration::ZERO, decoding));
    bus.consume(spec("loser"), notes.clone(), &life);
    append(&bus, &incident(&bus, "before"), 0, &[ready(1)]).await;
    notes.wait_for(1).await;
    for stream in [streams::INCIDENTS, streams::ALERTS, streams::DEAD] {
        jetstream(&bus).delete_stream(stream).await.unwrap();
    }
    let after = incident(&bus, "after");
    wait::until("an append", PATIENCE, || async { bus.append(vec![group(&bus, &after, 0, &[ready(1)])]).await.ok() })
        .await
        .unwrap();
    notes.wait_for(2).await;
    end(&life).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_what_is_begun_and_hands_back_the_rest() {
    let nats = nats().await;
    let bus = bus(&nats.url()).await;
    let (life, notes) = (Lifecycle::default(), Notes::new(Duration::from_millis(400), decoding));
    bus.consume(ConsumerSpec { max_in_flight: 4, ..spec("drain") }, notes.clone(), &life);
    let web = incident(&bus, "web");
    append(&bus, &web, 0, &(0..10).map(ready).collect::<Vec<_>>()).await;
    wait::until("the first handler", PATIENCE, || async { (notes.tries.load(Ordering::SeqCst) > 0).then_some(()) })
        .await
        .unwrap();
    end(&life).await;
    assert_eq!((notes.count(), notes.tries.load(Ordering::SeqCst)), (1, 1), "one was begun, and finished");
    // Another replica gets the rest at once, not after the ack wait of 30 s.
    let (life, next) = (Lifecycle::default(), Notes::new(Duration::ZERO, decoding));
    let started = Instant::now();
    bus.consume(spec("drain"), next.clone(), &life);
    next.wait_for(9).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    end(&life).await;
    assert_eq!(notes.count() + next.count(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_handler_keeps_its_message() {
    let nats = nats().await;
    let bus = bus(&nats.url()).await;
    let (life, notes) = (Lifecycle::default(), Notes::new(Duration::from_secs(3), decoding));
    bus.consume(ConsumerSpec { ack_wait: Duration::from_secs(1), ..spec("long") }, notes.clone(), &life);
    append(&bus, &incident(&bus, "web"), 0, &[ready(1)]).await;
    notes.wait_for(1).await;
    wait::until("the ack", PATIENCE, || async { (pending(&bus, "long").await == (0, 0)).then_some(()) }).await.unwrap();
    assert_eq!(notes.tries.load(Ordering::SeqCst), 1);
    end(&life).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_ever_reports_on_stays_until_it_is_a_dead_letter() {
    let nats = nats().await;
    let bus = bus(&nats.url()).await;
    let sequence = append(&bus, &incident(&bus, "web"), 0, &[ready(1)]).await;
    // Process after process dies over it before it can say a word; their release had a limit of its own on the server.
    let stream = jetstream(&bus).get_stream(streams::INCIDENTS).await.unwrap();
    let config = async_nats::jetstream::consumer::pull::Config {
        durable_name: Some("silent".into()),
        filter_subject: subjects::ALL_INCIDENTS.into(),
        ack_wait: Duration::from_millis(50),
        max_deliver: 50,
        ..Default::default()
    };
    let silent = stream.create_consumer(config).await.unwrap();
    let mut messages = silent.messages().await.unwrap();
    let mut delivered = 0;
    while delivered < 21 {
        let message = tokio::time::timeout(PATIENCE, futures::StreamExt::next(&mut messages)).await.unwrap().unwrap().unwrap();
        delivered = message.info().unwrap().delivered;
    }
    drop(messages);
    let (life, notes) = (Lifecycle::default(), Notes::new(Duration::ZERO, decoding));
    bus.consume(ConsumerSpec { ack_wait: Duration::from_secs(1), ..spec("silent") }, notes.clone(), &life);
    let letters = wait::until("the dead letter", PATIENCE, || async {
        bus.dead_letters().await.ok().filter(|letters| !letters.is_empty())
    });
    let letters = letters.await.unwrap();
    assert_eq!((letters.len(), letters[0].letter.sequence), (1, sequence));
    assert!(letters[0].letter.reason.contains("never reported on"), "{}", letters[0].letter.reason);
    assert_eq!(notes.tries.load(Ordering::SeqCst), 0, "it was not let near this process");
    assert_eq!(stream.consumer_info("silent").await.unwrap().config.max_deliver, -1, "the server's own limit is gone");
    bus.replay(letters[0].sequence).await.unwrap();
    notes.wait_for(1).await;
    end(&life).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_the_process_each_time_is_a_dead_letter_and_takes_nobody_along() {
    /// Ends the process over one message, before it is done with any other.
    struct Fragile(Mutex<Lifecycle>, Arc<Notes>);
    #[async_trait]
    impl Handler for Fragile {
        async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
            if delivery.incident()?.0.workload.name != "poison" {
                return self.1.handle(delivery).await;
            }
            self.0.lock().unwrap().hard().cancel();
            self.0.lock().unwrap().stop();
            std::future::pending().await
        }
    }
    let nats = nats().await;
    let bus = bus(&nats.url()).await;
    let names = ["before", "poison", "after"];
    for name in names {
        append(&bus, &incident(&bus, name), 0, &[ready(1)]).await;
    }
    let notes = Notes::new(Duration::from_millis(50), decoding);
    let mut crashes = 0;
    loop {
        let life = Lifecycle::default();
        bus.consume(spec("fragile"), Arc::new(Fragile(Mutex::new(life.clone()), notes.clone())), &life);
        let stopping = life.stopping();
        let ended = wait::until("a crash or the end", PATIENCE, || async {
            let idle = async { bus.dead_letters().await.is_ok_and(|letters| !letters.is_empty()) && notes.count() == 2 };
            if stopping.is_cancelled() { Some(true) } else { idle.await.then_some(false) }
        });
        if !ended.await.unwrap() {
            end(&life).await;
            break;
        }
        let _ = life.run_until_done().await;
        crashes += 1;
        assert!(crashes <= 20, "it goes on for ever");
    }
    let letters = bus.dead_letters().await.unwrap();
    let workloads: Vec<_> =
        letters.iter().map(|entry| IncidentSubject::parse(&entry.letter.subject).unwrap().0.workload.name).collect();
    assert_eq!((workloads, crashes), (vec!["poison".to_owned()], 20));
    assert_eq!(notes.count(), 2, "its neighbours were handled, once each");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_too_large_for_a_letter_is_replayed_from_where_it_is() {
    let nats = nats().await;
    let bus = bus(&nats.url()).await;
    let mended = Arc::new(AtomicBool::new(false));
    let now = mended.clone();
    let behaviour = move |delivery: &Delivery| match (now.load(Ordering::SeqCst), delivery.stored.data.len()) {
        (true, 1_040_000) => Ok(()),
        (_, length) => Err(HandleError::dead(format!("{length} bytes are too many"))),
    };
    let (life, notes) = (Lifecycle::default(), Notes::new(Duration::ZERO, behaviour));
    bus.consume(spec("large"), notes.clone(), &life);
    raw(&bus, &incident(&bus, "web"), 0, "pods_ready", &vec![b'x'; 1_040_000]).await;
    let letters = wait::until("the dead letter", PATIENCE, || async {
        bus.dead_letters().await.ok().filter(|letters| !letters.is_empty())
    });
    let letters = letters.await.unwrap();
    assert!(letters[0].letter.data.is_empty() && letters[0].letter.reason == "1040000 bytes are too many");
    mended.store(true, Ordering::SeqCst);
    bus.replay(letters[0].sequence).await.unwrap();
    notes.wait_for(1).await;
    end(&life).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn advisories_are_captured() {
    struct Advised(Mutex<Vec<Advisory>>);
    #[async_trait]
    impl Handler for Advised {
        async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
            let advisory = decode_advisory(delivery)?;
            self.0.lock().unwrap().push(advisory);
            Ok(())
        }
    }
    let nats = nats().await;
    let bus = bus(&nats.url()).await;
    let (life, advised) = (Lifecycle::default(), Arc::new(Advised(Mutex::default())));
    bus.consume(ConsumerSpec::advisories("advised"), advised.clone(), &life);
    // A consumer whose only message ends every process: here nobody ever acknowledges it.
    let stream = jetstream(&bus).get_stream(streams::INCIDENTS).await.unwrap();
    let config = async_nats::jetstream::consumer::pull::Config {
        durable_name: Some("doomed".into()),
        ack_wait: Duration::from_millis(200),
        max_deliver: 1,
        ..Default::default()
    };
    let doomed = stream.create_consumer(config).await.unwrap();
    bus.consume(spec("burier"), Notes::new(Duration::ZERO, |_| Err(HandleError::dead("hopeless"))), &life);
    let sequence = append(&bus, &incident(&bus, "web"), 0, &[ready(1)]).await;
    let mut messages = doomed.messages().await.unwrap();
    let _ = futures::StreamExt::next(&mut messages).await;
    wait::until("both advisories", PATIENCE, || async { (advised.0.lock().unwrap().len() >= 2).then_some(()) }).await.unwrap();
    let seen = advised.0.lock().unwrap().clone();
    let find = |kind| seen.iter().find(|advisory| advisory.kind == kind).unwrap();
    let (given_up, buried) = (find(AdvisoryKind::MaxDeliveries), find(AdvisoryKind::Terminated));
    assert_eq!(
        (given_up.stream.as_str(), given_up.consumer.as_str(), given_up.sequence),
        (streams::INCIDENTS, "doomed", sequence)
    );
    assert_eq!((buried.consumer.as_str(), buried.reason.as_deref()), ("burier", Some("hopeless")));
    end(&life).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_reaches_its_handler_fast() {
    let nats = nats().await;
    let bus = bus(&nats.url()).await;
    let (life, notes) = (Lifecycle::default(), Notes::new(Duration::ZERO, decoding));
    bus.consume(spec("fast"), notes.clone(), &life);
    let mut times = Vec::new();
    for n in 0..100 {
        let incident = incident(&bus, &format!("w{n}"));
        append(&bus, &incident, 0, &[ready(1)]).await;
        let stored = Instant::now();
        while notes.count() <= n {
            tokio::task::yield_now().await;
            assert!(stored.elapsed() < PATIENCE);
        }
        let handled = notes.handled.lock().unwrap()[n].2;
        times.push(handled.saturating_duration_since(stored));
    }
    times.sort();
    println!("from the append's ack to the handler: median {:?}, 90th {:?}, worst {:?}", times[50], times[90], times[99]);
    assert!(times[50] < Duration::from_millis(20), "{times:?}");
    end(&life).await;
}
