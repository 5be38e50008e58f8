//! Object stores, and what archiving needs.

use std::time::Duration;

use chassis::bus::{Outgoing, Slot};
use contracts::subjects::streams;
use serde_json::json;

use crate::ground::{Ground, Transcript, ask, group, headers, incident, line, listen, next, ready};

pub(crate) async fn objects(ground: Ground) -> Transcript {
    let bus = ground.bus("tester").await;
    let mut said = Vec::new();
    bus.ensure_bucket("BUCKET", Duration::ZERO).await.unwrap();
    bus.ensure_bucket("BUCKET", Duration::from_hours(1)).await.unwrap();
    let info = "$JS.API.STREAM.INFO.OBJ_BUCKET";
    said.push(format!("{:?}", bus.object("BUCKET", "a").await));
    let none = Slot::default();
    said.push(format!("{:?}", bus.put_object("BUCKET", "a", &none, b"one").await));
    let first = bus.object("BUCKET", "a").await.unwrap();
    said.push(format!("{:?} {}", first.data, first.revision));
    said.push(format!("{:?}", bus.put_object("BUCKET", "a", &none, b"two").await));
    let large = vec![7_u8; 300_000];
    said.push(format!("{:?}", bus.put_object("BUCKET", "a", &first, &large).await));
    let second = bus.object("BUCKET", "a").await.unwrap();
    said.push(format!("{} {}", second.data.as_deref() == Some(&*large), second.revision));
    // A client deletes it: its name may be taken again, by who knows of that.
    let deleted = json!({ "name": "a", "bucket": "BUCKET", "nuid": "", "size": 0, "deleted": true }).to_string();
    said.push(ask(bus.transport(), "$O.BUCKET.M.YQ==", Some(headers(&[("Nats-Rollup", "sub")])), &deleted).await);
    let third = bus.object("BUCKET", "a").await.unwrap();
    said.push(format!("{:?} {}", third.data, third.revision));
    said.push(format!("{:?}", bus.put_object("BUCKET", "a", &second, b"three").await));
    said.push(format!("{:?}", bus.put_object("BUCKET", "a", &third, b"three").await));
    said.push(format!("{:?}", bus.object("BUCKET", "a").await.unwrap().data));
    said.push(ask(bus.transport(), info, None, "{}").await.split(" bytes").next().unwrap().to_owned());
    let rollup = || Some(headers(&[("Nats-Rollup", "sub")]));
    said.push(ask(bus.transport(), "lastgood.alert.x", rollup(), "x").await);
    said
}

pub(crate) async fn upkeep(ground: Ground) -> Transcript {
    let bus = ground.bus("tester").await;
    let (transport, mut said) = (bus.transport(), Vec::new());
    let web = incident(&bus, "web");
    bus.append(vec![group(&bus, &web, 0, &(0..6).map(ready).collect::<Vec<_>>())]).await.unwrap();
    for (name, filter) in [("c", "lastgood.incident.>"), ("d", "lastgood.occurrence.>")] {
        let config = json!({ "durable_name": name, "ack_policy": "explicit", "filter_subject": filter });
        let body = json!({ "stream_name": streams::INCIDENTS, "config": config }).to_string();
        let subject = format!("$JS.API.CONSUMER.CREATE.LASTGOOD_INCIDENTS.{name}.{filter}");
        said.push(ask(transport, &subject, None, &body).await);
    }
    let consumers = async || {
        let mut all = bus.consumers(streams::INCIDENTS).await.unwrap();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        format!("{all:?}")
    };
    said.push(consumers().await);
    let (inbox, mut listener) = listen(transport).await;
    let pull = Outgoing::new("$JS.API.CONSUMER.MSG.NEXT.LASTGOOD_INCIDENTS.c", r#"{"batch":4}"#).reply_to(inbox);
    transport.publish(pull).await.unwrap();
    let mut out = Vec::new();
    for _ in 0..4 {
        let message = next(listener.as_mut(), Duration::from_secs(2)).await.unwrap();
        said.push(line(Some(&message)));
        out.push(message.reply.unwrap().to_string());
    }
    said.push(consumers().await);
    // Out of order: the floor waits for the first.
    for index in [1, 0, 3] {
        transport.request(Outgoing::new(out[index].clone(), "+ACK"), Duration::from_secs(2)).await.unwrap();
        said.push(consumers().await);
    }
    said.push(format!("{:?}", bus.purge(streams::INCIDENTS, &web.filter(), 3).await));
    said.push(consumers().await);
    let (page, more) = bus.page(streams::INCIDENTS, ">", 1).await.unwrap();
    said.push(format!("{:?} {more}", page.iter().map(|stored| stored.sequence).collect::<Vec<_>>()));
    said.push(format!("{:?}", bus.first_from(streams::INCIDENTS, 1).await.unwrap().map(|stored| stored.sequence)));
    let (now, last) = bus.server_time(streams::INCIDENTS).await.unwrap();
    said.push(format!("{} {last}", now.duration_since(ground.now()).as_millis().abs() < 1000));
    said.push(ask(transport, "$JS.API.CONSUMER.LIST.NONE", None, "{}").await);
    said
}
