//! Occurrences: one disposition each, whatever is repeated, joined, resolved or late.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use contracts::{subjects, v1};
use lastgood_core::incident::Command;
use orchestrator::cluster::{Kind, Lookup, LookupError, Object, Selector};
use orchestrator::wiring;
use serde_json::json;

use super::world::{auto, resolved, start, still, unsoaked};

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_alert_is_one_occurrence_and_others_join() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.good_then_bad("web", auto()).await?;
    let (first, second) = (world.alert("f1", "web"), world.alert("f2", "web"));
    for _ in 0..3 {
        world.fire(vec![first.clone()]).await?;
    }
    world.incident("web", "rollback_planned").await?;
    world.fire(vec![first.clone(), second.clone()]).await?;
    world.wait_occurrence("f2", &["occurrence_joined"]).await?;
    world.fire(vec![resolved(first.clone()), resolved(second)]).await?;
    world.wait_occurrence("f1", &["occurrence_opened", "occurrence_resolved"]).await?;
    let (_, incident, _) = world.incident("web", "alert_resolved").await?;
    assert_eq!(incident.resolved.len(), 2);
    // Told again by the other Alertmanager, late: nothing.
    world.fire(vec![first]).await?;
    world.fire(vec![world.alert("mark", "none")]).await?;
    world.wait_occurrence("mark", &["occurrence_dismissed"]).await?;
    assert_eq!(world.occurrence("f1").await?.len(), 2);
    assert_eq!(world.count(&subjects::facts_of_type("anomaly_detected")).await?, 1);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_as_large_as_a_message_get_their_dispositions_like_any_other() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.good_then_bad("web", auto()).await?;
    // The largest that alert-ingest takes, each a message of its own; and one that says so where a workload's name should be.
    let huge = |alert: v1::Alert, key: &str, bytes: usize| v1::Alert {
        annotations: [(key.to_owned(), "x".repeat(bytes))].into(),
        ..alert
    };
    world.fire(vec![huge(world.alert("first", "web"), "description", 920_000)]).await?;
    world.wait_occurrence("first", &["occurrence_opened"]).await?;
    world.incident("web", "rollback_planned").await?;
    world.fire(vec![huge(world.alert("second", "web"), "description", 920_000)]).await?;
    world.wait_occurrence("second", &["occurrence_joined"]).await?;
    world
        .fire(vec![huge(world.alert("third", "web"), "description", 450_000), huge(world.alert("fourth", "web"), "d", 450_000)])
        .await?;
    for fingerprint in ["third", "fourth"] {
        world.wait_occurrence(fingerprint, &["occurrence_joined"]).await?;
    }
    world.fire(vec![huge(world.alert("nowhere", "web"), "lastgood_workload", 920_000)]).await?;
    world.wait_occurrence("nowhere", &["occurrence_dismissed"]).await?;
    let filter = subjects::occurrence_filter("nowhere");
    let dismissed = world.engine.bus.last(subjects::streams::INCIDENTS, &filter).await?.expect("its disposition");
    assert!(dismissed.data.len() < 300, "{} bytes", dismissed.data.len());
    assert!(String::from_utf8_lossy(&dismissed.data).contains("(920000 bytes)`: that can't be a Kubernetes name"));
    assert!(world.engine.bus.dead_letters().await?.is_empty());
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leads_nowhere_is_dismissed_once_with_its_reason() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.deploy("a", "1", auto()).await?;
    world.deploy("b", "1", auto()).await?;
    let bare = |fingerprint: &str, labels: &[(&str, &str)]| v1::Alert {
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..world.alert(fingerprint, "none")
    };
    let namespace = world.namespace.as_str();
    let cases = [
        (bare("d1", &[]), "no_workload"),
        (world.alert("d2", "gone"), "no_workload"),
        (bare("d3", &[("namespace", namespace), ("container", "web")]), "ambiguous_workload"),
        (bare("d4", &[("lastgood_ignore", "true")]), "ignored"),
    ];
    for _ in 0..2 {
        world.fire(cases.iter().map(|(alert, _)| alert.clone()).collect()).await?;
    }
    world.fire(vec![resolved(world.alert("d5", "a"))]).await?;
    world.wait_occurrence("d5", &["occurrence_dismissed", "occurrence_resolved"]).await?;
    for (alert, reason) in cases {
        let stored =
            world.engine.bus.last(subjects::streams::INCIDENTS, &subjects::occurrence_filter(&alert.fingerprint)).await?.unwrap();
        let Ok(contracts::OccurrenceFact::OccurrenceDismissed(fact)) =
            contracts::OccurrenceFact::decode(stored.event_type(), &stored.data)
        else {
            panic!("{stored:?}")
        };
        assert_eq!(fact.reason, reason, "{}", fact.detail);
        assert_eq!(world.occurrence(&alert.fingerprint).await?.len(), 1);
    }
    assert_eq!(world.count(&subjects::facts_of_type("anomaly_detected")).await?, 0);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_that_we_restored_opens_no_incident() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.good_then_bad("web", json!({})).await?;
    world.fire(vec![world.alert("f1", "web")]).await?;
    let (subject, incident, _) = world.incident("web", "notification_requested").await?;
    let reason = incident.notices.values().next().unwrap().request.reason.clone();
    let delivered =
        Command::RecordDelivery { audience: v1::Audience::OnCall, reason, channel: "test".into(), dedup_key: "k".into() };
    let now = world.engine.clock.now();
    world.engine.incidents.execute(&subject, None, &delivered, now).await?;
    world.incident("web", "incident_closed").await?;
    // As the executor would leave it.
    let hash = world.hash("web").await?;
    world.annotate("web", json!({"lastgood.dev/incident": subject.incident.to_string(), "lastgood.dev/template": hash})).await?;
    world.fire(vec![world.alert("f1", "web"), world.alert("f2", "web")]).await?;
    world.wait_occurrence("f2", &["occurrence_joined"]).await?;
    assert_eq!(world.occurrence("f1").await?, ["occurrence_opened"]);
    assert_eq!(world.count(&subjects::facts_of_type("anomaly_detected")).await?, 1);
    // A person's next version is another matter.
    world.deploy("web", "3", json!({})).await?;
    world.wait_ledger("web", false).await?;
    world.fire(vec![world.alert("f3", "web")]).await?;
    world.wait_occurrence("f3", &["occurrence_opened"]).await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_prometheus_saw_end_can_open_again() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.good_then_bad("web", auto()).await?;
    world.fire(vec![world.alert("f1", "web")]).await?;
    let (subject, _, _) = world.incident("web", "rollback_planned").await?;
    let seen = v1::AlertResolved { fingerprint: "f1".into(), seen_by: "prometheus".into(), ends_at: None };
    world.engine.incidents.execute(&subject, None, &Command::ResolveAlert(seen), world.engine.clock.now()).await?;
    world.wait_occurrence("f1", &["occurrence_opened", "occurrence_resolved"]).await?;
    world.fire(vec![world.alert("f1", "web")]).await?;
    world.wait_occurrence("f1", &["occurrence_opened", "occurrence_resolved", "occurrence_joined"]).await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_whose_end_nobody_told_opens_again_for_the_next_version_only() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.good_then_bad("web", json!({})).await?;
    world.fire(vec![world.alert("f1", "web")]).await?;
    let (subject, incident, _) = world.incident("web", "notification_requested").await?;
    let reason = incident.notices.values().next().unwrap().request.reason.clone();
    let delivered =
        Command::RecordDelivery { audience: v1::Audience::OnCall, reason, channel: "test".into(), dedup_key: "k".into() };
    world.engine.incidents.execute(&subject, None, &delivered, world.engine.clock.now()).await?;
    world.incident("web", "incident_closed").await?;
    // The same version, and a start that moved: what goes on, goes on.
    world.fire(vec![world.alert("f1", "web"), world.alert("mark", "none")]).await?;
    world.wait_occurrence("mark", &["occurrence_dismissed"]).await?;
    assert_eq!(world.occurrence("f1").await?, ["occurrence_opened"]);
    // The next version fails in the same way; the alert had been silenced while it ended.
    world.deploy("web", "3", json!({})).await?;
    world.wait_ledger("web", false).await?;
    world.fire(vec![world.alert("f1", "web")]).await?;
    world.wait_occurrence("f1", &["occurrence_opened", "occurrence_resolved", "occurrence_opened"]).await?;
    assert_eq!(world.count(&subjects::facts_of_type("anomaly_detected")).await?, 2);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dismissed_alert_whose_end_nobody_told_is_looked_at_again_when_it_fires_anew() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    let early = world.alert("f1", "web");
    world.fire(vec![early.clone()]).await?;
    world.wait_occurrence("f1", &["occurrence_dismissed"]).await?;
    world.good_then_bad("web", auto()).await?;
    // It goes on: it has its disposition.
    world.fire(vec![early, world.alert("mark", "none")]).await?;
    world.wait_occurrence("mark", &["occurrence_dismissed"]).await?;
    assert_eq!(world.occurrence("f1").await?, ["occurrence_dismissed"]);
    // It had been silenced while it ended.
    world.fire(vec![world.alert("f1", "web")]).await?;
    world.wait_occurrence("f1", &["occurrence_dismissed", "occurrence_resolved", "occurrence_opened"]).await?;
    world.incident("web", "rollback_planned").await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_after_a_quiet_incident_an_alert_opens_another_and_rolls_nothing_back() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.good_then_bad("web", json!({})).await?;
    let first = world.alert("f1", "web");
    world.fire(vec![first.clone()]).await?;
    let (subject, incident, _) = world.incident("web", "notification_requested").await?;
    let reason = incident.notices.values().next().unwrap().request.reason.clone();
    let delivered =
        Command::RecordDelivery { audience: v1::Audience::OnCall, reason, channel: "test".into(), dedup_key: "k".into() };
    world.engine.incidents.execute(&subject, None, &delivered, world.engine.clock.now()).await?;
    let (_, closed, _) = world.incident("web", "incident_closed").await?;
    world.fire(vec![resolved(first)]).await?;
    world.wait_occurrence("f1", &["occurrence_opened", "occurrence_resolved"]).await?;
    // As the executor would leave it.
    let (id, hash) = (subject.incident.to_string(), world.hash("web").await?);
    let marks = json!({"lastgood.dev/mode": "auto", "lastgood.dev/incident": id, "lastgood.dev/template": hash});
    world.annotate("web", marks).await?;
    let since_the_close = |fingerprint: &str, minutes: i64| {
        let at = closed.closed.as_ref().unwrap().at + jiff::SignedDuration::from_mins(minutes);
        v1::Alert { starts_at: Some(contracts::time::to_proto(at)), ..world.alert(fingerprint, "web") }
    };
    world.fire(vec![since_the_close("later", 120)]).await?;
    world.wait_occurrence("later", &["occurrence_opened"]).await?;
    let (another, incident, facts) = world.incident("web", "rollback_halted").await?;
    assert_ne!(another.incident, subject.incident);
    assert_eq!(incident.halted.unwrap().reason, "no_recent_change");
    assert!(!facts.iter().any(|fact| fact == "rollback_planned"), "{facts:?}");
    world.end().await
}

