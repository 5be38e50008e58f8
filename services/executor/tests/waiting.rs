//! What keeps the executor from writing for a while, or stops it: approvals, grace periods, and the pause switch of a namespace.
//!
//! Guarantee: "nothing was written" is asked once an incident that waits for nothing has come to its end beside it. Must not: sleep.

mod support;

use contracts::v1::{self, Action, OnTimeout};
use contracts::{DeadlineKind, Fact};
use jiff::SignedDuration;
use lastgood_core::incident::Command;
use serde_json::Value;
use support::World;

/// Two Deployments whose bad versions run; the good ones as they were.
async fn two(world: &World) -> [Value; 2] {
    let mut goods = Vec::new();
    for name in ["web", "beside"] {
        world.deploy(name, "v1", 1).await;
        goods.push(world.rolled_out(name, "v1").await);
        world.deploy(name, "v2-failing", 1).await;
        world.rolled_out(name, "v2-failing").await;
    }
    goods.try_into().expect("there are two")
}

/// Another incident comes to its end: whatever an executor does at once about the first one, it has done by then.
async fn meanwhile(world: &World, good: &Value) {
    let beside = world.plan("beside", good, |_| {}).await;
    world.announce(&beside).await;
    world.fact(&beside, "traffic_shifted").await;
}

#[expect(clippy::unnecessary_wraps, reason = "as the messages' fields are")]
fn seconds(count: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: count, nanos: 0 })
}

fn act(action: Action) -> Command {
    Command::PersonAct(v1::PersonActed { action: action.into(), who: "ann".into(), via: "test".into(), note: String::new() })
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_before_a_person_says_yes() {
    let world = World::simulated().await;
    let [good, beside] = two(&world).await;
    world.start_executor();
    let request =
        v1::ApprovalRequested { within: seconds(600), on_timeout: OnTimeout::Halt.into(), would_do: "roll back".into() };
    let subject = world.plan_to_approve("web", &good, request).await;
    world.announce(&subject).await;
    meanwhile(&world, &beside).await;
    assert!(world.our_writes("web").is_empty(), "nobody has said yes");
    world.execute(&subject, act(Action::Approve)).await;
    world.fact(&subject, "traffic_shifted").await;
    assert_eq!(world.our_writes("web").len(), 1);
    let types = world.types(&subject).await;
    let at = |wanted: &str| types.iter().position(|event_type| *event_type == wanted);
    assert!(at("person_acted") < at("rollback_started"), "{types:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_changes_it_while_it_waits_wins_over_the_approval() {
    let world = World::simulated().await;
    let [good, _] = two(&world).await;
    world.start_executor();
    let request = v1::ApprovalRequested { within: seconds(600), ..v1::ApprovalRequested::default() };
    let subject = world.plan_to_approve("web", &good, request).await;
    world.announce(&subject).await;
    world.deploy("web", "v3", 1).await;
    world.execute(&subject, act(Action::Approve)).await;
    world.fact(&subject, "superseded").await;
    assert!(world.our_writes("web").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_before_the_grace_period_is_over() {
    let world = World::simulated().await;
    let [good, beside] = two(&world).await;
    world.start_executor();
    let subject = world.plan("web", &good, |plan| plan.grace = seconds(60)).await;
    world.announce(&subject).await;
    meanwhile(&world, &beside).await;
    assert!(world.our_writes("web").is_empty(), "it may still resolve by itself");
    let over = world.clock.now() + SignedDuration::from_secs(60);
    world.incidents.execute(&subject, None, &Command::PassDeadline(DeadlineKind::Grace), over).await.unwrap();
    world.fact(&subject, "traffic_shifted").await;
    assert_eq!(world.our_writes("web").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_intent_a_paused_namespace_halts_and_other_namespaces_go_on() {
    let world = World::simulated().await;
    let [good, _] = two(&world).await;
    world.switch_namespace(true).await;
    world.start_executor();
    let subject = world.plan("web", &good, |_| {}).await;
    world.announce(&subject).await;
    let Fact::RollbackHalted(halted) = world.fact(&subject, "rollback_halted").await else { panic!() };
    assert_eq!(halted.reason, "paused");
    assert!(halted.detail.contains("namespace default") && halted.detail.contains("ann"), "{}", halted.detail);
    assert!(world.our_writes("web").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn between_intent_and_write_a_paused_namespace_fails_without_a_write() {
    let world = World::simulated().await;
    let [good, _] = two(&world).await;
    let subject = world.plan("web", &good, |_| {}).await;
    world.announce(&subject).await;
    let (_, plan) = world.incidents.load(&subject, None).await.unwrap().incident.plan.unwrap();
    let hash = |version: Option<v1::Version>| version.unwrap().template_hash;
    let intent = v1::RollbackStarted {
        attempt: 1,
        workload_uid: plan.workload_uid,
        workload_generation: plan.workload_generation,
        template_hash: hash(plan.from),
        target_template_hash: hash(plan.to),
        ..v1::RollbackStarted::default()
    };
    // As an executor that was killed right after its intent.
    world.execute(&subject, Command::StartAttempt(intent)).await;
    world.switch_namespace(true).await;
    world.start_executor();
    let Fact::RollbackFailed(failed) = world.fact(&subject, "rollback_failed").await else { panic!() };
    assert_eq!(failed.reason, "paused");
    assert!(world.our_writes("web").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_write_a_pause_stops_nothing() {
    let world = World::simulated().await;
    let [good, _] = two(&world).await;
    let image = "docker.io/local/web:v1";
    world.sim.as_ref().unwrap().set_pull_ok(image, false);
    world.start_executor();
    let subject = world.plan("web", &good, |_| {}).await;
    world.announce(&subject).await;
    world.fact(&subject, "previous_version_deployed").await;
    world.switch_namespace(true).await;
    world.switch(true).await;
    world.sim.as_ref().unwrap().set_pull_ok(image, true);
    world.fact(&subject, "traffic_shifted").await;
    world.verify(&subject).await;
    world.fact(&subject, "old_resources_cleaned").await;
}
