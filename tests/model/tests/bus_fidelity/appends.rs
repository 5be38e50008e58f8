//! Appending and reading.

use chassis::bus::{AlertPart, Group, NewEvent, Outgoing};
use contracts::subjects::{self, streams};
use contracts::{OccurrenceFact, v1};

use crate::ground::{Ground, Transcript, ask, group, headers, incident, line, listen, next, ready};
use std::time::Duration;

pub(crate) async fn expectations(ground: Ground) -> Transcript {
    let bus = ground.bus("tester").await;
    let web = incident(&bus, "web");
    let mut said = Vec::new();
    said.push(format!("{:?}", bus.append(vec![group(&bus, &web, 0, &[ready(1)])]).await));
    said.push(format!("{:?}", bus.append(vec![group(&bus, &web, 0, &[ready(2)])]).await));
    said.push(format!("{:?}", bus.append(vec![group(&bus, &web, 7, &[ready(2)])]).await));
    let same = group(&bus, &web, 1, &[ready(3)]);
    said.push(format!("{:?}", bus.append(vec![same.clone()]).await));
    said.push(format!("own win: {:?}", bus.append(vec![same]).await));
    // Another workload has an expectation of its own.
    said.push(format!("{:?}", bus.append(vec![group(&bus, &incident(&bus, "api"), 0, &[ready(1)])]).await));
    let subject = web.fact("pods_ready");
    let (filter, transport) = (web.workload_filter(), bus.transport());
    for expected in ["2", "0", "3"] {
        let guard = headers(&[
            ("Nats-Expected-Last-Subject-Sequence", expected),
            ("Nats-Expected-Last-Subject-Sequence-Subject", &filter),
        ]);
        said.push(ask(transport, &subject, Some(guard), "x").await);
    }
    said
}

pub(crate) async fn batches(ground: Ground) -> Transcript {
    let bus = ground.bus("tester").await;
    let (web, other) = (incident(&bus, "web"), incident(&bus, "other"));
    let occurrence = |expected| Group {
        filter: subjects::occurrence_filter("f00"),
        expected,
        events: vec![NewEvent::occurrence(
            bus.ids().event(),
            "f00",
            &OccurrenceFact::from(v1::OccurrenceOpened { incident: web.incident.to_string(), ..Default::default() }),
        )],
    };
    let mut said = Vec::new();
    said.push(format!("{:?}", bus.append(vec![group(&bus, &web, 0, &[ready(1), ready(2)]), occurrence(0)]).await));
    said.push(format!("{:?}", bus.append(vec![group(&bus, &other, 0, &[ready(1)]), occurrence(0)]).await));
    said.push(format!("{:?}", bus.append(vec![group(&bus, &other, 0, &[ready(1)]), occurrence(3)]).await));
    let same = vec![group(&bus, &web, 2, &[ready(3), ready(4)])];
    said.push(format!("{:?}", bus.append(same.clone()).await));
    said.push(format!("own win: {:?}", bus.append(same).await));
    said.push(ask(bus.transport(), "$JS.API.STREAM.INFO.LASTGOOD_INCIDENTS", None, "{\"subjects_filter\":\">\"}").await);
    said
}

fn part<'a>(batch: &'a str, sequence: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![("Nats-Batch-Id", batch), ("Nats-Batch-Sequence", sequence)]
}

pub(crate) async fn holes(ground: Ground) -> Transcript {
    let bus = ground.bus("tester").await;
    let (transport, mut said) = (bus.transport(), Vec::new());
    let subject = incident(&bus, "web").fact("pods_ready");
    let commit = |id, sequence| {
        let mut pairs = part(id, sequence);
        pairs.push(("Nats-Batch-Commit", "1"));
        headers(&pairs)
    };
    // The first part never came.
    said.push(ask(transport, &subject, Some(commit("a", "2")), "x").await);
    // One in the middle never came.
    said.push(ask(transport, &subject, Some(headers(&part("b", "1"))), "x").await);
    said.push(ask(transport, &subject, Some(commit("b", "3")), "x").await);
    said.push(ask(transport, &subject, Some(commit("b", "2")), "x").await);
    // A part comes twice.
    said.push(ask(transport, &subject, Some(headers(&part("c", "1"))), "x").await);
    said.push(ask(transport, &subject, Some(headers(&part("c", "2"))), "x").await);
    said.push(ask(transport, &subject, Some(headers(&part("c", "2"))), "x").await);
    said.push(ask(transport, &subject, Some(commit("c", "3")), "x").await);
    // No number, and streams that take no batches.
    said.push(ask(transport, &subject, Some(headers(&[("Nats-Batch-Id", "d")])), "x").await);
    said.push(ask(transport, "lastgood.timer.x", Some(headers(&part("e", "1"))), "x").await);
    // A batch of one.
    said.push(ask(transport, &subject, Some(commit("f", "1")), "x").await);
    // The expectation of the second part is wrong; the first part's is not looked at before.
    let wrong = |id| {
        let mut pairs = part(id, "1");
        pairs.push(("Nats-Expected-Last-Subject-Sequence", "9"));
        headers(&pairs)
    };
    said.push(ask(transport, &subject, Some(wrong("g")), "x").await);
    said.push(ask(transport, &subject, Some(commit("g", "2")), "x").await);
    said.push(ask(transport, "$JS.API.STREAM.INFO.LASTGOOD_INCIDENTS", None, "{}").await);
    said
}

