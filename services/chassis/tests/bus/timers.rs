//! Timers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chassis::bus::{ConsumerSpec, Delivery, HandleError, Handler};
use chassis::lifecycle::Lifecycle;
use contracts::DeadlineKind;
use contracts::subjects::{self, streams};
use tokio::sync::mpsc;

use crate::world::{PATIENCE, bus, incident, nats};

struct Fired(mpsc::UnboundedSender<(String, jiff::Timestamp)>);

#[async_trait]
impl Handler for Fired {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let (incident, deadline) = delivery.incident()?;
        let _ = self.0.send((format!("{}/{deadline}", incident.workload.name), delivery.stored.at));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn timers_fire_once_at_their_time_and_survive_a_restart() {
    let nats = nats().await;
    let bus = bus(&nats.url()).await;
    let (web, api, past) = (incident(&bus, "web"), incident(&bus, "api"), incident(&bus, "past"));
    let now = bus.clock().now();
    let at = now + Duration::from_secs(3);
    bus.schedule(&web, DeadlineKind::Decide, now + Duration::from_secs(1)).await.unwrap();
    bus.schedule(&web, DeadlineKind::Decide, at).await.unwrap(); // moved
    bus.schedule(&web, DeadlineKind::Verify, now + Duration::from_secs(1)).await.unwrap();
    bus.cancel_timer(&web, DeadlineKind::Verify).await.unwrap();
    bus.cancel_timer(&web, DeadlineKind::Notify).await.unwrap(); // there is none
    bus.schedule(&past, DeadlineKind::Start, now - Duration::from_mins(1)).await.unwrap(); // past: at once
    bus.schedule(&api, DeadlineKind::Resolve, at).await.unwrap();
    bus.cancel_timers(&api).await.unwrap();
    nats.restart().await.unwrap();
    let (life, (sender, mut fired)) = (Lifecycle::default(), mpsc::unbounded_channel());
    bus.consume(ConsumerSpec::new(streams::TIMERS, "timers", vec![subjects::ALL_FIRED.into()]), Arc::new(Fired(sender)), &life);
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(tokio::time::timeout(PATIENCE, fired.recv()).await.unwrap().unwrap());
    }
    seen.sort();
    assert_eq!((seen[0].0.as_str(), seen[1].0.as_str()), ("past/start", "web/decide"));
    let late = seen[1].1.duration_since(at);
    assert!(late.as_millis() >= 0 && late.as_millis() < 2000, "{late}");
    let more = tokio::time::timeout(Duration::from_millis(700), fired.recv()).await;
    assert!(more.is_err(), "{more:?}");
    life.stop();
    life.run_until_done().await;
}
