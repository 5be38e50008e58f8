//! Three nodes, each stream on all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chassis::bus::{AppendError, Bus};
use chassis::config;
use contracts::IncidentSubject;
use contracts::subjects::streams;
use testbed::nats::NatsCluster;
use testbed::wait;

use crate::world::{self, PATIENCE, group, incident, ready};

/// Appends one numbered fact after the other, reading again whenever it lost or does not know.
async fn append_numbers(bus: Bus, incident: IncidentSubject, stop: Arc<AtomicBool>) -> Vec<(u64, u32)> {
    let (mut acknowledged, mut number) = (Vec::new(), 0);
    while !stop.load(Ordering::SeqCst) {
        let Ok(last) = bus.last(streams::INCIDENTS, &incident.workload_filter()).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let expected = last.map_or(0, |stored| stored.sequence);
        number += 1;
        // Single publishes and batches in turn: both must be guarded against each other.
        let facts = vec![ready(number); 1 + usize::from(number % 2 == 0)];
        match bus.append(vec![group(&bus, &incident, expected, &facts)]).await {
            Ok(appended) => acknowledged.push((appended.first, number)),
            Err(AppendError::Lost | AppendError::Unavailable(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_killed_while_appending_loses_and_doubles_nothing() {
    let cluster = NatsCluster::start(3).await.unwrap();
    let config = config::Nats { replicas: 3, ..world::config(&cluster.url()) };
    let (one, two) = (world::connect(&config).await, world::connect(&config).await);
    let web = incident(&one, "web");
    let stop = Arc::new(AtomicBool::new(false));
    // Both write to one incident: each append of one makes the other lose.
    let writers = [one.clone(), two].map(|bus| tokio::spawn(append_numbers(bus, web.clone(), stop.clone())));
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // After a restart an election may be under way, in which nobody leads.
        let leader = wait::until("a leader of the stream", PATIENCE, || async {
            let stream = world::jetstream(&one).get_stream(streams::INCIDENTS).await.ok()?;
            stream.cached_info().cluster.as_ref()?.leader.clone()
        });
        let leader = leader.await.unwrap();
        let index: usize = leader.trim_start_matches('n').parse().unwrap();
        cluster.kill(index).await.unwrap();
        tokio::time::sleep(Duration::from_secs(6)).await;
        cluster.restart(index).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.store(true, Ordering::SeqCst);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.push(writer.await.unwrap());
    }
    let log = one.read(streams::INCIDENTS, &web.filter(), 1, None).await.unwrap();
    println!("{} + {} appends acknowledged, {} facts stored", acknowledged[0].len(), acknowledged[1].len(), log.len());
    assert!(acknowledged.iter().all(|list| list.len() > 20), "both went on after the failures");
    let mut ids = std::collections::HashSet::new();
    for stored in &log {
        assert!(ids.insert(stored.header("ce-id").unwrap().to_owned()), "{} is stored twice", stored.sequence);
    }
    for (sequence, number) in acknowledged.into_iter().flatten() {
        for sequence in sequence..=sequence + u64::from(number % 2 == 0) {
            let stored = log.iter().find(|stored| stored.sequence == sequence);
            let stored = stored.unwrap_or_else(|| panic!("acknowledged {sequence} is lost"));
            let fact = contracts::Fact::decode(stored.event_type(), &stored.data).unwrap();
            assert_eq!(fact, ready(number), "{sequence} is somebody else's");
        }
    }
}
