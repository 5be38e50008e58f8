//! What people ask for, and what they are asked: rollbacks, approvals, grace periods.

use anyhow::Context as _;
use contracts::v1::OnTimeout;
use contracts::{DeadlineKind, IncidentSubject};
use jiff::SignedDuration;
use lastgood_core::incident::{Command, Phase, Refusal};
use orchestrator::config::Settings;
use orchestrator::person::{self, Done, PersonError, Request, Word};
use serde_json::json;

use super::world::{World, resolved, start, unsoaked};

fn word() -> Word {
    Word { who: "ann".into(), via: "command".into(), note: "looks right".into() }
}

fn asks(world: &World, name: &str, to: Option<String>) -> Request {
    Request {
        incident: world.engine.bus.ids().incident(),
        workload: world.workload(name),
        workload_uid: String::new(),
        to,
        who: "ann".into(),
        reason: "it is slow".into(),
    }
}

async fn ask(world: &World, request: &Request) -> Result<Done, PersonError> {
    let deadlines = Settings::default().deadlines.recorded();
    person::request_rollback(&world.engine.incidents, deadlines, request, world.engine.clock.now()).await
}

/// An incident that waits for an approval.
async fn asked(world: &World, name: &str) -> anyhow::Result<IncidentSubject> {
    world.good_then_bad(name, json!({"lastgood.dev/mode": "approve", "lastgood.dev/approve-within": "10m"})).await?;
    world.fire(vec![world.alert(name, name)]).await?;
    let (subject, incident, facts) = world.incident(name, "rollback_planned").await?;
    assert_eq!(facts[3..], ["approval_requested", "rollback_planned", "notification_requested"]);
    let approval = incident.approval.as_ref().context("an approval")?;
    assert_eq!(approval.request.on_timeout(), OnTimeout::Halt);
    assert!(approval.request.would_do.contains("roll back from"), "{}", approval.request.would_do);
    assert_eq!(incident.phase(), Phase::AwaitingApproval);
    Ok(subject)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_asked_for_and_given_once() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    let subject = asked(&world, "web").await?;
    let (incidents, now) = (&world.engine.incidents, world.engine.clock.now());
    let yes = word();
    let approve = || person::approve(incidents, subject.incident, &yes, now);
    // Two people at the same moment.
    let (one, other) = futures::try_join!(approve(), approve())?;
    let stored = [&one, &other].iter().filter(|done| matches!(done, Done::Stored(_))).count();
    assert_eq!(stored, 1);
    let (_, incident, _) = world.incident("web", "person_acted").await?;
    assert_eq!(incident.phase(), Phase::Planned);
    let nobody = world.engine.bus.ids().incident();
    assert!(matches!(person::approve(incidents, nobody, &yes, now).await, Err(PersonError::Unknown(_))));
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_halts_and_a_yes_after_it_is_refused() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    let subject = asked(&world, "web").await?;
    let (incidents, now) = (&world.engine.incidents, world.engine.clock.now());
    assert!(matches!(person::decline(incidents, subject.incident, &word(), now).await?, Done::Stored(_)));
    assert!(matches!(person::decline(incidents, subject.incident, &word(), now).await?, Done::AlreadySo(_)));
    let (_, incident, _) = world.incident("web", "rollback_halted").await?;
    assert_eq!(incident.halted.as_ref().unwrap().reason, "declined_by_person");
    let late = person::approve(incidents, subject.incident, &word(), now).await;
    assert!(matches!(late, Err(PersonError::Refused(Refusal::NothingToApprove { .. }))), "{late:?}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_or_resolves_while_it_waits_needs_no_answer() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    asked(&world, "changed").await?;
    world.deploy("changed", "3", json!({})).await?;
    let (_, incident, _) = world.incident("changed", "superseded").await?;
    assert!(incident.superseded.unwrap().detail.contains("while its rollback waited"));
    world.good_then_bad("resolved", json!({"lastgood.dev/mode": "auto", "lastgood.dev/grace": "10m"})).await?;
    let alert = world.alert("f", "resolved");
    world.fire(vec![alert.clone()]).await?;
    let (_, incident, facts) = world.incident("resolved", "rollback_planned").await?;
    assert_eq!(facts[3..], ["grace_begun", "rollback_planned"]);
    assert_eq!(incident.phase(), Phase::InGrace);
    world.fire(vec![resolved(alert)]).await?;
    let (_, incident, _) = world.incident("resolved", "rollback_halted").await?;
    assert_eq!(incident.halted.unwrap().reason, "resolved_before_action");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timers_of_a_wait_fire() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.good_then_bad("silent", json!({"lastgood.dev/mode": "approve", "lastgood.dev/approve-within": "1s"})).await?;
    world.good_then_bad("brief", json!({"lastgood.dev/mode": "auto", "lastgood.dev/grace": "1s"})).await?;
    world.fire(vec![world.alert("a", "silent"), world.alert("b", "brief")]).await?;
    let (subject, incident, _) = world.incident("silent", "rollback_halted").await?;
    assert_eq!(incident.halted.as_ref().unwrap().reason, "approval_timed_out");
    let late = person::approve(&world.engine.incidents, subject.incident, &word(), world.engine.clock.now()).await;
    assert!(late.unwrap_err().to_string().contains("waits for an approval"));
    let (_, brief, _) = world.incident("brief", "deadline_passed").await?;
    assert!(brief.deadlines_passed.contains(&DeadlineKind::Grace) && brief.phase() == Phase::Planned);
    let (planned_at, _) = brief.plan.clone().unwrap();
    let not_after = lastgood_core::incident::not_after(&brief).unwrap();
    assert!(
        not_after.duration_since(planned_at) > SignedDuration::from_secs(120),
        "the time to begin counts from the wait's end"
    );
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_goes_back_to_a_named_version_whatever_the_policy_says() -> anyhow::Result<()> {
    let mut settings = unsoaked();
    settings.budgets.cluster_concurrent = Some(0);
    let world = start(settings).await?;
    world.deploy("web", "1", json!({})).await?;
    world.wait_ledger("web", true).await?;
    let first = world.hash("web").await?;
    for version in ["2", "3"] {
        world.deploy("web", version, json!({})).await?;
        world.wait_ledger("web", true).await?;
    }
    let request = asks(&world, "web", Some(first.clone()));
    let Done::Stored(subject) = ask(&world, &request).await? else { anyhow::bail!("it was new") };
    assert_eq!(ask(&world, &request).await?, Done::AlreadySo(subject.clone()), "whoever lost the answer asks again");
    let (_, incident, facts) = world.incident("web", "rollback_planned").await?;
    assert_eq!(facts[..2], ["anomaly_detected", "alert_resolved"]);
    let (_, plan) = incident.plan.as_ref().unwrap();
    assert_eq!(plan.to.as_ref().unwrap().template_hash, first);
    let other = ask(&world, &asks(&world, "web", None)).await.unwrap_err();
    assert!(matches!(other, PersonError::Busy { incident, .. } if incident == subject.incident), "{other}");
    // What it is now is no target.
    let superseded = Command::Supersede(contracts::v1::Superseded::default());
    world.engine.incidents.execute(&subject, None, &superseded, world.engine.clock.now()).await?;
    world.close("web").await?;
    let current = world.hash("web").await?;
    let Done::Stored(again) = ask(&world, &asks(&world, "web", Some(current))).await? else { anyhow::bail!("it was new") };
    let (halted, incident, _) = world.incident("web", "rollback_halted").await?;
    assert_eq!((halted, incident.halted.unwrap().reason.as_str()), (again, "previous_version_missing"));
    world.end().await
}
