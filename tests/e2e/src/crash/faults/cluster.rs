//! The API server is away, cuts its watches, or refuses writes as stale.

use std::time::Duration;

use anyhow::Result;
use testbed::small_world::SmallWorldOptions;

use super::{away, completes};

/// Away right after the intent: around the write.
pub async fn the_api_server_away_around_the_write() -> Result<()> {
    gone("rollback_planned").await
}

/// Away in the middle of the rollback.
pub async fn the_api_server_away_in_the_middle_of_the_rollback() -> Result<()> {
    gone("previous_version_deployed").await
}

/// Away while the smoke tests run: what can't be seen is not healthy, and is looked at again.
pub async fn the_api_server_away_while_it_is_verified() -> Result<()> {
    gone("traffic_shifted").await
}

async fn gone(at: &str) -> Result<()> {
    completes(SmallWorldOptions::default(), at, async |world, _| {
        world.cluster.set_available(false);
        tokio::time::sleep(away()).await;
        world.cluster.set_available(true);
        Ok(())
    })
    .await
}

/// Watches end with `410 Gone`, and connections break, again and again.
pub async fn watches_are_cut_again_and_again() -> Result<()> {
    completes(SmallWorldOptions::default(), "rollback_planned", async |world, _| {
        for _ in 0..10 {
            world.cluster.expire_watches();
            world.of("executor")?.api()?.proxy().cut();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Ok(())
    })
    .await
}

/// An API server that swallows everything the executor says.
pub async fn the_api_server_is_a_black_hole() -> Result<()> {
    completes(SmallWorldOptions::default(), "rollback_started", async |world, _| {
        let proxy = world.of("executor")?.api()?.proxy();
        proxy.stall();
        tokio::time::sleep(away()).await;
        proxy.go_on();
        Ok(())
    })
    .await
}

/// The next fifty writes are refused as stale.
pub async fn a_storm_of_conflicts() -> Result<()> {
    completes(SmallWorldOptions::default(), "anomaly_detected", async |world, _| {
        world.cluster.inject_conflicts(50);
        Ok(())
    })
    .await
}
