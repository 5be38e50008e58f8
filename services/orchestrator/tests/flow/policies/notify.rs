//! Who is told by a policy: where messages go, and who is called after whom.

use contracts::v1;
use lastgood_core::incident::Command;
use orchestrator::person::{Request, request_rollback};
use serde_json::json;
use testbed::wait::until;

use super::hearing;
use crate::world::{DEADLINE, unsoaked};

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_where_the_policy_sends_them_and_one_after_the_other_is_called() -> anyhow::Result<()> {
    let world = hearing(unsoaked(), true).await?;
    let routes =
        json!([{"reasons": ["frozen"], "receivers": ["calendar"]}, {"severities": ["inform"], "receivers": ["shop-chat"]}]);
    let escalation = json!([{"receivers": ["shop"]}, {"after": "1s", "audience": "onCall"}, {"after": "2s", "audience": "teamLead", "receivers": ["boss"]}]);
    world.policy("all", json!({"mode": "auto", "notify": {"routes": routes, "escalation": escalation}})).await?;
    world.policy("shy", json!({"mode": "observe", "workloads": {"names": ["shy"]}})).await?;
    world.wait_policies(2).await?;
    // A first version: there is nothing to go back to, and somebody is paged.
    world.deploy("fresh", "1", json!({})).await?;
    world.wait_ledger("fresh", false).await?;
    world.good_then_bad("shy", json!({})).await?;
    world.fire(vec![world.alert("a", "fresh"), world.alert("b", "shy")]).await?;
    let (_, shy, facts) = world.incident("shy", "notification_requested").await?;
    assert_eq!(facts[..2], ["anomaly_detected", "notifications_routed"], "before anything can be told");
    assert_eq!(facts.iter().filter(|fact| *fact == "notifications_routed").count(), 1, "{facts:?}");
    assert_eq!(shy.notices.values().next().expect("a notice").request.receivers, ["shop-chat"]);
    let (subject, _, _) = world.incident("fresh", "notification_requested").await?;
    let last = (v1::Audience::TeamLead, "unacknowledged.2");
    let called = until("the last call", DEADLINE, async || {
        let loaded = world.engine.incidents.load(&subject, None).await.map_err(|error| error.to_string())?;
        if loaded.incident.notice(last.0, last.1).is_some() {
            Ok(loaded)
        } else {
            Err(format!("{:?}", loaded.incident.notices.keys()))
        }
    })
    .await?;
    let asked = |audience, reason: &str| called.incident.notice(audience, reason).expect("asked for").request.clone();
    let page = asked(v1::Audience::OnCall, "halted.previous_version_missing");
    assert_eq!((page.receivers.as_slice(), page.audience_too), (&["shop".to_owned()][..], false));
    assert!(asked(v1::Audience::OnCall, "unacknowledged").receivers.is_empty());
    let boss = asked(last.0, last.1);
    assert_eq!((boss.receivers.as_slice(), boss.audience_too), (&["boss".to_owned()][..], true));
    let passed = called.facts.iter().filter(|recorded| recorded.fact.event_type() == "deadline_passed").count();
    assert_eq!(passed, 2, "a timer for each that was called later");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_is_called_once_somebody_acknowledges_and_a_persons_rollback_is_told_of_by_the_policy_too()
-> anyhow::Result<()> {
    let world = hearing(unsoaked(), true).await?;
    let notify = json!({"routes": [{"severities": ["inform"], "receivers": ["shop-chat"]}], "escalation": [{"after": "1h", "receivers": ["boss"]}]});
    world.policy("all", json!({"mode": "auto", "notify": notify})).await?;
    world.wait_policies(1).await?;
    world.deploy("fresh", "1", json!({})).await?;
    world.wait_ledger("fresh", false).await?;
    // Opened by a command, without the policy, which is heard when it is decided; there is no such version.
    let request = Request {
        incident: world.engine.bus.ids().incident(),
        workload: world.workload("fresh"),
        workload_uid: String::new(),
        to: Some("none".into()),
        who: "ann".into(),
        reason: "slow".into(),
    };
    let deadlines = world.engine.settings.deadlines.recorded();
    let now = || world.engine.clock.now();
    request_rollback(&world.engine.incidents, deadlines, &request, now()).await?;
    let (_, requested, facts) = world.incident("fresh", "rollback_halted").await?;
    assert!(facts.iter().any(|fact| fact == "notifications_routed"), "{facts:?}");
    assert_eq!(requested.notices.values().next().expect("a notice").request.receivers, ["shop-chat"]);
    world.deploy("alone", "1", json!({})).await?;
    world.wait_ledger("alone", false).await?;
    world.fire(vec![world.alert("a", "alone")]).await?;
    let (subject, incident, _) = world.incident("alone", "notification_requested").await?;
    let acknowledge = v1::PersonActed { action: v1::Action::Acknowledge.into(), who: "sam".into(), ..v1::PersonActed::default() };
    world.engine.incidents.execute(&subject, None, &Command::PersonAct(acknowledge), now()).await?;
    let reason = incident.notices.values().next().expect("a notice").request.reason.clone();
    let (channel, dedup_key) = ("test".into(), "k".into());
    let told = Command::RecordDelivery { audience: v1::Audience::OnCall, reason, channel, dedup_key };
    world.engine.incidents.execute(&subject, None, &told, now()).await?;
    let (_, closed, _) = world.incident("alone", "incident_closed").await?;
    assert_eq!(closed.notices.len(), 1, "{:?}", closed.notices.keys());
    world.end().await
}
