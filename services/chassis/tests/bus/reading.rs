//! How incidents are read: by what is kept, by going back, by the filter; always the same facts.

use std::time::Duration;

use chassis::bus::Bus;
use chassis::incidents::Incidents;
use contracts::subjects::streams;
use contracts::{Fact, IncidentSubject};
use futures::StreamExt as _;

use crate::world::{bus, group, incident, jetstream, nats, opening, ready};

/// Messages of others, so many that no filter should be read across them.
async fn strangers(bus: &Bus, count: usize) {
    let jetstream = jetstream(bus);
    let mut acks = Vec::new();
    for number in 0..count {
        acks.push(jetstream.publish(format!("lastgood.occurrence.s{number}.occurrence_dismissed"), "".into()).await.unwrap());
    }
    for ack in acks {
        ack.await.unwrap();
    }
}

/// The sequences of an incident's facts as a filter finds them, and the last of its workload.
async fn as_it_is(bus: &Bus, subject: &IncidentSubject) -> (Vec<u64>, u64) {
    let stored = bus.read(streams::INCIDENTS, &subject.filter(), 1, None).await.unwrap();
    let last = bus.last(streams::INCIDENTS, &subject.workload_filter()).await.unwrap();
    (stored.iter().map(|stored| stored.sequence).collect(), last.map_or(0, |last| last.sequence))
}

async fn as_read(incidents: &Incidents, subject: &IncidentSubject) -> (Vec<u64>, u64) {
    let loaded = incidents.load(subject, None).await.unwrap();
    (loaded.facts.iter().map(|fact| fact.sequence).collect(), loaded.expected)
}

/// How many messages each direct get asks for from now on.
async fn batches(bus: &Bus) -> tokio::task::JoinHandle<Vec<u64>> {
    let client = bus.client().unwrap().clone();
    let mut asked = client.subscribe(format!("$JS.API.DIRECT.GET.{}", streams::INCIDENTS)).await.unwrap();
    client.flush().await.unwrap();
    tokio::spawn(async move {
        let mut batches = Vec::new();
        while let Ok(Some(request)) = tokio::time::timeout(Duration::from_millis(500), asked.next()).await {
            let body: serde_json::Value = serde_json::from_slice(&request.payload).unwrap();
            batches.push(body["batch"].as_u64().unwrap());
        }
        batches
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_way_an_incident_is_read_it_has_the_same_facts() {
    let nats = nats().await;
    let bus = bus(&nats.url()).await;
    let kept = Incidents::new(bus.clone());
    // Two incidents of one workload, whose facts alternate, and one of another.
    let subjects = [incident(&bus, "web"), incident(&bus, "web"), incident(&bus, "api")];
    let sizes = [1, 3, 1, 2, 4, 1, 1, 2, 3, 1, 30, 1];
    for (round, size) in sizes.into_iter().enumerate() {
        let own = &subjects[[0, 2, 1, 2, 0][round % 5]];
        let expected = bus.last(streams::INCIDENTS, &own.workload_filter()).await.unwrap().map_or(0, |last| last.sequence);
        let facts: Vec<Fact> = (0..size).map(|_| if round < 3 { opening() } else { ready(1) }).collect();
        let mut groups = vec![group(&bus, own, expected, &facts)];
        if round % 3 == 0 {
            let other = incident(&bus, &format!("other-{round}"));
            groups.insert(round % 2, group(&bus, &other, 0, &[opening(), ready(1)]));
        }
        bus.append(groups).await.unwrap();
        strangers(&bus, round * 100).await;
        // Some are read after each append, some after several.
        for (number, subject) in subjects.iter().enumerate().filter(|(number, _)| round % (number + 1) == 0) {
            let (found, truth) = (as_read(&kept, subject).await, as_it_is(&bus, subject).await);
            assert_eq!(found, truth, "kept, round {round}, incident {number}");
        }
    }
    for (number, subject) in subjects.iter().enumerate() {
        let truth = as_it_is(&bus, subject).await;
        assert_eq!(as_read(&kept, subject).await, truth, "kept, incident {number}");
        assert_eq!(as_read(&Incidents::new(bus.clone()), subject).await, truth, "read for the first time, incident {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_time_for_a_read_does_not_grow_with_what_others_do() {
    let nats = nats().await;
    let bus = bus(&nats.url()).await;
    let (web, incidents) = (incident(&bus, "web"), Incidents::new(bus.clone()));
    let first = incidents.append(&web, 0, &[opening(), ready(1)]).await.unwrap();
    incidents.load(&web, None).await.unwrap();
    strangers(&bus, 1500).await;
    incidents.append(&web, first.last, &[ready(2), ready(3)]).await.unwrap();
    let truth = as_it_is(&bus, &web).await;

    let asked = batches(&bus).await;
    assert_eq!(as_read(&incidents, &web).await, truth);
    assert_eq!(asked.await.unwrap(), [0; 0], "what is new is reached from its end");

    let asked = batches(&bus).await;
    assert_eq!(as_read(&Incidents::new(bus.clone()), &web).await, truth);
    assert_eq!(asked.await.unwrap(), [1], "the first message; the others are reached from the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_not_believed_of_another_log() {
    let nats = nats().await;
    let bus = bus(&nats.url()).await;
    let (web, incidents) = (incident(&bus, "web"), Incidents::new(bus.clone()));
    incidents.append(&web, 0, &[opening(), ready(1)]).await.unwrap();
    incidents.load(&web, None).await.unwrap();
    // As after a restore from a backup: the same sequences, other messages.
    let context = jetstream(&bus);
    let config = context.get_stream(streams::INCIDENTS).await.unwrap().cached_info().config.clone();
    context.delete_stream(streams::INCIDENTS).await.unwrap();
    context.create_stream(config).await.unwrap();
    incidents.append(&web, 0, &[opening(), ready(7)]).await.unwrap();
    incidents.append(&web, 2, &[ready(8)]).await.unwrap();
    let facts = incidents.load(&web, None).await.unwrap().facts;
    let attempts: Vec<u32> = facts
        .iter()
        .filter_map(|recorded| match &recorded.fact {
            Fact::PodsReady(ready) => Some(ready.attempt),
            _ => None,
        })
        .collect();
    assert_eq!(attempts, [7, 8]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_purged_on_the_way_hides_nothing_of_the_rest() {
    let nats = nats().await;
    let bus = bus(&nats.url()).await;
    let (old, new) = (incident(&bus, "web"), incident(&bus, "web"));
    let incidents = Incidents::new(bus.clone());
    let first = incidents.append(&new, 0, &[opening()]).await.unwrap();
    let second = incidents.append(&old, first.last, &[ready(1)]).await.unwrap();
    strangers(&bus, 600).await;
    incidents.append(&new, second.last, &[ready(2)]).await.unwrap();
    jetstream(&bus).get_stream(streams::INCIDENTS).await.unwrap().purge().filter(old.filter()).await.unwrap();
    let truth = as_it_is(&bus, &new).await;
    assert_eq!(truth.0.len(), 2);
    assert_eq!(as_read(&incidents, &new).await, truth);
}
