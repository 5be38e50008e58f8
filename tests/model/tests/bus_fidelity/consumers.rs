//! Consumers: deliveries, acks, naks, redelivery, pulls.

use std::time::Duration;

use async_nats::Message;
use chassis::bus::{Bus, Outgoing, Subscription, Transport};
use contracts::IncidentSubject;
use contracts::subjects::streams;
use serde_json::json;

use crate::ground::{Ground, Transcript, ask, group, incident, line, listen, next, ready};

const PATIENCE: Duration = Duration::from_secs(2);
const INFO: &str = "$JS.API.CONSUMER.INFO.LASTGOOD_INCIDENTS.c";

async fn create(transport: &dyn Transport, ack_wait: Duration, max_deliver: i64, filters: &[&str]) -> String {
    let config = json!({ "durable_name": "c", "ack_policy": "explicit", "deliver_policy": "all", "replay_policy": "instant",
        "ack_wait": u64::try_from(ack_wait.as_nanos()).unwrap(), "max_deliver": max_deliver, "filter_subjects": filters });
    let body = json!({ "stream_name": streams::INCIDENTS, "config": config, "action": "" });
    ask(transport, "$JS.API.CONSUMER.CREATE.LASTGOOD_INCIDENTS.c", None, &body.to_string()).await
}

async fn pull(transport: &dyn Transport, inbox: &str, batch: usize, expires: Duration, heartbeat: Duration) {
    let nanos = |length: Duration| u64::try_from(length.as_nanos()).unwrap();
    let body = json!({ "batch": batch, "expires": nanos(expires), "idle_heartbeat": nanos(heartbeat) });
    let pull = Outgoing::new("$JS.API.CONSUMER.MSG.NEXT.LASTGOOD_INCIDENTS.c", body.to_string());
    transport.publish(pull.reply_to(inbox)).await.unwrap();
}

async fn tell(transport: &dyn Transport, of: &Message, what: &str) -> bool {
    let ack = Outgoing::new(of.reply.as_ref().unwrap().to_string(), what.to_owned());
    transport.request(ack, PATIENCE).await.is_ok()
}

async fn take(listener: &mut dyn Subscription, said: &mut Transcript) -> Option<Message> {
    let message = next(listener, PATIENCE).await;
    said.push(line(message.as_ref()));
    message
}

async fn facts(bus: &Bus, web: &IncidentSubject, count: u32) {
    bus.append(vec![group(bus, web, 0, &(0..count).map(ready).collect::<Vec<_>>())]).await.unwrap();
}

pub(crate) async fn deliveries(ground: Ground) -> Transcript {
    let bus = ground.bus("tester").await;
    let (transport, mut said) = (bus.transport(), Vec::new());
    let web = incident(&bus, "web");
    facts(&bus, &web, 4).await;
    said.push(create(transport, Duration::from_secs(30), 20, &["lastgood.incident.>"]).await);
    said.push(create(transport, Duration::from_secs(30), 20, &["lastgood.incident.>", "lastgood.occurrence.>"]).await);
    let (inbox, mut listener) = listen(transport).await;
    pull(transport, &inbox, 2, Duration::from_secs(20), Duration::ZERO).await;
    let one = take(listener.as_mut(), &mut said).await.unwrap();
    let two = take(listener.as_mut(), &mut said).await.unwrap();
    said.push(ask(transport, INFO, None, "").await);
    said.push(format!("{}", tell(transport, &one, "+ACK").await));
    said.push(format!("{}", tell(transport, &one, "+ACK").await));
    said.push(format!("{}", tell(transport, &two, "-NAK").await));
    said.push(ask(transport, INFO, None, "").await);
    pull(transport, &inbox, 5, Duration::from_secs(20), Duration::ZERO).await;
    let two_again = take(listener.as_mut(), &mut said).await.unwrap();
    let three = take(listener.as_mut(), &mut said).await.unwrap();
    let four = take(listener.as_mut(), &mut said).await.unwrap();
    // An ack by the first delivery's reply counts; a nak with a delay comes back after it.
    said.push(format!("{}", tell(transport, &two, "+ACK").await));
    said.push(format!("{}", tell(transport, &two_again, "-NAK").await));
    said.push(format!("{}", tell(transport, &three, "-NAK {\"delay\": 500000000}").await));
    said.push(format!("{}", tell(transport, &four, "+TERM it is broken").await));
    said.push(ask(transport, INFO, None, "").await);
    let three_again = take(listener.as_mut(), &mut said).await.unwrap();
    said.push(format!("{}", tell(transport, &three_again, "+ACK").await));
    said.push(ask(transport, INFO, None, "").await);
    let advised = bus.read(streams::ADVISORIES, "$JS.EVENT.ADVISORY.CONSUMER.>", 1, None).await.unwrap();
    for stored in advised {
        let advisory: serde_json::Value = serde_json::from_slice(&stored.data).unwrap();
        let keys = ["type", "stream", "consumer", "stream_seq", "consumer_seq", "deliveries", "reason"];
        said.push(format!("{} {:?}", stored.subject, keys.map(|key| advisory.get(key).map(ToString::to_string))));
    }
    said
}

