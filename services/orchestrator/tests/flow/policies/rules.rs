//! Each rule of a policy refuses with its reason, and what it says of a rollback is carried along.

use contracts::{subjects, v1};
use lastgood_core::incident::Command;
use serde_json::{Value, json};

use super::hearing;
use crate::world::{auto, unsoaked};

#[tokio::test(flavor = "multi_thread")]
async fn each_rule_refuses_with_its_reason() -> anyhow::Result<()> {
    let world = hearing(unsoaked(), true).await?;
    let only = |name: &str, mut spec: Value| {
        spec["workloads"] = json!({"names": [name]});
        spec
    };
    let freeze = json!({"mode": "auto", "freeze": [{"reason": "peak season", "from": "2020-01-01T00:00:00Z", "until": "2090-01-01T00:00:00Z"}]});
    world.policy("all", json!({"mode": "auto"})).await?;
    world.policy("frozen", only("frozen", freeze)).await?;
    world.policy("shy", only("shy", json!({"mode": "observe"}))).await?;
    world.policy("stale", only("stale", json!({"changeWindow": "1ms"}))).await?;
    world.policy("typo", only("typo", json!({"cooldwn": "1h"}))).await?;
    world.wait_policies(5).await?;
    for name in ["frozen", "shy", "stale", "typo", "free"] {
        world.good_then_bad(name, json!({})).await?;
    }
    world.fire(["frozen", "shy", "stale", "typo", "free"].map(|name| world.alert(name, name)).to_vec()).await?;
    for (name, reason, words) in [
        ("frozen", "frozen", "peak season, until 2090-01-01T00:00:00Z"),
        ("shy", "observe_mode", "/shy says observe"),
        ("stale", "no_recent_change", "the window is"),
        ("typo", "observe_mode", "/typo is invalid, and until that is put right nothing is done: spec.cooldwn: is no field here"),
    ] {
        let (found, detail) = world.halted(name).await?;
        assert_eq!(found, reason, "{name}: {detail}");
        assert!(detail.contains(words), "{name}: {detail}");
    }
    let (_, frozen, _) = world.incident("frozen", "rollback_halted").await?;
    assert!(frozen.halted.unwrap_or_default().would_do.contains("roll back from"), "what would have been done is said");
    world.incident("free", "rollback_planned").await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_of_a_policy_are_those_that_hold() -> anyhow::Result<()> {
    let world = hearing(unsoaked(), true).await?;
    world.policy("all", json!({"mode": "auto", "cooldown": "2h"})).await?;
    world.policy("many", json!({"workloads": {"names": ["many"]}, "budgets": {"massFailure": {"workloads": 2}}})).await?;
    world.wait_policies(2).await?;
    world.good_then_bad("tired", json!({})).await?;
    world.good_then_bad("many", json!({})).await?;
    world.fire(vec![world.alert("a", "tired")]).await?;
    let (subject, incident, _) = world.incident("tired", "rollback_planned").await?;
    world.fire(vec![world.alert("b", "many")]).await?;
    assert_eq!(world.halted("many").await?.0, "mass_failure", "the limit of its own policy");
    // It is rolled back from, by somebody else's deploy in the end; the next one comes within the cooldown.
    let (_, plan) = incident.plan.expect("a plan");
    let intent = v1::RollbackStarted {
        attempt: 1,
        workload_uid: plan.workload_uid.clone(),
        workload_generation: plan.workload_generation,
        template_hash: plan.from.clone().unwrap_or_default().template_hash,
        target_template_hash: plan.to.clone().unwrap_or_default().template_hash,
        version: plan.from.clone().unwrap_or_default().id,
    };
    let now = world.engine.clock.now();
    world.engine.incidents.execute(&subject, None, &Command::StartAttempt(intent), now).await?;
    let superseded = v1::Superseded { what: "template".into(), ..v1::Superseded::default() };
    world.engine.incidents.execute(&subject, None, &Command::Supersede(superseded), now).await?;
    let (_, ended, _) = world.incident("tired", "notification_requested").await?;
    let reason = ended.notices.values().next().expect("a notice").request.reason.clone();
    let (channel, dedup_key) = ("test".into(), "k".into());
    let told = Command::RecordDelivery { audience: v1::Audience::OnCall, reason, channel, dedup_key };
    world.engine.incidents.execute(&subject, None, &told, now).await?;
    world.incident("tired", "incident_closed").await?;
    world.deploy("tired", "1", json!({})).await?;
    world.wait_ledger("tired", true).await?;
    world.deploy("tired", "3", json!({})).await?;
    world.wait_ledger("tired", false).await?;
    world.fire(vec![world.alert("c", "tired")]).await?;
    let (reason, detail) = world.halted("tired").await?;
    assert_eq!(reason, "cooldown");
    assert!(detail.contains("the cooldown is 2h"), "{detail}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_version_without_a_way_back_nothing_is_restored() -> anyhow::Result<()> {
    let world = hearing(unsoaked(), false).await?;
    world.wait_policies(0).await?;
    world.good_then_bad("web", auto()).await?;
    world.annotate("web", json!({"lastgood.dev/irreversible": "migrated orders"})).await?;
    world.fire(vec![world.alert("f1", "web")]).await?;
    let (reason, detail) = world.halted("web").await?;
    assert_eq!(reason, "irreversible");
    assert!(detail.contains("migrated orders"), "{detail}");
    let (_, incident, _) = world.incident("web", "notification_requested").await?;
    let notice = &incident.notices.values().next().expect("a notice").request;
    assert_eq!((notice.urgency(), notice.runbook.as_str()), (v1::Urgency::Page, "irreversible"));
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_does_not_count_is_dismissed_also_while_an_incident_is_open() -> anyhow::Result<()> {
    let world = hearing(unsoaked(), true).await?;
    world.policy("all", json!({"mode": "auto", "alerts": [{"matchers": ["severity=~\"page|critical\""]}]})).await?;
    world.wait_policies(1).await?;
    world.good_then_bad("web", json!({})).await?;
    let alert = |fingerprint: &str, severity: &str| {
        let mut alert = world.alert(fingerprint, "web");
        alert.labels.insert("severity".into(), severity.into());
        alert
    };
    world.fire(vec![alert("low", "warning")]).await?;
    world.wait_occurrence("low", &["occurrence_dismissed"]).await?;
    let stored = world.engine.bus.last(subjects::streams::INCIDENTS, &subjects::occurrence_filter("low")).await?.expect("it");
    let Ok(contracts::OccurrenceFact::OccurrenceDismissed(fact)) =
        contracts::OccurrenceFact::decode(stored.event_type(), &stored.data)
    else {
        panic!("{stored:?}")
    };
    assert_eq!(fact.reason, "not_counted");
    assert!(fact.detail.contains("severity=~\"page|critical\""), "{}", fact.detail);
    assert_eq!(world.count(&subjects::facts_of_type("anomaly_detected")).await?, 0, "no incident was opened");
    world.fire(vec![alert("high", "page")]).await?;
    world.incident("web", "rollback_planned").await?;
    world.fire(vec![alert("other", "warning"), alert("more", "critical")]).await?;
    world.wait_occurrence("more", &["occurrence_joined"]).await?;
    world.wait_occurrence("other", &["occurrence_dismissed"]).await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_and_its_incident_carry_what_the_policy_says() -> anyhow::Result<()> {
    let world = hearing(unsoaked(), true).await?;
    let checks = json!([{"name": "port", "tcp": {"port": 8080}}]);
    world.policy("all", json!({"mode": "auto", "checks": checks, "stabilisation": "5s", "deadlines": {"verify": "3m"}})).await?;
    world.wait_policies(1).await?;
    world.good_then_bad("web", json!({})).await?;
    world.fire(vec![world.alert("f1", "web")]).await?;
    let (_, incident, _) = world.incident("web", "rollback_planned").await?;
    let (_, plan) = incident.plan.expect("a plan");
    assert_eq!(serde_json::from_str::<Value>(&plan.checks_yaml)?, checks);
    assert_eq!(plan.stabilisation.map(|length| length.seconds), Some(5));
    let deadlines = incident.opened.expect("opened").deadlines;
    assert_eq!(deadlines.verify.map(|length| length.seconds), Some(180));
    assert_eq!(deadlines.rollback.map(|length| length.seconds), Some(600), "what no policy says is the configuration's");
    world.end().await
}
