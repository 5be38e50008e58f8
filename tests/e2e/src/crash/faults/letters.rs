//! What can't be decoded or processed, through all five services: it ends in the dead-letter stream with its reason, people hear of it,
//! nobody else waits for it, and once its cause is gone the shipped command has it processed after all (S8).

use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contracts::IncidentSubject;
use contracts::subjects::{self, streams};
use contracts::v1::Outcome;
use lastgood_core::incident::Phase;
use serde_json::Value;
use testbed::real_cluster::image;
use testbed::services::Binaries;
use testbed::small_play::PATIENCE;
use testbed::small_world::{SmallWorld, SmallWorldOptions};
use testbed::wait;

use crate::crash::courses::{Left, broken_named, fact};
use crate::crash::ending::template_writes;
use crate::crash::promises;
use crate::crash::run::finish;

/// Bytes that are no protobuf.
const DAMAGED: &[u8] = b"\xff\xff";
/// How long a command may take.
const COMMAND: Duration = Duration::from_secs(20);

/// A fact of an incident is damaged in the middle of its rollback, and so is what is known of another workload's alert; a third one's incident
/// goes on beside them. Then the damage to the alert's history is taken away, and an operator has the alert processed.
pub async fn what_cannot_be_processed_is_told_of_and_replayed() -> Result<()> {
    let world = SmallWorld::start(SmallWorldOptions::default()).await?;
    let ran = Box::pin(scenario(&world)).await;
    finish(&world, ran)?;
    world.stop().await;
    Ok(())
}

async fn scenario(world: &SmallWorld) -> Result<()> {
    let (web, api, shop) =
        tokio::try_join!(broken_named(world, "web", "v0"), broken_named(world, "api", "v1"), broken_named(world, "shop", "v1"))?;
    let ((web, of_web), (api, of_api), (shop, of_shop)) = (web, api, shop);
    // So that its rollback is in the middle for as long as it takes.
    world.cluster.set_pull_ok(&image("v0"), false);
    world.raise(&of_web).await?;
    let damaged = world.opens(&web, 0).await?;
    fact(world, &damaged, "previous_version_deployed").await?;
    let damaged_at = publish(world, damaged.fact("pods_ready")).await?;
    let history = publish(world, subjects::occurrence(&of_shop.fingerprint(), "occurrence_opened")).await?;
    world.raise(&of_shop).await?;

    // Nobody waits for either of them, not even an alert of the same group.
    world.raise(&of_api).await?;
    let incident = world.opens(&api, 0).await?;
    completes(world, &Left { app: api.clone(), incident: Some(incident), alarms: vec![of_api.clone()] }).await?;
    ensure!(world.journal.incidents(&shop.namespace, &shop.name).is_empty(), "its alert can't be processed yet");
    is_given_up(world, &damaged, damaged_at).await?;
    // What was written goes its way in the cluster, and the executor that watches it finds nobody to report to.
    world.cluster.set_pull_ok(&image("v0"), true);
    let letter = is_a_letter(world, &damaged).await?;

    // The cause is taken away, and the alert is processed after all.
    world.jetstream.get_stream(streams::INCIDENTS).await?.delete_message(history).await.context("mending the history")?;
    let number = letter.to_string();
    let said = command(world, &["replay", &number], 0).await?;
    ensure!(said.trim() == format!("dead letter {number} is delivered again"), "{said}");
    let incident = world.opens(&shop, 0).await?;
    completes(world, &Left { app: shop.clone(), incident: Some(incident), alarms: vec![of_shop.clone()] }).await?;
    let said = command(world, &["list", "--consumer", "orchestrator-alerts"], 0).await?;
    ensure!(said.lines().count() == 2 && said.contains("(replayed "), "{said}");

    world.settles().await?;
    for (app, alarm) in [(&web, of_web), (&api, of_api), (&shop, of_shop)] {
        let broken = promises::broken(&world.journal.entries(), &world.cluster.journal(), app, &[alarm]);
        ensure!(broken.is_empty(), "promises were broken:\n  {}", broken.join("\n  "));
        let writes = template_writes(&world.cluster.journal(), app).len();
        ensure!(writes == 1, "the template of {} was changed {writes} times", app.name);
    }
    Ok(())
}

/// Stores damage as if a service had said it.
async fn publish(world: &SmallWorld, subject: String) -> Result<u64> {
    let stored = world.jetstream.publish(subject, DAMAGED.into()).await.context("storing the damage")?;
    Ok(stored.await.context("storing the damage")?.sequence)
}

/// The incident goes all its way, as a user sees it.
async fn completes(world: &SmallWorld, left: &Left) -> Result<()> {
    let (incident, alarm) = (left.incident.as_ref().context("an incident")?, left.alarms.first().context("an alarm")?);
    fact(world, incident, "old_resources_cleaned").await?;
    world.resolve(alarm).await?;
    fact(world, incident, "incident_closed").await?;
    let phase = world.journal.state(incident.incident).phase();
    ensure!(phase == Phase::Closed(Outcome::Completed), "{incident} ended as {phase:?}");
    let runs = left.app.image().await?;
    ensure!(runs == image("v1"), "{} runs {runs}", left.app.name);
    Ok(())
}

