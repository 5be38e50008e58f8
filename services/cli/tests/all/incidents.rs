//! `incidents` and `show`.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use contracts::subjects::streams;
use contracts::{IncidentSubject, v1};
use orchestrator::archive::Archive;
use orchestrator::archive::volume::Leaving;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::world::{HOSTILE, World, closed, halted, program};

const SOON: Duration = Duration::from_secs(20);

fn listed(json: &Value) -> Vec<&str> {
    let incidents = json["incidents"].as_array().map(Vec::as_slice).unwrap_or_default();
    incidents.iter().filter_map(|incident| incident["incident"].as_str()).collect()
}

#[tokio::test]
async fn open_incidents_are_listed_first_with_what_they_wait_for() -> Result<()> {
    let world = World::start().await?;
    let (text, json) = world.reads("incidents").await?;
    assert_eq!((text.as_str(), &json["incidents"]), ("there are no such incidents on the log\n", &json!([])));

    let web = world.open("web", HOSTILE).await?;
    let api = world.open("api", "Errors").await?;
    world.append(&api, &[halted("by ann"), closed()]).await?;
    let (web_id, api_id) = (web.incident.to_string(), api.incident.to_string());
    let (text, json) = world.reads("incidents").await?;
    assert_eq!(listed(&json), [&web_id, &api_id]);
    assert_eq!((&json["incidents"][0]["phase"], &json["incidents"][1]["outcome"]), (&json!("detected"), &json!("halted")));
    assert_eq!(json["incidents"][0]["waiting_for"][0]["deadline"], "decide");
    for part in ["looking for the last good version", "waits for a plan or a halt until", "halted: paused", "shop/deployment/api"]
    {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    for (filter, wanted) in [
        ("--open", vec![&web_id]),
        ("--outcome halted", vec![&api_id]),
        ("--workload shop/deploy/api", vec![&api_id]),
        ("--workload deploy/web -n shop", vec![&web_id]),
        ("-n other", vec![]),
        ("--since 1h", vec![&web_id, &api_id]),
    ] {
        assert_eq!(listed(&world.reads(&format!("incidents {filter}")).await?.1), wanted, "{filter}");
    }
    Ok(())
}

#[tokio::test]
async fn an_incident_is_told_as_a_story_wherever_it_is_kept() -> Result<()> {
    let world = World::start().await?;
    let web = world.open("web", HOSTILE).await?;
    let pod = v1::PodReport {
        name: "web-1".into(),
        reason: HOSTILE.into(),
        last_log_lines: vec![HOSTILE.into()],
        ..Default::default()
    };
    let failed = v1::RollbackFailed {
        reason: "pods_not_ready".into(),
        detail: HOSTILE.into(),
        pods: vec![pod],
        serving: vec![HOSTILE.into()],
        ..Default::default()
    };
    world.append(&web, &[failed.into(), closed()]).await?;
    let show = format!("show {}", web.incident);
    let (on_log, json) = world.reads(&show).await?;
    for part in [
        "Detected: evil\\u{1b}[2J",
        "Rollback failed: pods not ready",
        "pod web-1: evil",
        "serving now: evil",
        "runbook: pods-not-ready",
    ] {
        assert!(on_log.contains(part), "no `{part}` in\n{on_log}");
    }
    let types: Vec<_> = json["facts"].as_array().unwrap().iter().map(|fact| fact["type"].as_str().unwrap_or_default()).collect();
    assert_eq!(types, ["anomaly_detected", "rollback_failed", "incident_closed"]);
    assert_eq!((&json["failed"]["pods"][0]["name"], &json["archived"]), (&json!("web-1"), &json!(false)));

    archive(&world, &web).await?;
    let (archived, json) = world.reads(&show).await?;
    assert_eq!(json["archived"], true);
    let story = |text: &str| text.lines().skip(3).map(str::to_owned).collect::<Vec<_>>();
    assert!(archived.contains("from the archive") && story(&archived) == story(&on_log), "{archived}\n{on_log}");
    world.fails("show inc_0000000000000000000000000000002a", 3, "neither on the log nor in the archive").await?;
    Ok(())
}

/// As the archivist does it, but for its last word, which stays as a late one does.
async fn archive(world: &World, subject: &IncidentSubject) -> Result<()> {
    let messages = world.bus.read(streams::INCIDENTS, &subject.filter(), 1, None).await?;
    let last = messages.last().context("facts")?.sequence;
    world.bus.ensure_bucket(streams::ARCHIVE_BUCKET, Duration::ZERO).await?;
    let kept = Archive::new(world.bus.clone()).store(&[Leaving { subject: subject.clone(), messages }]).await?;
    assert_eq!(kept.archived.len(), 1);
    world.bus.purge(streams::INCIDENTS, &subject.filter(), last).await?;
    Ok(())
}

#[tokio::test]
async fn following_tells_each_fact_as_it_comes_and_ends_with_the_incident() -> Result<()> {
    let world = World::start().await?;
    let web = world.open("web", "Errors").await?;
    let id = web.incident.to_string();
    let mut child = program(&world.nats.url()).args(["show", &id, "--follow", "-o", "json"]).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
    let mut next = async || -> Result<Value> {
        let line = tokio::time::timeout(SOON, lines.next_line()).await.context("no line in time")??;
        Ok(serde_json::from_str(&line.context("it ended")?)?)
    };
    assert_eq!(next().await?["fact"]["type"], "anomaly_detected");
    world.append(&web, &[halted("by ann")]).await?;
    assert_eq!(next().await?["fact"]["type"], "rollback_halted");
    world.append(&web, &[closed()]).await?;
    assert_eq!(next().await?["fact"]["type"], "incident_closed");
    assert_eq!(next().await?["incident"]["outcome"], "halted");
    let status = tokio::time::timeout(SOON, child.wait()).await.context("it does not end")??;
    assert_eq!(status.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn following_ends_when_its_time_is_up() -> Result<()> {
    let world = World::start().await?;
    let web = world.open("web", "Errors").await?;
    let ran = world.run(&format!("show {} --follow --for 300ms", web.incident)).await?;
    assert!(
        ran.code == 1 && ran.out.contains("it is still open after 0s (--for)") && ran.out.contains("Detected: Errors"),
        "{ran:?}"
    );
    world.append(&web, &[halted("by ann"), closed()]).await?;
    let ran = world.run(&format!("show {} --follow", web.incident)).await?;
    assert!(ran.code == 0 && ran.out.matches("Detected: Errors").count() == 1, "{ran:?}");
    Ok(())
}

#[tokio::test]
async fn an_outage_is_waited_out_while_following() -> Result<()> {
    let world = World::start().await?;
    let web = world.open("web", "Errors").await?;
    let mut command = program(&world.nats.url());
    command.env("LASTGOOD_NATS__REQUEST_TIMEOUT", "1s").args(["show", &web.incident.to_string(), "-f"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut complaints = BufReader::new(child.stderr.take().context("its complaints")?).lines();
    let mut told = BufReader::new(child.stdout.take().context("its output")?).lines();
    let mut until = async |part: &str| -> Result<()> {
        while let Some(line) = tokio::time::timeout(SOON, told.next_line()).await.context("no line in time")?? {
            if line.contains(part) {
                return Ok(());
            }
        }
        anyhow::bail!("it ended before it said `{part}`")
    };
    until("Detected: Errors").await?;
    world.nats.kill().await?;
    let complaint = tokio::time::timeout(SOON, complaints.next_line()).await.context("it says nothing of the outage")??;
    assert_eq!(complaint.as_deref(), Some("NATS is away; going on when it is back"));
    world.nats.restart().await?;
    let closing = testbed::wait::until("the bus after its restart", SOON, async || world.append(&web, &[closed()]).await);
    closing.await?;
    until("Closed: halted").await?;
    let status = tokio::time::timeout(SOON, child.wait()).await.context("it does not end")??;
    assert_eq!(status.code(), Some(0));
    Ok(())
}
