//! NATS is killed, is away, loses a leader, or can be reached and does not answer.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contracts::subjects::streams;
use testbed::small_play::{Alarm, PATIENCE};
use testbed::small_world::{SmallWorld, SmallWorldOptions};
use testbed::wait;

use super::{away, completes};
use crate::crash::courses::fact;

/// Killed and restarted as the incident opens.
pub async fn nats_killed_and_restarted_as_it_opens() -> Result<()> {
    restarted("anomaly_detected").await
}

/// Killed and restarted between intent and write, or right after.
pub async fn nats_killed_and_restarted_as_it_begins() -> Result<()> {
    restarted("rollback_started").await
}

/// Killed and restarted in the middle of the smoke tests.
pub async fn nats_killed_and_restarted_as_it_is_verified() -> Result<()> {
    restarted("traffic_shifted").await
}

/// Killed and restarted while people are being told.
pub async fn nats_killed_and_restarted_as_it_is_mitigated() -> Result<()> {
    restarted("mitigated").await
}

async fn restarted(at: &str) -> Result<()> {
    completes(SmallWorldOptions::default(), at, async |world, _| {
        let nats = world.bus.single()?;
        nats.kill().await?;
        Ok(nats.restart().await?)
    })
    .await
}

/// Away in the middle of the rollback; an alert that comes meanwhile is not taken, comes again, and joins.
pub async fn nats_away_in_the_middle_of_the_rollback() -> Result<()> {
    let joined = async |world: &SmallWorld, incident: &contracts::IncidentSubject| {
        let nats = world.bus.single()?;
        nats.kill().await?;
        let alarm = Alarm::about_named(&incident.workload.namespace, &incident.workload.name, "Latency");
        ensure!(world.try_raise(&alarm).await?.as_u16() == 503, "what can't be stored is not taken");
        let back = async {
            tokio::time::sleep(away()).await;
            anyhow::Ok(nats.restart().await?)
        };
        tokio::try_join!(back, world.raise(&alarm))?;
        fact(world, incident, "alert_joined").await
    };
    let world = SmallWorldOptions::default();
    super::completes_with(world, "previous_version_deployed", joined, &["Latency"]).await
}

/// Away while the smoke tests run.
pub async fn nats_away_while_it_is_verified() -> Result<()> {
    completes(SmallWorldOptions::default(), "traffic_shifted", async |world, _| {
        let nats = world.bus.single()?;
        nats.kill().await?;
        tokio::time::sleep(away()).await;
        Ok(nats.restart().await?)
    })
    .await
}

/// A network that swallows everything, for all services, in the middle of the rollback.
pub async fn nats_is_a_black_hole() -> Result<()> {
    completes(SmallWorldOptions::default(), "rollback_started", async |world, _| {
        for (_, instance) in world.instances() {
            instance.nats()?.proxy().stall();
        }
        tokio::time::sleep(away()).await;
        for (_, instance) in world.instances() {
            instance.nats()?.proxy().go_on();
        }
        Ok(())
    })
    .await
}

/// Connections that break again and again.
pub async fn connections_to_nats_are_cut_again_and_again() -> Result<()> {
    completes(SmallWorldOptions::default(), "rollback_planned", async |world, _| {
        for _ in 0..10 {
            for (_, instance) in world.instances() {
                instance.nats()?.proxy().cut();
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Ok(())
    })
    .await
}

/// Three nodes; the one that leads the incidents' stream is killed and stays away until the end of the rollback.
pub async fn the_leader_of_three_nats_nodes_is_killed() -> Result<()> {
    completes(SmallWorldOptions { nats_nodes: 3, ..SmallWorldOptions::default() }, "rollback_started", async |world, incident| {
        let leader = leader(world).await?;
        world.bus.cluster()?.kill(leader).await?;
        fact(world, incident, "mitigated").await?;
        Ok(world.bus.cluster()?.restart(leader).await?)
    })
    .await
}

/// The node that leads the incidents' stream.
async fn leader(world: &SmallWorld) -> Result<usize> {
    let probe = || async {
        let stream = world.jetstream.get_stream(streams::INCIDENTS).await.map_err(|error| error.to_string())?;
        let cluster = stream.cached_info().cluster.as_ref();
        let leader = cluster.and_then(|cluster| cluster.leader.clone());
        leader.ok_or_else(|| "nobody leads it".to_owned())
    };
    let name = wait::until("a leader of the incidents' stream", PATIENCE, probe).await?;
    name.trim_start_matches('n').parse().with_context(|| format!("the node `{name}`"))
}

/// A service that is told to end while NATS is away ends in time, by itself.
pub async fn services_end_while_nats_is_away() -> Result<()> {
    completes(SmallWorldOptions::default(), "rollback_started", async |world, _| {
        let nats = world.bus.single()?;
        nats.kill().await?;
        let ends = world.instances().map(|(name, instance)| async move {
            let status = instance.service.terminate(Duration::from_secs(28)).await?;
            ensure!(status.code() == Some(0), "{name} ended with {status}");
            Ok(())
        });
        futures::future::try_join_all(ends).await?;
        nats.restart().await?;
        for (_, instance) in world.instances() {
            instance.service.restart().await?;
        }
        Ok(())
    })
    .await
}
