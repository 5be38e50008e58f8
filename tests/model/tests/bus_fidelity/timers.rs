//! Timers: scheduled, moved, cancelled, fired.

use std::time::Duration;

use contracts::DeadlineKind;
use contracts::subjects::{self, streams};

use crate::ground::{Ground, Transcript, ask, headers, incident, shown};

const INFO: &str = "$JS.API.STREAM.INFO.LASTGOOD_TIMERS";

pub(crate) async fn firing(ground: Ground) -> Transcript {
    let bus = ground.bus("tester").await;
    let (web, api, past) = (incident(&bus, "web"), incident(&bus, "api"), incident(&bus, "past"));
    let (now, mut said) = (ground.now(), Vec::new());
    let seconds = Duration::from_secs;
    said.push(format!("{:?}", bus.schedule(&web, DeadlineKind::Decide, now + seconds(600)).await));
    said.push(format!("{:?}", bus.schedule(&web, DeadlineKind::Decide, now + seconds(3)).await)); // moved
    said.push(format!("{:?}", bus.schedule(&web, DeadlineKind::Verify, now + seconds(2)).await));
    said.push(format!("{:?}", bus.cancel_timer(&web, DeadlineKind::Verify).await));
    said.push(format!("{:?}", bus.cancel_timer(&web, DeadlineKind::Notify).await)); // there is none
    said.push(format!("{:?}", bus.schedule(&api, DeadlineKind::Resolve, now + seconds(2)).await));
    said.push(format!("{:?}", bus.schedule(&api, DeadlineKind::Decide, now + seconds(2)).await));
    said.push(format!("{:?}", bus.cancel_timers(&api).await));
    let every = r#"{"subjects_filter":">"}"#;
    said.push(ask(bus.transport(), INFO, None, every).await.split(" bytes").next().unwrap().to_owned());
    said.push(format!("{:?}", bus.schedule(&past, DeadlineKind::Start, now - seconds(60)).await)); // at once
    let mut seen: Vec<chassis::bus::Stored> = Vec::new();
    let mut late = Vec::new();
    for _ in 0..100 {
        let fired = bus.read(streams::TIMERS, subjects::ALL_FIRED, 1, None).await.unwrap();
        for stored in fired.into_iter().skip(seen.len()) {
            let due = if stored.subject.contains(".past.") { now } else { now + seconds(3) };
            late.push(stored.at.duration_since(due).as_millis());
            seen.push(stored);
        }
        if seen.len() >= 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for stored in &seen {
        let shown = shown(Some(&stored.headers));
        said.push(format!("{} {} {} [{shown}] {:?}", stored.sequence, stored.subject, stored.event_type(), stored.data));
    }
    said.push(format!("in time: {}", late.iter().all(|late| (0..1500).contains(late))));
    said.push(ask(bus.transport(), INFO, None, every).await.split(" bytes").next().unwrap().to_owned());
    // Where schedules are not allowed, and ones that are not understood.
    let at = format!("@at {}", now + seconds(900));
    for (subject, schedule, target) in [
        ("lastgood.dead.x", at.as_str(), "lastgood.dead.y"),
        ("lastgood.timer.x.y", "@at yesterday", "lastgood.fired.x"),
        ("lastgood.timer.x.y", at.as_str(), "elsewhere.x"),
    ] {
        let pairs = [("Nats-Schedule", schedule), ("Nats-Schedule-Target", target)];
        said.push(ask(bus.transport(), subject, Some(headers(&pairs)), "").await);
    }
    said
}
