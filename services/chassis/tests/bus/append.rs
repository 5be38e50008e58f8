//! Appending and reading.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chassis::bus::{
    AppendError, Bus, ConnectError, Connection, Group, NewEvent, Outgoing, Subscription, Transport, TransportError,
};
use contracts::subjects::{self, streams};
use contracts::v1;
use contracts::{IncidentSubject, OccurrenceFact};

use crate::world::{self, Proxy, bus, group, incident, nats, opening, ready};

#[tokio::test(flavor = "multi_thread")]
async fn of_two_appenders_exactly_one_wins() {
    let nats = nats().await;
    let (one, two) = (bus(&nats.url()).await, bus(&nats.url()).await);
    let mut expected = 0;
    for round in 0..50 {
        let (a, b) = (incident(&one, "web"), incident(&two, "web"));
        let (first, second) = tokio::join!(
            one.append(vec![group(&one, &a, expected, &[opening()])]), // one publish beside a batch
            two.append(vec![group(&two, &b, expected, &[opening(), ready(1)])]),
        );
        let winner = match (first, second) {
            (Ok(won), Err(AppendError::Lost)) | (Err(AppendError::Lost), Ok(won)) => won,
            other => panic!("round {round}: {other:?}"),
        };
        assert_eq!(winner.first, expected + 1);
        expected = winner.last;
    }
    let all = one.read(streams::INCIDENTS, subjects::ALL_INCIDENTS, 1, None).await.unwrap();
    assert_eq!(all.len() as u64, expected);
    assert_eq!(all.last().unwrap().envelope().unwrap().source, "lastgood/tester");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_opener_is_refused_and_a_batch_is_all_or_nothing() {
    let nats = nats().await;
    let bus = bus(&nats.url()).await;
    let web = incident(&bus, "web");
    let occurrence = |expected| Group {
        filter: subjects::occurrence_filter("f00"),
        expected,
        events: vec![NewEvent::occurrence(
            bus.ids().event(),
            "f00",
            &OccurrenceFact::from(v1::OccurrenceOpened { incident: web.incident.to_string(), ..v1::OccurrenceOpened::default() }),
        )],
    };
    let appended = bus.append(vec![group(&bus, &web, 0, &[opening()]), occurrence(0)]).await.unwrap();
    assert_eq!((appended.first, appended.last), (1, 2));
    let again = bus.append(vec![group(&bus, &incident(&bus, "web"), 0, &[opening()])]).await;
    assert!(matches!(again, Err(AppendError::Lost)), "{again:?}");
    // The second group's expectation is wrong: the first group's event is not stored either.
    let other = incident(&bus, "other");
    let half = bus.append(vec![group(&bus, &other, 0, &[opening()]), occurrence(0)]).await;
    assert!(matches!(half, Err(AppendError::Lost)), "{half:?}");
    assert!(bus.last(streams::INCIDENTS, &other.workload_filter()).await.unwrap().is_none());
    // Appends that can't be right are refused before they are sent.
    let empty = bus.append(vec![Group { filter: "x".into(), expected: 0, events: vec![] }]).await;
    assert!(matches!(empty, Err(AppendError::Refused(_))), "{empty:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_is_found_out_to_be_a_win() {
    let nats = nats().await;
    let proxy = Proxy::before(&nats.url()).await;
    let (direct, proxied) = (bus(&nats.url()).await, bus(&proxy.url).await);
    let web = incident(&proxied, "web");
    proxy.replies(false);
    let append = proxied.append(vec![group(&proxied, &web, 0, &[opening(), ready(1), ready(2)])]);
    let release = async {
        // Longer than the request timeout of 2 s: the append's replies are late, and its question to the leader is not.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        proxy.replies(true);
    };
    let (appended, ()) = tokio::join!(append, release);
    let appended = appended.unwrap();
    assert_eq!((appended.first, appended.last), (1, 3));
    assert_eq!(direct.read(streams::INCIDENTS, &web.filter(), 1, None).await.unwrap().len(), 3);
    // The same events again are known to be there, and are not stored twice.
    let same = group(&proxied, &web, 3, &[ready(3)]);
    let first = proxied.append(vec![same.clone()]).await.unwrap();
    assert_eq!(proxied.append(vec![same]).await.unwrap(), first);
    assert_eq!(direct.last_sequence(streams::INCIDENTS).await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_is_read_in_pages_and_waits_for_what_comes() {
    let nats = nats().await;
    let bus = bus(&nats.url()).await;
    let web = incident(&bus, "web");
    let mut expected = 0;
    for _ in 0..5 {
        let facts: Vec<_> = (0..500).map(ready).collect();
        expected = bus.append(vec![group(&bus, &web, expected, &facts)]).await.unwrap().last;
    }
    let all = bus.read(streams::INCIDENTS, &web.filter(), 1, None).await.unwrap();
    assert_eq!((all.len(), all.last().unwrap().sequence), (2500, 2500));
    assert!(all.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    assert_eq!(bus.read(streams::INCIDENTS, &web.filter(), 2400, Some(2500)).await.unwrap().len(), 101);
    let web_filter = web.filter();
    let (read, appended) = tokio::join!(bus.read(streams::INCIDENTS, &web_filter, 2500, Some(2501)), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        bus.append(vec![group(&bus, &web, expected, &[ready(9)])]).await
    });
    assert_eq!((read.unwrap().len(), appended.unwrap().last), (2, 2501));
    let never = bus.read(streams::INCIDENTS, &web.filter(), 1, Some(9999)).await;
    assert!(matches!(never, Err(chassis::bus::ReadError::Stale { reached: 2501, wanted: 9999, .. })), "{never:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_says_so_and_keeps_what_it_has() {
    let nats = nats().await;
    let config = chassis::config::Nats { max_bytes: 100_000, ..world::config(&nats.url()) };
    let bus = world::connect(&config).await;
    let web = incident(&bus, "web");
    let mut expected = 0;
    let full = loop {
        let facts: Vec<_> = (0..50).map(ready).collect();
        match bus.append(vec![group(&bus, &web, expected, &facts)]).await {
            Ok(appended) => expected = appended.last,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, AppendError::Full(_)), "{full:?}");
    let first = bus.message(streams::INCIDENTS, 1).await.unwrap().unwrap();
    assert!(IncidentSubject::parse(&first.subject).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_stored_once() {
    let nats = nats().await;
    let bus = bus(&nats.url()).await;
    let part = |id: &str, part: u32| chassis::bus::AlertPart {
        id: id.to_owned(),
        notification: v1::AlertNotification { source: "alertmanager".into(), part, parts: 3, ..v1::AlertNotification::default() },
    };
    let parts = [part("a", 1), part("b", 2), part("c", 3)];
    bus.publish_alerts(&parts).await.unwrap();
    bus.publish_alerts(&parts).await.unwrap();
    bus.publish_alerts(&parts[..1]).await.unwrap();
    assert_eq!(bus.last_sequence(streams::ALERTS).await.unwrap(), 3);
    // Only a part of it is known: the rest is stored all the same.
    bus.publish_alerts(&[part("c", 3), part("d", 4)]).await.unwrap();
    assert_eq!(bus.last_sequence(streams::ALERTS).await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_made_once_and_what_cannot_be_is_an_error() {
    let nats = nats().await;
    let url = nats.url();
    let (one, two) = tokio::join!(bus(&url), bus(&url));
    drop((one, two));
    let replicated = chassis::config::Nats { replicas: 3, ..world::config(&nats.url()) };
    let clock = std::sync::Arc::new(chassis::SystemClock);
    let ids = chassis::Ids::new(clock.clone());
    let refused = tokio::time::timeout(world::PATIENCE, chassis::Bus::connect(&replicated, "tester", clock, ids)).await.unwrap();
    assert!(matches!(refused, Err(ConnectError::Stream { .. })), "{refused:?}");
}

/// Loses a part of a batch once, as a connection that breaks in the midst of one does.
struct Breaking {
    below: Bus,
    breaks: Arc<AtomicBool>,
}

#[async_trait]
impl Transport for Breaking {
    async fn publish(&self, message: Outgoing) -> Result<(), TransportError> {
        let part = message.headers.as_ref().is_some_and(|headers| headers.get("Nats-Batch-Id").is_some());
        if part && self.breaks.swap(false, Ordering::SeqCst) {
            return Ok(()); // on its way, and never there
        }
        self.below.transport().publish(message).await
    }

    async fn request(&self, message: Outgoing, timeout: Duration) -> Result<Bytes, TransportError> {
        self.below.transport().request(message, timeout).await
    }

    async fn subscribe(&self, subject: String) -> Result<Box<dyn Subscription>, TransportError> {
        self.below.transport().subscribe(subject).await
    }

    fn new_inbox(&self) -> String {
        self.below.transport().new_inbox()
    }

    async fn flush(&self) -> Result<(), TransportError> {
        self.below.transport().flush().await
    }

    fn connection(&self) -> tokio::sync::watch::Receiver<Connection> {
        self.below.connection()
    }

    fn server_version(&self) -> String {
        self.below.transport().server_version()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_a_broken_connection_tore_is_an_outage_and_no_refusal() {
    let nats = nats().await;
    let breaks = Arc::new(AtomicBool::new(false));
    let below = bus(&nats.url()).await;
    let transport = Arc::new(Breaking { below: below.clone(), breaks: breaks.clone() });
    let (clock, ids) = (below.clock().clone(), below.ids().clone());
    let torn = Bus::over(transport, &world::config(&nats.url()), "tester", clock, ids).await.unwrap();
    let web = incident(&torn, "web");
    breaks.store(true, Ordering::SeqCst);
    let append = torn.append(vec![group(&torn, &web, 0, &[opening(), ready(1), ready(2)])]).await;
    assert!(matches!(append, Err(AppendError::Lost | AppendError::Unavailable(_))), "{append:?}");
    let part = |part: u32| chassis::bus::AlertPart {
        id: part.to_string(),
        notification: v1::AlertNotification { source: "alertmanager".into(), part, parts: 3, ..v1::AlertNotification::default() },
    };
    breaks.store(true, Ordering::SeqCst);
    let alerts = torn.publish_alerts(&[part(1), part(2), part(3)]).await;
    assert!(matches!(alerts, Err(AppendError::Unavailable(_))), "{alerts:?}");
    // Both were only torn, and go through when they are tried again.
    torn.append(vec![group(&torn, &web, 0, &[opening(), ready(1)])]).await.unwrap();
    torn.publish_alerts(&[part(1), part(2), part(3)]).await.unwrap();
    assert_eq!(below.last_sequence(streams::ALERTS).await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_away_while_it_is_read_keeps_no_reader_waiting() {
    let nats = nats().await;
    let (bus, other) = (bus(&nats.url()).await, bus(&nats.url()).await);
    for round in 0..150 {
        let web = incident(&bus, "web");
        let appended = bus.append(vec![group(&bus, &web, 0, &[opening(), ready(1)])]).await.unwrap();
        let filter = web.filter();
        let reading = async {
            for _ in 0..4 {
                // A reader that waits for what is gone finds itself stale at the request timeout.
                bus.read(streams::INCIDENTS, &filter, 1, None).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
            }
        };
        let ((), purged) = tokio::join!(reading, other.purge(streams::INCIDENTS, &filter, appended.last + 1));
        assert_eq!(purged.unwrap(), 2);
    }
}
