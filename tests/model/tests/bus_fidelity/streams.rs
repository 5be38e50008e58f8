//! Streams: made, found, full, purged, missing.

use std::time::Duration;

use chassis::bus::{AppendError, Outgoing};
use contracts::subjects::streams;
use serde_json::json;

use crate::ground::{Ground, Transcript, ask, group, incident, line, listen, next, ready};

pub(crate) async fn full(ground: Ground) -> Transcript {
    let bus = ground.bus_with("tester", 40_000).await;
    let web = incident(&bus, "web");
    let (mut expected, mut said) = (0, Vec::new());
    let error = loop {
        match bus.append(vec![group(&bus, &web, expected, &[ready(1), ready(2), ready(3)])]).await {
            Ok(appended) => expected = appended.last,
            Err(error) => break error,
        }
    };
    said.push(format!("full after {expected}: {}", matches!(error, AppendError::Full(_))));
    let single = loop {
        match bus.append(vec![group(&bus, &web, expected, &[ready(1)])]).await {
            Ok(appended) => expected = appended.last,
            Err(error) => break error,
        }
    };
    said.push(format!("and after {expected}: {}", matches!(single, AppendError::Full(_))));
    said.push(ask(bus.transport(), "$JS.API.STREAM.INFO.LASTGOOD_INCIDENTS", None, "{}").await);
    said
}

pub(crate) async fn administration(ground: Ground) -> Transcript {
    let bus = ground.bus("tester").await;
    let again = ground.bus("again").await;
    let (transport, mut said) = (again.transport(), Vec::new());
    for stream in [streams::INCIDENTS, streams::ALERTS, streams::LEDGER, streams::TIMERS, streams::DEAD, streams::ADVISORIES] {
        said.push(ask(bus.transport(), &format!("$JS.API.STREAM.INFO.{stream}"), None, "{}").await);
        let reply = transport.request(Outgoing::new(format!("$JS.API.STREAM.INFO.{stream}"), ""), Duration::from_secs(2));
        let info: serde_json::Value = serde_json::from_slice(&reply.await.unwrap()).unwrap();
        let config: async_nats::jetstream::stream::Config = serde_json::from_value(info["config"].clone()).unwrap();
        let config = async_nats::jetstream::stream::Config { metadata: std::collections::HashMap::default(), ..config };
        said.push(format!("{:?} {} {:?}", config.subjects, config.max_bytes, config.duplicate_window));
        said.push(format!("{:?} {:?} {}", config.discard, config.max_age, config.max_messages));
    }
    let create = json!({ "name": "LASTGOOD_LEDGER", "subjects": ["x.y"], "retention": "limits", "storage": "file",
        "discard": "old", "num_replicas": 1 });
    said.push(ask(transport, "$JS.API.STREAM.CREATE.LASTGOOD_LEDGER", None, &create.to_string()).await);
    let overlaps = json!({ "name": "OTHER", "subjects": ["lastgood.*.x"], "retention": "limits", "storage": "file",
        "discard": "old", "num_replicas": 1 });
    said.push(ask(transport, "$JS.API.STREAM.CREATE.OTHER", None, &overlaps.to_string()).await);
    said
}

pub(crate) async fn missing(ground: Ground) -> Transcript {
    let bus = ground.bus("tester").await;
    let (transport, mut said) = (bus.transport(), Vec::new());
    for (subject, body) in [
        ("$JS.API.STREAM.INFO.NONE", "{}"),
        ("$JS.API.STREAM.MSG.GET.NONE", r#"{"seq":1}"#),
        ("$JS.API.STREAM.MSG.GET.LASTGOOD_LEDGER", r#"{"seq":1}"#),
        ("$JS.API.STREAM.MSG.GET.LASTGOOD_LEDGER", r#"{"last_by_subj":"lastgood.ledger.>"}"#),
        ("$JS.API.STREAM.PURGE.NONE", "{}"),
        ("$JS.API.CONSUMER.CREATE.NONE.c", r#"{"stream_name":"NONE","config":{"durable_name":"c","ack_policy":"explicit"}}"#),
        ("$JS.API.CONSUMER.INFO.LASTGOOD_LEDGER.c", ""),
        ("$JS.API.CONSUMER.INFO.NONE.c", ""),
        ("nobody.listens", ""),
        ("$JS.ACK.LASTGOOD_LEDGER.none.1.1.1.1.0", "+ACK"),
    ] {
        said.push(format!("{body} {}", ask(transport, subject, None, body).await));
    }
    for subject in ["$JS.API.CONSUMER.MSG.NEXT.LASTGOOD_LEDGER.none", "$JS.API.DIRECT.GET.NONE"] {
        let (inbox, mut listener) = listen(transport).await;
        let body = r#"{"batch":1,"seq":1,"next_by_subj":"x"}"#;
        transport.publish(Outgoing::new(subject, body).reply_to(inbox)).await.unwrap();
        said.push(format!("{subject}: {}", line(next(listener.as_mut(), Duration::from_secs(1)).await.as_ref())));
    }
    said
}

pub(crate) async fn purges(ground: Ground) -> Transcript {
    let bus = ground.bus("tester").await;
    let (web, api) = (incident(&bus, "web"), incident(&bus, "api"));
    let last = bus.append(vec![group(&bus, &web, 0, &[ready(1), ready(2)])]).await.unwrap().last;
    bus.append(vec![group(&bus, &api, 0, &[ready(1)])]).await.unwrap();
    let (transport, mut said) = (bus.transport(), Vec::new());
    // One of web's is out with a consumer when it is purged.
    let config = json!({ "stream_name": streams::INCIDENTS, "config": { "durable_name": "c", "ack_policy": "explicit" } });
    said.push(ask(transport, "$JS.API.CONSUMER.CREATE.LASTGOOD_INCIDENTS.c", None, &config.to_string()).await);
    let (inbox, mut listener) = listen(transport).await;
    let pull = Outgoing::new("$JS.API.CONSUMER.MSG.NEXT.LASTGOOD_INCIDENTS.c", r#"{"batch":1}"#).reply_to(inbox);
    transport.publish(pull).await.unwrap();
    said.push(line(next(listener.as_mut(), Duration::from_secs(1)).await.as_ref()));
    let filter = json!({ "filter": web.filter() }).to_string();
    said.push(ask(transport, "$JS.API.STREAM.PURGE.LASTGOOD_INCIDENTS", None, &filter).await);
    said.push(ask(transport, "$JS.API.STREAM.PURGE.LASTGOOD_INCIDENTS", None, &filter).await);
    said.push(ask(transport, "$JS.API.STREAM.INFO.LASTGOOD_INCIDENTS", None, "{}").await);
    said.push(ask(transport, "$JS.API.CONSUMER.INFO.LASTGOOD_INCIDENTS.c", None, "").await);
    said.push(ask(transport, "$JS.API.STREAM.INFO.LASTGOOD_ADVISORIES", None, r#"{"subjects_filter":">"}"#).await);
    // What is expected of the workload begins anew; sequences do not.
    said.push(format!("{:?}", bus.append(vec![group(&bus, &web, last, &[ready(3)])]).await));
    said.push(format!("{:?}", bus.append(vec![group(&bus, &web, 0, &[ready(3)])]).await));
    said.push(ask(transport, "$JS.API.STREAM.PURGE.LASTGOOD_INCIDENTS", None, "{}").await);
    said.push(ask(transport, "$JS.API.STREAM.INFO.LASTGOOD_INCIDENTS", None, "{}").await);
    said
}