pub(crate) async fn redelivery(ground: Ground) -> Transcript {
    let bus = ground.bus("tester").await;
    let (transport, mut said) = (bus.transport(), Vec::new());
    let web = incident(&bus, "web");
    facts(&bus, &web, 2).await;
    said.push(create(transport, Duration::from_secs(1), 2, &["lastgood.incident.>"]).await);
    let (inbox, mut listener) = listen(transport).await;
    pull(transport, &inbox, 20, Duration::from_secs(30), Duration::ZERO).await;
    let _one = take(listener.as_mut(), &mut said).await.unwrap();
    let two = take(listener.as_mut(), &mut said).await.unwrap();
    // Signs of work keep the second from coming again.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        said.push(format!("{}", tell(transport, &two, "+WPI").await));
    }
    said.push(format!("{}", tell(transport, &two, "+ACK").await));
    take(listener.as_mut(), &mut said).await;
    take(listener.as_mut(), &mut said).await;
    said.push(ask(transport, INFO, None, "").await);
    let advised = bus.read(streams::ADVISORIES, "$JS.EVENT.ADVISORY.CONSUMER.>", 1, None).await.unwrap();
    for stored in advised {
        let advisory: serde_json::Value = serde_json::from_slice(&stored.data).unwrap();
        let keys = ["type", "stream", "consumer", "stream_seq", "deliveries", "reason"];
        said.push(format!("{} {:?}", stored.subject, keys.map(|key| advisory.get(key).map(ToString::to_string))));
    }
    said
}

pub(crate) async fn pulls(ground: Ground) -> Transcript {
    let bus = ground.bus("tester").await;
    let (transport, mut said) = (bus.transport(), Vec::new());
    said.push(create(transport, Duration::from_secs(30), 20, &["lastgood.incident.>"]).await);
    let (inbox, mut listener) = listen(transport).await;
    pull(transport, &inbox, 7, Duration::from_millis(2500), Duration::from_secs(1)).await;
    let web = incident(&bus, "web");
    take(listener.as_mut(), &mut said).await;
    facts(&bus, &web, 1).await;
    for _ in 0..3 {
        take(listener.as_mut(), &mut said).await;
    }
    said
}

pub(crate) async fn replicas(ground: Ground) -> Transcript {
    let (one, two) = (ground.bus("one").await, ground.bus("two").await);
    let mut said = Vec::new();
    said.push(create(one.transport(), Duration::from_secs(30), 20, &["lastgood.incident.>"]).await);
    let (first, mut at_one) = listen(one.transport()).await;
    let (second, mut at_two) = listen(two.transport()).await;
    pull(one.transport(), &first, 2, Duration::from_secs(20), Duration::ZERO).await;
    // Seen by the server before the second pull is.
    said.push(ask(one.transport(), INFO, None, "").await);
    pull(two.transport(), &second, 2, Duration::from_secs(20), Duration::ZERO).await;
    said.push(ask(two.transport(), INFO, None, "").await);
    let web = incident(&one, "web");
    facts(&one, &web, 4).await;
    for _ in 0..2 {
        take(at_one.as_mut(), &mut said).await;
        take(at_two.as_mut(), &mut said).await;
    }
    said
}

pub(crate) async fn restart(ground: Ground) -> Transcript {
    let bus = ground.bus("tester").await;
    let (transport, mut said) = (bus.transport(), Vec::new());
    let web = incident(&bus, "web");
    facts(&bus, &web, 3).await;
    said.push(create(transport, Duration::from_secs(2), 20, &["lastgood.incident.>"]).await);
    let (inbox, mut listener) = listen(transport).await;
    pull(transport, &inbox, 2, Duration::from_secs(20), Duration::ZERO).await;
    let one = take(listener.as_mut(), &mut said).await.unwrap();
    take(listener.as_mut(), &mut said).await;
    said.push(format!("{}", tell(transport, &one, "+ACK").await));
    let mut connection = transport.connection();
    let before = connection.borrow_and_update().times;
    ground.restart().await;
    connection.wait_for(|connection| connection.up && connection.times > before).await.unwrap();
    said.push(ask(transport, "$JS.API.STREAM.INFO.LASTGOOD_INCIDENTS", None, "{}").await);
    // What was not acknowledged comes again. The acknowledged one may, too, on both: a consumer's progress is not written to disk with
    // each ack.
    pull(transport, &inbox, 5, Duration::from_secs(20), Duration::ZERO).await;
    let mut came = std::collections::BTreeSet::new();
    while !(came.contains("2") && came.contains("3")) {
        let message = next(listener.as_mut(), Duration::from_secs(5)).await.unwrap();
        came.insert(message.reply.as_ref().unwrap().split('.').nth(5).unwrap().to_owned());
    }
    came.remove("1");
    said.push(format!("{came:?}"));
    said.push(format!("{:?}", bus.append(vec![group(&bus, &web, 3, &[ready(9)])]).await));
    said
}
