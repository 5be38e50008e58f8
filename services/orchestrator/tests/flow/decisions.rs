//! From an alert to a plan, or to the reason why there is none.

use contracts::v1::PauseSwitched;
use contracts::{Fact, subjects};
use futures::StreamExt as _;
use lastgood_core::incident::Command;
use orchestrator::ledger::Scope;
use serde_json::json;

use super::world::{auto, start, still, unsoaked};

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_deploy_is_planned_back_to_the_version_that_was_seen_healthy() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.service("web", json!({"app": "web", "version": "2"})).await?;
    world.good_then_bad("web", auto()).await?;
    world.fire(vec![world.alert("f1", "web")]).await?;
    let (_, incident, facts) = world.incident("web", "rollback_planned").await?;
    assert_eq!(facts, ["anomaly_detected", "current_version_identified", "previous_version_found", "rollback_planned"]);
    let (_, plan) = incident.plan.clone().unwrap();
    let template: serde_json::Value = serde_json::from_slice(&plan.template_json)?;
    assert_eq!(template["spec"]["containers"][0]["env"][0]["value"], "1");
    assert!(plan.diff.contains("env[V].value: 2 → 1"), "{}", plan.diff);
    assert_eq!(plan.service_switches.len(), 1);
    assert_eq!(plan.service_switches[0].shared_selector.get("app").map(String::as_str), Some("web"));
    world.wait_occurrence("f1", &["occurrence_opened"]).await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_speaks_against_it_halts_with_its_reason() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.deploy("fresh", "1", auto()).await?;
    world.good_then_bad("shy", json!({})).await?;
    world.good_then_bad("held", auto()).await?;
    world.wait_ledger("fresh", false).await?;
    world.fire(vec![world.alert("a", "fresh"), world.alert("b", "shy")]).await?;
    for (name, reason) in [("fresh", "previous_version_missing"), ("shy", "observe_mode")] {
        let (_, incident, facts) = world.incident(name, "rollback_halted").await?;
        assert_eq!(incident.halted.as_ref().unwrap().reason, reason);
        assert_eq!(facts.last().unwrap(), "notification_requested");
    }
    let (_, shy, _) = world.incident("shy", "rollback_halted").await?;
    assert!(shy.halted.unwrap().would_do.contains("roll back from"), "what would have been done is said");
    let pause = |paused| PauseSwitched { paused, who: "test".into(), reason: "migration".into(), ..PauseSwitched::default() };
    let cluster = Scope::cluster("test");
    assert!(world.engine.store.set_switch(&cluster, &pause(true)).await?);
    assert!(!world.engine.store.set_switch(&cluster, &pause(true)).await?);
    world.fire(vec![world.alert("c", "held")]).await?;
    let (_, held, _) = world.incident("held", "rollback_halted").await?;
    assert_eq!(held.halted.unwrap().reason, "paused");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_namespace_holds_its_own_workloads_and_no_others() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    for name in ["held", "free"] {
        world.good_then_bad(name, auto()).await?;
    }
    let pause = |paused| PauseSwitched { paused, who: "ann".into(), reason: "migration".into(), ..PauseSwitched::default() };
    let (own, other) = (Scope::namespace("test", &world.namespace), Scope::namespace("test", "elsewhere"));
    assert!(world.engine.store.set_switch(&own, &pause(true)).await?);
    assert!(world.engine.store.set_switch(&other, &pause(true)).await?);
    world.fire(vec![world.alert("a", "held")]).await?;
    let (_, held, _) = world.incident("held", "rollback_halted").await?;
    let halted = held.halted.unwrap();
    assert!(halted.reason == "paused" && halted.detail.contains(&world.namespace), "{}", halted.detail);
    assert!(world.engine.store.set_switch(&own, &pause(false)).await?, "the other one stays paused");
    world.fire(vec![world.alert("b", "free")]).await?;
    world.incident("free", "rollback_planned").await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_about_the_replaced_versions_pod_rolls_no_repair_back() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.good_then_bad("web", auto()).await?;
    let everything = orchestrator::cluster::Selector::everything();
    let sets = world.engine.cluster.list(orchestrator::cluster::Kind::ReplicaSet, &world.namespace, &everything).await?;
    let of = |version: &str| {
        let runs = |set: &&orchestrator::cluster::Object| set.template_labels().get("version").is_some_and(|v| v == version);
        sets.iter().find(runs).map(|set| format!("{}-gone1", set.name())).unwrap()
    };
    let mut alert = world.alert("f1", "unused");
    alert.labels.remove("deployment");
    alert.labels.insert("pod".into(), of("1"));
    world.fire(vec![alert]).await?;
    let (_, incident, _) = world.incident("web", "rollback_halted").await?;
    assert_eq!(incident.halted.unwrap().reason, "no_recent_change");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_failing_workloads_are_no_single_bad_deploy() -> anyhow::Result<()> {
    let mut settings = unsoaked();
    settings.mass_failure.workloads = 3;
    let world = start(settings).await?;
    for name in ["one", "two", "three"] {
        world.good_then_bad(name, auto()).await?;
    }
    for (name, wanted) in [("one", "rollback_planned"), ("two", "rollback_planned"), ("three", "rollback_halted")] {
        world.fire(vec![world.alert(name, name)]).await?;
        let (_, incident, _) = world.incident(name, wanted).await?;
        assert!(incident.halted.is_none_or(|halted| halted.reason == "mass_failure"));
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_api_server_delays_and_dismisses_nothing() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    let Some(sim) = &world.sim else {
        eprintln!("not run on a real cluster: its API server is not ours to stop");
        return world.end().await;
    };
    world.good_then_bad("web", auto()).await?;
    sim.set_available(false);
    world.fire(vec![world.alert("f1", "web")]).await?;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert!(world.occurrence("f1").await?.is_empty());
    sim.set_available(true);
    world.incident("web", "rollback_planned").await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_that_only_opened_is_resumed() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.good_then_bad("web", auto()).await?;
    let subject = contracts::IncidentSubject { workload: world.workload("web"), incident: world.engine.bus.ids().incident() };
    let trigger = Some(orchestrator::occurrences::occurrence("alertmanager", &world.alert("f1", "web")));
    let opening = contracts::v1::AnomalyDetected { trigger, ..Default::default() };
    world.engine.incidents.append(&subject, 0, &[Fact::from(opening)]).await?;
    let (_, _, facts) = world.incident("web", "rollback_planned").await?;
    assert_eq!(facts.len(), 4, "{facts:?}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_thread_announced_meanwhile_does_not_hold_the_decision_up() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.good_then_bad("web", auto()).await?;
    let mut openings = world.engine.bus.client().expect("NATS").subscribe(subjects::facts_of_type("anomaly_detected")).await?;
    let (incidents, clock) = (world.engine.incidents.clone(), world.engine.clock.clone());
    let notifier = tokio::spawn(tokio::time::timeout(super::world::DEADLINE, async move {
        let opening = openings.next().await.expect("an opening");
        let (subject, _) = contracts::IncidentSubject::parse(&opening.subject).expect("an incident's subject");
        let announce = Command::Announce(contracts::v1::Announced { channel: "C".into(), thread: "1".into() });
        // Heard before it is stored: at once when it is, which is before the decision.
        while incidents.execute(&subject, None, &announce, clock.now()).await.is_err() {}
    }));
    world.fire(vec![world.alert("f1", "web")]).await?;
    let (subject, _, facts) = world.incident("web", "rollback_planned").await?;
    notifier.await??;
    let recorded = world.engine.incidents.load(&subject, None).await?.facts;
    let at = |wanted: &str| recorded.iter().find(|recorded| recorded.fact.event_type() == wanted).map(|recorded| recorded.at);
    let took = at("rollback_planned").unwrap().duration_since(at("anomaly_detected").unwrap());
    assert!(took < jiff::SignedDuration::from_secs(1), "{took:#} {facts:?}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_open_one_incident() -> anyhow::Result<()> {
    let world = still(unsoaked()).await?;
    let lives = [world.life.clone(), chassis::Lifecycle::default()];
    for life in &lives {
        world.run(life);
    }
    world.good_then_bad("web", auto()).await?;
    for index in 0..40 {
        world.fire(vec![world.alert(&format!("f{}", index % 20), "web")]).await?;
    }
    world.incident("web", "rollback_planned").await?;
    for index in 0..20 {
        let joined_or_opened = testbed::wait::until("a disposition", super::world::DEADLINE, async || {
            world.occurrence(&format!("f{index}")).await.ok().filter(|facts| facts.len() == 1)
        });
        joined_or_opened.await?;
    }
    assert_eq!(world.count(&subjects::facts_of_type("anomaly_detected")).await?, 1);
    lives[1].stop();
    world.end().await
}