/// A cluster whose answer to the next look at a Deployment is as old as it was put here.
struct Stale {
    live: Arc<dyn Lookup>,
    seen: Mutex<Option<Object>>,
}

#[async_trait]
impl Lookup for Stale {
    async fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<Object>, LookupError> {
        let seen = if kind == Kind::Deployment { self.seen.lock().unwrap_or_else(PoisonError::into_inner).take() } else { None };
        if seen.is_some() { Ok(seen) } else { self.live.get(kind, namespace, name).await }
    }

    async fn list(&self, kind: Kind, namespace: &str, selector: &Selector) -> Result<Vec<Object>, LookupError> {
        self.live.list(kind, namespace, selector).await
    }
}

/// Found by model checking: an alert followed to the workload before a rollback, and settled after its incident.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_before_a_rollback_opens_no_incident_after_it() -> anyhow::Result<()> {
    let mut world = still(unsoaked()).await?;
    world.watch(&world.life);
    let stale = Arc::new(Stale { live: Arc::clone(&world.engine.cluster), seen: Mutex::default() });
    world.engine.cluster = Arc::clone(&stale) as Arc<dyn Lookup>;
    wiring::consume(&world.engine, &world.life);
    world.good_then_bad("web", auto()).await?;
    let before = world.engine.cluster.get(Kind::Deployment, &world.namespace, "web").await?;
    world.fire(vec![world.alert("f1", "web")]).await?;
    let (subject, incident, _) = world.incident("web", "rollback_planned").await?;
    let (_, plan) = incident.plan.clone().unwrap();
    let hash = |version: Option<v1::Version>| version.unwrap_or_default().template_hash;
    let intent = v1::RollbackStarted {
        attempt: 1,
        workload_uid: plan.workload_uid,
        workload_generation: before.as_ref().unwrap().generation(),
        template_hash: hash(plan.from),
        target_template_hash: hash(plan.to.clone()),
        ..v1::RollbackStarted::default()
    };
    let now = world.engine.clock.now();
    world.engine.incidents.execute(&subject, None, &Command::StartAttempt(intent), now).await?;
    // As the executor would leave it.
    let stamp = json!({"lastgood.dev/mode": "auto", "lastgood.dev/incident": subject.incident.to_string(),
        "lastgood.dev/template": hash(plan.to)});
    world.deploy("web", "1", stamp).await?;
    let failed = v1::RollbackFailed { attempt: 1, reason: "pods_not_ready".into(), ..v1::RollbackFailed::default() };
    world.engine.incidents.execute(&subject, None, &Command::Fail(failed), now).await?;
    let acknowledged = v1::PersonActed { action: v1::Action::Acknowledge.into(), ..v1::PersonActed::default() };
    world.engine.incidents.execute(&subject, None, &Command::PersonAct(acknowledged), now).await?;
    world.close("web").await?;
    *stale.seen.lock().unwrap() = before;
    world.fire(vec![world.alert("f2", "web")]).await?;
    world.wait_occurrence("f2", &["occurrence_joined"]).await?;
    assert!(stale.seen.lock().unwrap().is_none(), "the alert was followed to what ran before");
    assert_eq!(world.count(&subjects::facts_of_type("anomaly_detected")).await?, 1);
    world.end().await
}
