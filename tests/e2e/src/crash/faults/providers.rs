//! Slack, PagerDuty and webhooks answer 429 or 500, hang, lie (200 with an error in the body), or lose their answers.

use std::time::Duration;

use anyhow::{Result, ensure};
use contracts::v1::Outcome;
use testbed::receivers::Fault;
use testbed::small_world::{SmallWorld, SmallWorldOptions};

use super::ends;
use crate::crash::courses::{Left, broken, fact, never_proved};
use crate::crash::run::finish;

/// 429 with a wish to be left alone for a while.
pub async fn providers_are_busy() -> Result<()> {
    both(&Fault::Fail { status: 429, retry_after: Some(Duration::from_secs(2)) }, 2).await
}

/// 500, several times.
pub async fn providers_are_broken() -> Result<()> {
    both(&Fault::Fail { status: 500, retry_after: None }, 3).await
}

/// No answer, and nothing done.
pub async fn providers_hang() -> Result<()> {
    both(&Fault::Hang, 1).await
}

/// 200 with an error in the body.
pub async fn providers_lie() -> Result<()> {
    both(&Fault::Lie, 2).await
}

/// Done, and no answer: the message comes twice, and is one page all the same.
pub async fn providers_lose_their_answers() -> Result<()> {
    both(&Fault::LoseAnswer, 1).await
}

/// Away for longer than a page is tried over all channels: it is told when one of them is back.
pub async fn providers_are_away() -> Result<()> {
    let world = SmallWorld::start(options().with_env(&[("NOTIFIER__GIVE_UP_AFTER", "1s")])).await?;
    let ran = async {
        let (app, alarm) = never_proved(&world).await?;
        tokio::join!(world.pagerduty.go_down(), world.slack.go_down(), world.webhook.go_down());
        world.raise(&alarm).await?;
        let incident = world.opens(&app, 0).await?;
        fact(&world, &incident, "notification_failed").await?;
        world.pagerduty.come_back().await?;
        fact(&world, &incident, "on_call_notified").await?;
        world.slack.come_back().await?;
        world.webhook.come_back().await?;
        let page = world.page(&incident, "on_call").await?;
        world.acknowledge(&incident).await?;
        fact(&world, &incident, "incident_closed").await?;
        let left = Left { app, incident: Some(incident), alarms: vec![alarm] };
        let ending = ends(&world, &left, Outcome::Halted).await?;
        ensure!(world.pages(&page.dedup_key)[0].triggers == 1, "paged: {:?}", ending.told);
        Ok(())
    };
    finish(&world, ran.await)?;
    world.stop().await;
    Ok(())
}

async fn both(fault: &Fault, times: usize) -> Result<()> {
    tokio::try_join!(paged(fault, times), informed(fault, times)).map(drop)
}

fn options() -> SmallWorldOptions {
    SmallWorldOptions::default().with_env(&[("NOTIFIER__REQUEST_TIMEOUT", "3s")])
}

fn script(world: &SmallWorld, fault: &Fault, times: usize) {
    world.slack.script(times, fault);
    world.pagerduty.script(times, fault);
    world.webhook.script(times, fault);
}

/// How often a message may come.
fn most(fault: &Fault) -> usize {
    if *fault == Fault::LoseAnswer { 2 } else { 1 }
}

/// A halt: a person is paged, whatever the provider did at first, and once.
async fn paged(fault: &Fault, times: usize) -> Result<()> {
    let world = SmallWorld::start(options()).await?;
    let ran = async {
        let (app, alarm) = never_proved(&world).await?;
        script(&world, fault, times);
        world.raise(&alarm).await?;
        let incident = world.opens(&app, 0).await?;
        let page = world.page(&incident, "on_call").await?;
        fact(&world, &incident, "on_call_notified").await?;
        world.acknowledge(&incident).await?;
        fact(&world, &incident, "incident_closed").await?;
        let left = Left { app, incident: Some(incident), alarms: vec![alarm] };
        let ending = ends(&world, &left, Outcome::Halted).await?;
        ensure!((1..=most(fault)).contains(&world.pages(&page.dedup_key)[0].triggers), "paged: {:?}", ending.told);
        ensure!(world.pagerduty.pages().len() == 1, "one page: {:?}", ending.told);
        ensure!((1..=most(fault)).contains(&ending.threads), "{} chat threads: {}", ending.threads, world.slack.render());
        ensure!(ending.said.contains_key("announced"), "the thread is on the log: {:?}", ending.said);
        ensure!(!ending.said.keys().any(|said| said.starts_with("notification_failed")), "{:?}", ending.said);
        Ok(())
    };
    finish(&world, ran.await)?;
    world.stop().await;
    Ok(())
}

/// A success: it waits for no chat, and is told of.
async fn informed(fault: &Fault, times: usize) -> Result<()> {
    let world = SmallWorld::start(options()).await?;
    let ran = async {
        let (app, alarm) = broken(&world).await?;
        script(&world, fault, times);
        world.raise(&alarm).await?;
        let incident = world.opens(&app, 0).await?;
        fact(&world, &incident, "old_resources_cleaned").await?;
        world.resolve(&alarm).await?;
        fact(&world, &incident, "incident_closed").await?;
        let left = Left { app, incident: Some(incident), alarms: vec![alarm] };
        let ending = ends(&world, &left, Outcome::Completed).await?;
        ensure!(ending.writes == 1, "the template was changed {} times", ending.writes);
        ensure!((1..=most(fault)).contains(&ending.threads), "{} chat threads: {}", ending.threads, world.slack.render());
        let changes: usize = ending.told.iter().filter(|(told, _)| told.starts_with("change ")).map(|(_, times)| times).sum();
        ensure!((1..=most(fault)).contains(&changes), "{changes} change events: {:?}", ending.told);
        ensure!(ending.told.keys().any(|told| told.contains("The last good version")), "the chat tells: {:?}", ending.told);
        Ok(())
    };
    finish(&world, ran.await)?;
    world.stop().await;
    Ok(())
}
