//! Policies, as custom resources and as a file: each rule refuses with its reason, and what was made of each policy is said in its status.

use contracts::subjects;
use contracts::v1;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt as _};
use lastgood_core::incident::Command;
use lastgood_core::policy::{Limits, Origin, read};
use orchestrator::config::Settings;
use orchestrator::policy::{check, crd, watch};
use orchestrator::wiring;
use serde_json::{Value, json};
use testbed::wait::until;

use super::world::{DEADLINE, World, auto, still, unsoaked};

impl World {
    /// Defines the custom resources, and waits until they are served.
    async fn define_policies(&self) -> anyhow::Result<()> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"));
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        for definition in crd::definitions() {
            let object: DynamicObject = serde_json::from_value(definition)?;
            if api.get_opt(&object.name_any()).await?.is_none() {
                api.create(&PostParams::default(), &object).await?;
            }
        }
        until("the custom resources", DEADLINE, async || {
            let listed = self.policies("RollbackPolicy").list(&kube::api::ListParams::default()).await;
            listed.map(drop).map_err(|error| error.to_string())
        })
        .await?;
        Ok(())
    }

    fn policies(&self, kind: &str) -> Api<DynamicObject> {
        match kind {
            "RollbackPolicy" => Api::namespaced_with(self.client.clone(), &self.namespace, &watch::resource(kind)),
            _ => Api::all_with(self.client.clone(), &watch::resource(kind)),
        }
    }

    /// Stores a policy of the namespace.
    async fn policy(&self, name: &str, spec: Value) -> anyhow::Result<()> {
        let document = json!({"apiVersion": "lastgood.dev/v1alpha1", "kind": "RollbackPolicy",
            "metadata": {"name": name, "namespace": self.namespace}, "spec": spec});
        self.policies("RollbackPolicy").create(&PostParams::default(), &serde_json::from_value(document)?).await?;
        Ok(())
    }

    /// Waits until the orchestrator knows exactly so many policies.
    async fn wait_policies(&self, count: usize) -> anyhow::Result<()> {
        until("the policies", DEADLINE, async || {
            let (index, now) = (self.engine.policies.now(), self.engine.policies.now().policies().count());
            if index.is_read() && now == count { Ok(()) } else { Err(format!("{now} policies")) }
        })
        .await?;
        Ok(())
    }

    async fn status(&self, name: &str, is: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let found = until("the status", DEADLINE, async || {
            let object = self.policies("RollbackPolicy").get(name).await.map_err(|error| error.to_string())?;
            let status = object.data.get("status").cloned().unwrap_or_default();
            if is(&status) { Ok(status) } else { Err(status.to_string()) }
        });
        Ok(found.await?)
    }

    /// The reason with which the newest incident of a workload halted, and its words.
    async fn halted(&self, name: &str) -> anyhow::Result<(String, String)> {
        let (_, incident, _) = self.incident(name, "rollback_halted").await?;
        let halted = incident.halted.unwrap_or_default();
        Ok((halted.reason, halted.detail))
    }
}