/// The incident whose log is damaged: the team lead hears what it is about, and it ends.
async fn is_given_up(world: &SmallWorld, incident: &IncidentSubject, damaged_at: u64) -> Result<()> {
    let page = world.page(incident, "team_lead").await?;
    // Whoever finds it first says so in words of its own: "fact 9 of … is damaged", "message 9 of … was given up".
    let (what, which) = ("lastgood could not process everything about this incident", format!(" {damaged_at} of "));
    ensure!(page.dedup_key.ends_with("/dead_letter"), "the page is {}", page.dedup_key);
    ensure!(page.summary().contains(what) && page.summary().contains(&which), "the page says {}", page.summary());
    ensure!(page.links.to_string().contains("dead-letter"), "the page has no runbook: {}", page.links);
    fact(world, incident, "incident_closed").await?;
    let phase = world.journal.state(incident.incident).phase();
    ensure!(phase == Phase::Closed(Outcome::Unspecified), "it ended as {phase:?}");
    Ok(())
}

/// Both are dead letters with their reasons, counted; people were told of the alert, which has no incident that could tell. Gives its number.
async fn is_a_letter(world: &SmallWorld, damaged: &IncidentSubject) -> Result<u64> {
    let letters = || async {
        let listed = command(world, &["list", "--output", "json"], 0).await.map_err(|error| format!("{error:#}"))?;
        let letters: Vec<Value> = serde_json::from_str(&listed).map_err(|error| error.to_string())?;
        let of = |consumer: &str| letters.iter().find(|letter| letter["consumer"] == consumer).cloned();
        of("orchestrator-deadlines").zip(of("orchestrator-alerts")).ok_or(listed)
    };
    let (fact, alert) = wait::until("both dead letters", PATIENCE, letters).await?;
    ensure!(fact["incident"] == damaged.incident.to_string() && fact["reason"].to_string().contains("pods_ready"), "{fact}");
    ensure!(alert["stream"] == streams::ALERTS && alert["reason"].to_string().contains("occurrence_opened"), "{alert}");
    let counted = || async {
        let metrics = world.of("orchestrator").map_err(|error| error.to_string())?.service.metrics().await;
        let metrics = metrics.map_err(|error| error.to_string())?;
        let letters: Vec<_> = metrics.lines().filter(|line| line.starts_with("lastgood_dead_letters_total{")).collect();
        let counted = |consumer: &str, stream: &str| {
            letters.iter().any(|line| line.contains(consumer) && line.contains(stream) && line.ends_with(" 1"))
        };
        let both =
            counted("\"orchestrator-deadlines\"", streams::INCIDENTS) && counted("\"orchestrator-alerts\"", streams::ALERTS);
        if both { Ok(()) } else { Err(letters.join("\n")) }
    };
    wait::until("both being counted", PATIENCE, counted).await?;
    let page = || async {
        let pages = world.pages("dead_letter/orchestrator-alerts");
        pages.into_iter().next().ok_or_else(|| "no such page".to_owned())
    };
    let page = wait::until("a page about the alert", PATIENCE, page).await?;
    ensure!(page.summary().contains("lastgood.alert.alertmanager"), "the page says {}", page.summary());

    let number = alert["sequence"].as_u64().context("its number")?;
    let list = command(world, &["list"], 0).await?;
    ensure!(list.contains(&format!("pods_ready of {damaged}")) && list.contains("orchestrator-alerts"), "{list}");
    let shown = command(world, &["show", &number.to_string()], 0).await?;
    for part in ["never", "lastgood.alert.alertmanager", "occurrence_opened", "\"deployment\": \"shop\""] {
        ensure!(shown.contains(part), "no `{part}` in\n{shown}");
    }
    command(world, &["show", "99999"], 3).await?;
    Ok(number)
}

/// What the shipped command prints for an operator, who has an environment of their own.
async fn command(world: &SmallWorld, arguments: &[&str], code: i32) -> Result<String> {
    let mut command = tokio::process::Command::new(Binaries::build().await?.path("lastgood-orchestrator")?);
    command.env_clear().env("LASTGOOD_NATS__URLS", world.bus.url()).arg("dead-letters").args(arguments).kill_on_drop(true);
    let Output { status, stdout, stderr } =
        tokio::time::timeout(COMMAND, command.output()).await.context("the command hangs")??;
    let (said, complained) = (String::from_utf8(stdout)?, String::from_utf8_lossy(&stderr).into_owned());
    ensure!(status.code() == Some(code), "dead-letters {arguments:?} ended with {status}: {said}{complained}");
    Ok(said)
}
