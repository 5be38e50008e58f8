//! The whole consumer of the chassis on both: handlers, dead letters, replays.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chassis::bus::{Bus, ConsumerSpec, Delivery, Group, HandleError, Handler, NewEvent};
use chassis::lifecycle::Lifecycle;
use contracts::subjects::{self, streams};
use futures::FutureExt;

use crate::ground::{Ground, Transcript, group, incident, ready};

/// Notes what it was given; refuses some of it.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

#[async_trait]
impl Handler for Notes {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let (name, count) = (delivery.incident()?.0.workload.name, delivery.deliveries);
        let (stream, sequence, replayed) = (&delivery.stream, delivery.sequence(), delivery.replayed);
        self.0.lock().unwrap().push(format!("{name} {stream} {sequence} delivery {count} replayed {replayed}"));
        match name.as_str() {
            "failing" => Err(HandleError::retry(Duration::from_millis(200), "no")),
            "dead" if !replayed => Err(HandleError::dead("hopeless")),
            "panicking" if count < 2 => panic!("ouch"),
            _ => delivery.fact().map(drop),
        }
    }
}

impl Notes {
    async fn wait_for(&self, count: usize) {
        while self.0.lock().unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn sorted(&self) -> Vec<String> {
        let mut lines = self.0.lock().unwrap().clone();
        lines.sort();
        lines
    }
}

async fn letters(bus: &Bus, count: usize) -> Vec<chassis::bus::DeadLetterEntry> {
    loop {
        let letters = bus.dead_letters().await.unwrap();
        if letters.len() >= count {
            return letters;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn dead(ground: Ground) -> Transcript {
    let bus = ground.bus("tester").await;
    let (life, notes) = (Lifecycle::default(), Arc::new(Notes::default()));
    let spec = ConsumerSpec::new(streams::INCIDENTS, "reader", vec![subjects::ALL_INCIDENTS.into()]);
    // All ids are drawn before the consumers run: they draw from the same source, for a letter or a pause, as soon as they have cause to.
    let mut groups: Vec<Group> = Vec::new();
    for name in ["good", "failing", "dead", "panicking"] {
        groups.push(group(&bus, &incident(&bus, name), 0, &[ready(1)]));
    }
    let damaged = incident(&bus, "damaged");
    let (id, subject) = (bus.ids().event(), damaged.fact("pods_ready"));
    let event = NewEvent { id, subject, ce_type: "lastgood.v1.PodsReady".into(), data: vec![0xff, 0xff] };
    groups.push(Group { filter: damaged.workload_filter(), expected: 0, events: vec![event] });
    bus.consume(ConsumerSpec { max_deliver: 2, ..spec }, notes.clone(), &life);
    for group in groups {
        bus.append(vec![group]).await.unwrap();
    }
    notes.wait_for(7).await;
    let mut said = notes.sorted();
    let mut dead = letters(&bus, 3).await;
    dead.sort_by_key(|entry| entry.letter.sequence);
    for entry in &dead {
        let letter = &entry.letter;
        said.push(format!("{} {} {} {} {}", letter.service, letter.stream, letter.sequence, letter.subject, letter.reason));
        let mut headers: Vec<_> = letter.headers.keys().cloned().collect();
        headers.sort();
        said.push(format!("{headers:?}"));
    }
    let before = bus.last_sequence(streams::INCIDENTS).await.unwrap();
    for entry in &dead {
        bus.replay(entry.sequence).await.unwrap();
    }
    notes.wait_for(11).await;
    said.extend(notes.sorted());
    // The ones that failed again are dead letters again.
    said.push(format!("{}", letters(&bus, 5).await.len()));
    said.push(format!("{:?}", bus.last_sequence(streams::INCIDENTS).await.unwrap() == before));
    said.push(format!("{:?}", bus.replay(9999).await.is_err()));
    life.stop();
    let ended = life.run_until_done().now_or_never().is_some();
    if !ended {
        life.hard().cancel();
    }
    said
}
