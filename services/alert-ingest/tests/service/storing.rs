//! Accepted means stored, all of it, once; refused means nothing.

use std::time::Duration;

use chassis::Incidents;
use contracts::{Fact, IncidentId, IncidentSubject, v1};
use lastgood_core::incident::Command;
use tokio::time::Instant;

use super::world::{PATIENCE, World, payload};

#[tokio::test]
async fn accepted_is_stored() {
    let world = World::start().await;
    let answer = world.post(payload(3, 10).to_string()).await;
    assert_eq!((answer.status, answer.json["stored"].as_u64()), (202, Some(3)));
    let heard = world.heard().await;
    assert_eq!((heard.len(), heard[0].alerts.len(), heard[0].source.as_str()), (1, 3, "alertmanager"));
}

#[tokio::test]
async fn two_peers_and_repeats_are_stored_once() {
    let world = World::start().await;
    let mut other = payload(3000, 500);
    other["externalURL"] = "http://am-2:9093".into();
    other["alerts"].as_array_mut().unwrap().reverse();
    let first = payload(3000, 500).to_string();
    for body in [first.clone(), other.to_string(), first] {
        assert_eq!(world.post(body).await.status, 202);
    }
    let heard = world.heard().await;
    assert!(heard.len() > 1, "several parts are meant to be tested");
    assert_eq!(heard.iter().map(|part| part.alerts.len()).sum::<usize>(), 3000);
}

#[tokio::test]
async fn sixteen_mebibytes_are_one_atomic_batch() {
    let world = World::start().await;
    let alerts = 40_000;
    let room = 16 * 1024 * 1024 - payload(alerts, 0).to_string().len();
    let body = payload(alerts, room / alerts).to_string();
    assert!(body.len() > 15 * 1024 * 1024 && body.len() <= 16 * 1024 * 1024, "{}", body.len());
    let answer = world.post(body).await;
    assert_eq!((answer.status, answer.json["stored"].as_u64()), (202, Some(alerts as u64)), "{}", answer.json);
    let stored = world.stored().await;
    let heard = super::world::notifications(&stored);
    assert_eq!(heard.iter().map(|part| part.alerts.len()).sum::<usize>(), alerts);
    assert_eq!(stored.last().unwrap().sequence - stored[0].sequence + 1, stored.len() as u64);
    let larger = payload(alerts, room / alerts + 1).to_string();
    assert_eq!(world.post(larger).await.status, 413);
}

#[tokio::test]
async fn without_nats_nothing_is_accepted_and_the_same_is_later() {
    let world = World::start().await;
    let body = payload(3000, 500).to_string();
    world.nats.kill().await.unwrap();
    let begun = Instant::now();
    let answer = world.post(body.clone()).await;
    assert_eq!(answer.status, 503, "{}", answer.json);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    world.nats.restart().await.unwrap();
    let accepted = || async {
        let answer = world.post(body.clone()).await;
        if answer.status == 202 { Ok(()) } else { Err(answer.json.to_string()) }
    };
    testbed::wait::until("NATS is there again", PATIENCE, accepted).await.unwrap();
    assert_eq!(world.heard().await.iter().map(|part| part.alerts.len()).sum::<usize>(), 3000);
}

#[tokio::test]
async fn a_full_stream_takes_all_or_nothing() {
    let world = World::start_with(2 << 20, |_| {}).await;
    assert_eq!(world.post(payload(1, 10).to_string()).await.status, 202);
    let answer = world.post(payload(5000, 600).to_string()).await;
    assert_eq!((answer.status, answer.json["error"].as_str()), (503, Some("stream_full")), "{}", answer.json);
    let heard = world.heard().await;
    assert_eq!(heard.iter().map(|part| part.alerts.len()).sum::<usize>(), 1);
}

#[tokio::test]
async fn an_acknowledgement_is_on_the_incidents_log() {
    let world = World::start().await;
    let (bus, incidents) = (world.bus.clone(), Incidents::new(world.bus.clone()));
    let workload =
        v1::WorkloadRef { cluster: "default".into(), namespace: "shop".into(), kind: "Deployment".into(), name: "web".into() };
    let subject = IncidentSubject { workload, incident: bus.ids().incident() };
    let opening = v1::AnomalyDetected { deadlines: Some(v1::Deadlines::default()), ..v1::AnomalyDetected::default() };
    incidents.execute(&subject, None, &Command::Open(opening), bus.clock().now()).await.unwrap();
    let acknowledge = |incident: IncidentId| world.acknowledge(incident, r#"{"who": "Ada"}"#);
    let first = acknowledge(subject.incident).await;
    assert_eq!((first.status, first.json["already"].as_bool()), (200, Some(false)), "{}", first.json);
    assert_eq!(acknowledge(subject.incident).await.json["already"].as_bool(), Some(true));
    assert_eq!(acknowledge(bus.ids().incident()).await.status, 404);
    let facts = incidents.load(&subject, None).await.unwrap().facts;
    let acted = facts.iter().filter(|recorded| matches!(&recorded.fact, Fact::PersonActed(act) if act.who == "Ada"));
    assert_eq!(acted.count(), 1);
}
