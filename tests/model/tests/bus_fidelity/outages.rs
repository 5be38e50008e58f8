//! The server goes and comes back.

use std::time::Duration;

use chassis::bus::{Bus, Outgoing};
use contracts::DeadlineKind;
use contracts::subjects::{self, streams};

use crate::ground::{Ground, Transcript, ask, group, headers, incident, ready};

async fn back(bus: &Bus, times: u64) {
    let mut connection = bus.connection();
    connection.wait_for(|connection| connection.up && connection.times > times).await.unwrap();
}

async fn gone(bus: &Bus) {
    bus.connection().wait_for(|connection| !connection.up).await.unwrap();
}

pub(crate) async fn late(ground: Ground) -> Transcript {
    let bus = ground.bus("tester").await;
    let mut said = Vec::new();
    let (web, times) = (incident(&bus, "web"), bus.connection().borrow().times);
    ground.stop().await;
    gone(&bus).await;
    // A request that nobody answers in time, and still there when somebody could.
    said.push(format!("{:?}", bus.append(vec![group(&bus, &web, 0, &[ready(1)])]).await.is_err()));
    let plain = Outgoing::new("lastgood.alert.test", "x").with_headers(headers(&[("Nats-Msg-Id", "a")]));
    said.push(format!("{:?}", bus.transport().publish(plain).await.is_ok()));
    ground.start().await;
    back(&bus, times).await;
    // A question may overtake what was said before it on the same connection: each stream takes in what it is sent at its own pace.
    for stream in [streams::INCIDENTS, streams::ALERTS] {
        while bus.last_sequence(stream).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    said.push(format!("{:?}", bus.append(vec![group(&bus, &web, 0, &[ready(1)])]).await));
    said.push(format!("{:?}", bus.append(vec![group(&bus, &web, 1, &[ready(1)])]).await));
    said
}

pub(crate) async fn memory(ground: Ground) -> Transcript {
    let bus = ground.bus("tester").await;
    let (transport, mut said) = (bus.transport(), Vec::new());
    let id = || Some(headers(&[("Nats-Msg-Id", "a")]));
    said.push(ask(transport, "lastgood.alert.test", id(), "x").await);
    let (web, times) = (incident(&bus, "web"), bus.connection().borrow().times);
    let part = headers(&[("Nats-Batch-Id", "b"), ("Nats-Batch-Sequence", "1")]);
    said.push(ask(transport, &web.fact("pods_ready"), Some(part), "x").await);
    let soon = ground.now() + Duration::from_millis(500);
    said.push(format!("{:?}", bus.schedule(&web, DeadlineKind::Decide, soon).await));
    ground.stop().await;
    gone(&bus).await;
    tokio::time::sleep(Duration::from_secs(1)).await; // the timer's time passes
    ground.start().await;
    back(&bus, times).await;
    said.push(ask(transport, "lastgood.alert.test", id(), "x").await);
    let commit = headers(&[("Nats-Batch-Id", "b"), ("Nats-Batch-Sequence", "2"), ("Nats-Batch-Commit", "1")]);
    said.push(ask(transport, &web.fact("pods_ready"), Some(commit), "x").await);
    let fired = loop {
        let fired = bus.read(streams::TIMERS, subjects::ALL_FIRED, 1, None).await.unwrap();
        if !fired.is_empty() {
            break fired;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    said.extend(fired.iter().map(|stored| format!("{} {} late {}", stored.sequence, stored.subject, stored.at >= soon)));
    said
}
