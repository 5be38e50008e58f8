//! A stream is full (`discard: new`): nothing is forgotten for it, and once there is room everything goes on.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use contracts::subjects::streams;
use contracts::v1::AlertNotification;
use prost::Message as _;
use testbed::small_play::PATIENCE;
use testbed::small_world::{SmallWorld, SmallWorldOptions};
use testbed::wait;

use super::{PATIENT, completed, completes};
use crate::crash::courses::{Left, broken, fact};
use crate::crash::run::finish;

/// Small enough to be filled in no time.
const ROOM: &[(&str, &str)] = &[("NATS__MAX_BYTES", "4194304")];
/// An occurrence that no consumer looks at.
const JUNK: &str = "lastgood.occurrence.junk.filler";
/// A source of alerts that nobody has.
const JUNK_ALERTS: &str = "lastgood.alert.junk";

/// The incidents' stream is full when the alert comes.
pub async fn the_incidents_are_full_when_an_alert_comes() -> Result<()> {
    let world = SmallWorld::start(SmallWorldOptions::default().with_env(PATIENT).with_env(ROOM)).await?;
    let ran = async {
        let (app, alarm) = broken(&world).await?;
        fill(&world, JUNK, junk).await?;
        world.raise(&alarm).await?;
        waits_for_room(&world).await?;
        ensure!(world.journal.incidents(&app.namespace, &app.name).is_empty(), "the stream was not full");
        make_room(&world, streams::INCIDENTS, JUNK).await?;
        let incident = world.opens(&app, 0).await?;
        fact(&world, &incident, "old_resources_cleaned").await?;
        world.resolve(&alarm).await?;
        fact(&world, &incident, "incident_closed").await?;
        completed(&world, &Left { app, incident: Some(incident), alarms: vec![alarm] }).await
    };
    finish(&world, ran.await)?;
    world.stop().await;
    Ok(())
}

/// It fills in the middle of a rollback.
pub async fn the_incidents_fill_in_the_middle_of_a_rollback() -> Result<()> {
    completes(SmallWorldOptions::default().with_env(ROOM), "rollback_started", async |world, _| {
        fill(world, JUNK, junk).await?;
        waits_for_room(world).await?;
        make_room(world, streams::INCIDENTS, JUNK).await
    })
    .await
}

/// The alerts' stream is full: the sender hears so, and comes again.
pub async fn the_alerts_are_full() -> Result<()> {
    let world = SmallWorld::start(SmallWorldOptions::default().with_env(PATIENT).with_env(ROOM)).await?;
    let ran = async {
        let (app, alarm) = broken(&world).await?;
        fill(&world, JUNK_ALERTS, empty_notification).await?;
        ensure!(world.try_raise(&alarm).await?.as_u16() == 503, "what can't be stored is not taken");
        make_room(&world, streams::ALERTS, JUNK_ALERTS).await?;
        world.raise(&alarm).await?;
        let incident = world.opens(&app, 0).await?;
        fact(&world, &incident, "old_resources_cleaned").await?;
        world.resolve(&alarm).await?;
        fact(&world, &incident, "incident_closed").await?;
        completed(&world, &Left { app, incident: Some(incident), alarms: vec![alarm] }).await
    };
    finish(&world, ran.await)?;
    world.stop().await;
    Ok(())
}

fn junk(length: usize) -> Vec<u8> {
    vec![b'x'; length]
}

/// A notification without alerts, about this long.
fn empty_notification(length: usize) -> Vec<u8> {
    AlertNotification { source: "junk".to_owned(), group_key: "x".repeat(length), ..AlertNotification::default() }.encode_to_vec()
}

/// Publishes ever smaller messages until not even the smallest is taken.
async fn fill(world: &SmallWorld, subject: &'static str, make: fn(usize) -> Vec<u8>) -> Result<()> {
    for length in [900_000, 90_000, 9_000, 900, 90, 1] {
        for tries in 0.. {
            let sent = world.jetstream.publish(subject, make(length).into()).await.context("filling a stream")?;
            if sent.await.is_err() {
                break;
            }
            if tries > 200 {
                bail!("{subject} takes no end of {length} bytes");
            }
        }
    }
    Ok(())
}

/// Waits until somebody has been refused for want of room, for longer than an ack wait.
async fn waits_for_room(world: &SmallWorld) -> Result<()> {
    let probe = || async {
        for (name, instance) in world.instances() {
            let metrics = instance.service.metrics().await.map_err(|error| error.to_string())?;
            let refused = |line: &str| line.starts_with("lastgood_append_seconds_count") && line.contains("result=\"full\"");
            if metrics.lines().any(refused) {
                return Ok(name);
            }
        }
        Err("all have room".to_owned())
    };
    wait::until("somebody being refused for want of room", PATIENCE, probe).await?;
    tokio::time::sleep(Duration::from_secs(7)).await;
    Ok(())
}

async fn make_room(world: &SmallWorld, stream: &str, subject: &str) -> Result<()> {
    let stream = world.jetstream.get_stream(stream).await.context("the full stream")?;
    stream.purge().filter(subject).await.context("making room")?;
    Ok(())
}