pub(crate) async fn duplicates(ground: Ground) -> Transcript {
    let bus = ground.bus("tester").await;
    let part = |id: &str, part: u32| AlertPart {
        id: id.to_owned(),
        notification: v1::AlertNotification { source: "alertmanager".into(), part, parts: 3, ..Default::default() },
    };
    let parts = [part("a", 1), part("b", 2), part("c", 3)];
    let mut said = Vec::new();
    for parts in [&parts[..], &parts[..], &parts[..1], &[part("c", 3), part("d", 4)], &[part("e", 1), part("e", 2)]] {
        said.push(format!("{:?}", bus.publish_alerts(parts).await));
        said.push(format!("{:?}", bus.last_sequence(streams::ALERTS).await));
    }
    let id = |id| Some(headers(&[("Nats-Msg-Id", id)]));
    for message in ["a", "x", "x"] {
        said.push(ask(bus.transport(), "lastgood.alert.test", id(message), "x").await);
    }
    said
}

pub(crate) async fn reads(ground: Ground) -> Transcript {
    let bus = ground.bus("tester").await;
    let (web, api) = (incident(&bus, "web"), incident(&bus, "api"));
    let mut said = Vec::new();
    let many: Vec<_> = (0..600).map(ready).collect();
    let first = bus.append(vec![group(&bus, &web, 0, &many)]).await.unwrap();
    let second = bus.append(vec![group(&bus, &api, 0, &[ready(1), ready(2)])]).await.unwrap();
    bus.append(vec![group(&bus, &web, first.last, &many)]).await.unwrap();
    let all = bus.read(streams::INCIDENTS, &web.filter(), 1, None).await.unwrap();
    said.push(format!("{} {:?}", all.len(), all.iter().map(|stored| stored.sequence).collect::<Vec<_>>()));
    let some = bus.read(streams::INCIDENTS, &api.filter(), 1, Some(second.last)).await.unwrap();
    said.push(format!("{:?}", some.iter().map(|stored| (stored.sequence, stored.subject.clone())).collect::<Vec<_>>()));
    let last = bus.last(streams::INCIDENTS, &web.workload_filter()).await.unwrap();
    said.push(format!("{:?}", last.map(|stored| (stored.sequence, stored.header("ce-id").map(str::to_owned), stored.data))));
    said.push(format!("{:?}", bus.last(streams::INCIDENTS, "lastgood.incident.nobody.>").await.map(|none| none.is_none())));
    said.push(format!("{:?}", bus.message(streams::INCIDENTS, 5).await.unwrap().map(|stored| stored.sequence)));
    said.push(format!("{:?}", bus.message(streams::INCIDENTS, 9999).await.unwrap().is_none()));
    let opened = bus.read(streams::INCIDENTS, "lastgood.incident.>", 1201, None).await.unwrap();
    said.push(format!("{:?}", opened.first().map(|stored| stored.sequence)));
    let transport = bus.transport();
    for body in [
        r#"{"seq":601,"next_by_subj":"lastgood.incident.>"}"#,
        r#"{"last_by_subj":"lastgood.incident.*.shop.deployment.api.>"}"#,
        r#"{"seq":603,"next_by_subj":"lastgood.incident.*.shop.deployment.api.>"}"#,
        r#"{"seq":77}"#,
    ] {
        said.push(ask(transport, "$JS.API.STREAM.MSG.GET.LASTGOOD_INCIDENTS", None, body).await);
    }
    for body in [
        r#"{"seq":600,"next_by_subj":"lastgood.incident.>","batch":3}"#,
        r#"{"seq":1,"next_by_subj":"lastgood.incident.*.shop.deployment.api.>","batch":10}"#,
        r#"{"seq":603,"next_by_subj":"lastgood.incident.*.shop.deployment.api.>","batch":10}"#,
        r#"{"start_time":"2020-01-01T00:00:00Z","next_by_subj":"lastgood.incident.*.shop.deployment.api.>","batch":1}"#,
        r#"{"start_time":"2099-01-01T00:00:00Z","next_by_subj":"lastgood.incident.>","batch":1}"#,
    ] {
        let (inbox, mut listener) = listen(transport).await;
        transport.publish(Outgoing::new("$JS.API.DIRECT.GET.LASTGOOD_INCIDENTS", body).reply_to(inbox)).await.unwrap();
        loop {
            let reply = next(listener.as_mut(), Duration::from_secs(2)).await;
            let shown = line(reply.as_ref()).replace(&reply.as_ref().map_or(String::new(), |m| m.subject.to_string()), "inbox");
            said.push(shown);
            if reply.is_none_or(|reply| reply.status.is_some()) {
                break;
            }
        }
    }
    let since = bus.subjects_since(streams::INCIDENTS, &api.filter(), "2020-01-01T00:00:00Z".parse().unwrap(), 5).await;
    said.push(format!("{:?}", since.map(|read| read.into_iter().map(|(subject, _)| subject).collect::<Vec<_>>())));
    said
}
