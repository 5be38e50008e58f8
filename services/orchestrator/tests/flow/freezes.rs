//! A freeze window that begins while a plan waits: what it would let begin halts.

use lastgood_core::incident::{Phase, Refusal};
use lastgood_core::policy::{Limits, Origin, Policy, read};
use orchestrator::person::{self, PersonError, Word};
use serde_json::{Value, json};
use testbed::wait::until;

use super::world::{DEADLINE, Now as _, World, start, unsoaked};

impl World {
    /// The policy of the namespace, from now on.
    fn rule(&self, spec: &Value) {
        let document = json!({"apiVersion": "lastgood.dev/v1alpha1", "kind": "RollbackPolicy",
            "metadata": {"name": "all", "namespace": self.namespace}, "spec": spec});
        let policy: Policy = read(&document, Origin::File, &Limits::default()).expect("a policy");
        self.engine.policies.change(|index| index.put(policy));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grace_period_that_ends_in_a_freeze_window_begins_nothing() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    let mut spec = json!({"mode": "auto", "gracePeriod": "3s", "budgets": {"namespaceConcurrent": 1}});
    world.rule(&spec);
    world.good_then_bad("web", json!({})).await?;
    world.fire(vec![world.alert("f1", "web")]).await?;
    let (subject, incident, _) = world.incident("web", "rollback_planned").await?;
    assert_eq!(incident.phase(), Phase::InGrace);
    spec["freeze"] = json!([{"reason": "peak season", "from": "2020-01-01T00:00:00Z", "until": "2090-01-01T00:00:00Z"}]);
    world.rule(&spec);
    let (_, incident, facts) = world.incident("web", "rollback_halted").await?;
    let halted = incident.halted.expect("waited for");
    assert_eq!(halted.reason, "frozen", "{halted:?}");
    assert!(halted.detail.starts_with("peak season, until 2090-01-01T00:00:00Z"), "{}", halted.detail);
    assert!(!halted.would_do.is_empty() && facts.iter().any(|fact| fact == "deadline_passed"), "{facts:?}");
    until("the budget's return", DEADLINE, async || {
        let spent = world.engine.budgets.load("test").await.map_err(|error| error.to_string())?;
        if spent.holds(&subject.incident.to_string()) { Err("held".to_owned()) } else { Ok(()) }
    })
    .await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_waited_for_until_the_freeze_window_begins_and_taken_no_longer() -> anyhow::Result<()> {
    let world = start(unsoaked()).await?;
    world.good_then_bad("web", json!({})).await?;
    let begins = jiff::Timestamp::now_for_tests() + jiff::SignedDuration::from_secs(6);
    world.rule(&json!({"mode": "approve", "approval": {"within": "10m", "onTimeout": "Proceed"},
        "freeze": [{"reason": "peak season", "from": begins.to_string(), "until": "2090-01-01T00:00:00Z"}]}));
    world.fire(vec![world.alert("f1", "web")]).await?;
    let (subject, incident, _) = world.incident("web", "rollback_planned").await?;
    assert_eq!(incident.phase(), Phase::AwaitingApproval);
    let ends = lastgood_core::incident::approvable_until(&incident).expect("an end");
    assert!(ends.duration_since(begins).abs() < jiff::SignedDuration::from_secs(5), "{ends} is not about {begins}");
    let (_, incident, _) = world.incident("web", "rollback_halted").await?;
    let halted = incident.halted.expect("waited for");
    assert_eq!(halted.reason, "frozen", "silence is no yes to a rollback in a freeze window: {halted:?}");
    let yes = Word { who: "ann".into(), via: "command".into(), note: String::new() };
    let late = person::approve(&world.engine.incidents, subject.incident, &yes, world.engine.clock.now()).await;
    assert!(matches!(late, Err(PersonError::Refused(Refusal::NothingToApprove { .. }))), "{late:?}");
    world.end().await
}
