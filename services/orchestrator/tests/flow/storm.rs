//! Ten thousand alerts, and how long one takes.

use std::time::Instant;

use contracts::subjects;
use orchestrator::config::Settings;
use testbed::wait::until;

use super::world::{DEADLINE, auto, start, unsoaked};

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_is_disposed_of_in_proportion() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.good_then_bad("web", auto()).await?;
    let started = Clock::start();
    for part in 0..10 {
        let alerts = (0..1000).map(|index| {
            let workload = if index % 2 == 0 { "web" } else { "none" };
            world.alert(&format!("s{part}x{index}"), workload)
        });
        world.fire(alerts.collect()).await?;
    }
    world.wait_occurrence("s9x998", &["occurrence_joined"]).await?;
    until("10,000 dispositions", DEADLINE * 4, async || {
        let count = world.count(subjects::ALL_OCCURRENCES).await.map_err(|error| error.to_string())?;
        if count == 10_000 { Ok(()) } else { Err(count.to_string()) }
    })
    .await?;
    eprintln!("10,000 alerts disposed of in {:?} (debug build)", started.elapsed());
    assert_eq!(world.count(&subjects::facts_of_type("anomaly_detected")).await?, 1);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn from_an_alert_to_its_plan() -> anyhow::Result<()> {
    let world = start(Settings {
        mass_failure: orchestrator::config::MassFailure { workloads: 100, ..Default::default() },
        ..unsoaked()
    })
    .await?;
    let names: Vec<_> = (0..5).map(|index| format!("web-{index}")).collect();
    for name in &names {
        world.good_then_bad(name, auto()).await?;
    }
    let mut took = Vec::new();
    for name in &names {
        let alert = world.alert(name, name);
        world.fire(vec![alert]).await?;
        let (_, incident, _) = world.incident(name, "rollback_planned").await?;
        let heard = world.engine.bus.last(subjects::streams::ALERTS, subjects::ALL_ALERTS).await?.unwrap().at;
        let planned = incident.plan.unwrap().0;
        took.push(planned.duration_since(heard));
    }
    eprintln!("from the stored alert to the stored plan: {took:?} (debug build)");
    world.end().await
}

struct Clock(Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "a measurement for people")]
    fn start() -> Self {
        Self(Instant::now())
    }

    fn elapsed(&self) -> std::time::Duration {
        self.0.elapsed()
    }
}