/// A world in which policies are heard of before anything is decided.
async fn hearing(settings: Settings, defined: bool) -> anyhow::Result<World> {
    let world = still(settings).await?;
    if defined {
        world.define_policies().await?;
    }
    world.engine.policies.change(|index| *index = index.clone().awaiting_resources());
    world.run(&world.life);
    wiring::policies(&world.engine, &world.client, &world.life, || ());
    Ok(world)
}

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
        ..v1::RollbackStarted::default()
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

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_what_is_governed_and_what_is_wrong_and_nothing_else_is_written() -> anyhow::Result<()> {
    let world = hearing(unsoaked(), true).await?;
    world.policy("web", json!({"mode": "observe", "workloads": {"names": ["web"]}})).await?;
    world.policy("typo", json!({"mode": "fast", "soak": "soon"})).await?;
    world.good_then_bad("web", auto()).await?;
    world.wait_policies(2).await?;
    let good = world.status("web", |status| status["governs"] == 1).await?;
    assert_eq!(good["workloads"], json!([format!("{}/deployment/web", world.namespace)]));
    assert_eq!((good["problem"].as_str(), good["conditions"][0]["status"].as_str()), (Some(""), Some("True")));
    let bad = world.status("typo", |status| status["problems"].as_array().is_some_and(|problems| problems.len() == 2)).await?;
    assert!(bad["problem"].as_str().is_some_and(|text| text.starts_with("spec.mode: \"fast\" is none of")), "{bad}");
    assert_eq!(bad["conditions"][0]["status"], "False");
    // Told again by its own change, it finds nothing new to say.
    let version = world.policies("RollbackPolicy").get("web").await?.resource_version();
    world.policy("more", json!({})).await?;
    world.status("more", |status| status["observedGeneration"] == 1).await?;
    assert_eq!(world.policies("RollbackPolicy").get("web").await?.resource_version(), version);
    world.fire(vec![world.alert("f1", "web")]).await?;
    assert_eq!(world.halted("web").await?.0, "observe_mode");
    if let Some(sim) = &world.sim {
        let ours = sim.journal().into_iter().filter(|entry| entry.method == "PATCH" && entry.path.contains("lastgood.dev"));
        assert!(ours.clone().count() > 0 && ours.clone().all(|entry| entry.path.ends_with("/status") && entry.status == 200));
        let others = sim.journal().into_iter().filter(|entry| entry.path.contains("deployments"));
        // Two deploys by the test itself, and nothing by the orchestrator.
        assert_eq!(others.count(), 2);
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_custom_resources_a_file_says_it_and_they_may_come_later() -> anyhow::Result<()> {
    let world = hearing(unsoaked(), false).await?;
    world.wait_policies(0).await?;
    let document = json!({"apiVersion": "lastgood.dev/v1alpha1", "kind": "RollbackPolicy",
        "metadata": {"name": "file", "namespace": world.namespace}, "spec": {"mode": "auto"}});
    let file = read(&document, Origin::File, &Limits::default()).expect("a policy");
    world.engine.policies.change(|index| index.put(file));
    world.good_then_bad("web", json!({})).await?;
    world.fire(vec![world.alert("f1", "web")]).await?;
    world.incident("web", "rollback_planned").await?;
    if world.sim.is_some() {
        world.define_policies().await?;
        world.policy("later", json!({"mode": "observe", "priority": 1})).await?;
        world.wait_policies(2).await?;
        world.policies("RollbackPolicy").delete("later", &DeleteParams::default()).await?;
        world.wait_policies(1).await?;
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_decided_before_the_policies_are_known() -> anyhow::Result<()> {
    let world = still(unsoaked()).await?;
    world.define_policies().await?;
    world.run(&world.life);
    world.policy("all", json!({"mode": "observe", "priority": 9})).await?;
    world.good_then_bad("web", json!({})).await?;
    world.engine.policies.change(|index| *index = index.clone().awaiting_resources());
    world.fire(vec![world.alert("f1", "web")]).await?;
    world.fire(vec![world.alert("nowhere", "gone")]).await?;
    world.wait_occurrence("nowhere", &["occurrence_dismissed"]).await?;
    assert!(world.occurrence("f1").await?.is_empty(), "a policy that is not known yet may not count it");
    wiring::policies(&world.engine, &world.client, &world.life, || ());
    assert_eq!(world.halted("web").await?.0, "observe_mode");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_explained_against_the_cluster() -> anyhow::Result<()> {
    let world = hearing(unsoaked(), true).await?;
    world.policy("web", json!({"mode": "observe"})).await?;
    world.deploy("web", "1", json!({})).await?;
    world.deploy("api", "1", json!({"lastgood.dev/mode": "approve"})).await?;
    let text = format!(
        "apiVersion: lastgood.dev/v1alpha1\nkind: RollbackPolicy\nmetadata: {{name: web, namespace: {}}}\nspec: {{mode: auto}}\n",
        world.namespace
    );
    let report = check::check_against(&world.client, &text, &unsoaked(), world.engine.clock.now()).await?;
    assert!(report.is_good() && report.documents[0].governs == Some(2), "{report}");
    let said = report.to_string();
    assert!(said.contains(&format!("{}/deployment/web: auto (now observe): RollbackPolicy", world.namespace)), "{said}");
    assert!(said.contains(&format!("{}/deployment/api: approve: its annotation", world.namespace)), "{said}");
    world.end().await
}
