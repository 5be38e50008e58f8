//! Versions prove themselves by standing, fail to, are spoken of by people, and are forgotten in the end.

use std::time::Duration;

use contracts::subjects::{self, streams};
use contracts::{LedgerFact, v1};
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use lastgood_core::ledger::Standing;
use orchestrator::config::Settings;
use orchestrator::ledger::LedgerView;
use testbed::wait::until;

use super::world::{DEADLINE, World, auto, start, unsoaked};

const SOAK: Duration = Duration::from_secs(2);

fn soaking() -> Settings {
    Settings { soak: SOAK, ..Settings::default() }
}

/// Waits until the current version of a workload has this standing.
async fn stands(world: &World, name: &str, standing: &str) -> anyhow::Result<LedgerView> {
    let hash = world.hash(name).await?;
    let what = format!("{name} to be {standing}");
    let view = until(&what, DEADLINE, async || {
        let view = world.engine.store.load(&world.workload(name)).await.map_err(|error| error.to_string())?;
        let seen = view.known(&hash).map(|known| known.standing(SOAK)).ok_or("not seen yet")?;
        if seen.word() == standing { Ok(view) } else { Err(format!("{seen:?}")) }
    });
    Ok(view.await?)
}

/// A version that is good.
async fn good(world: &World, name: &str, version: &str) -> anyhow::Result<()> {
    world.deploy(name, version, auto()).await?;
    stands(world, name, "good").await?;
    Ok(())
}

/// What the plan of the workload's incident restores, by the value of its environment variable.
async fn restored(world: &World, name: &str) -> anyhow::Result<String> {
    let (_, incident, _) = world.incident(name, "rollback_planned").await?;
    let (_, plan) = incident.plan.expect("waited for");
    let template: serde_json::Value = serde_json::from_slice(&plan.template_json)?;
    Ok(template["spec"]["containers"][0]["env"][0]["value"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_good_after_its_soak_though_nothing_happens_at_its_end() -> anyhow::Result<()> {
    let world = start(soaking()).await?;
    good(&world, "web", "1").await?;
    let view = stands(&world, "web", "good").await?;
    let known = view.known(&world.hash("web").await?).unwrap();
    let soaked = known.soaked.unwrap();
    assert!(soaked.stood >= SOAK && soaked.replicas == 1 && soaked.restarts == 0, "{soaked:?}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_good_one_before_is_restored_where_the_previous_one_never_proved_itself() -> anyhow::Result<()> {
    let world = start(soaking()).await?;
    good(&world, "web", "1").await?;
    world.deploy("web", "2", auto()).await?;
    world.wait_ledger("web", true).await?;
    world.deploy("web", "3", auto()).await?;
    world.wait_ledger("web", false).await?;
    world.fire(vec![world.alert("f1", "web")]).await?;
    assert_eq!(restored(&world, "web").await?, "1");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_proves_itself_while_an_alert_goes_on() -> anyhow::Result<()> {
    let world = start(soaking()).await?;
    world.deploy("web", "1", auto()).await?;
    world.wait_ledger("web", true).await?;
    world.fire(vec![world.alert("f1", "web")]).await?;
    world.incident("web", "rollback_halted").await?;
    let hash = world.hash("web").await?;
    let view = until("the trouble to be noted", DEADLINE, async || {
        let view = world.engine.store.load(&world.workload("web")).await.map_err(|error| error.to_string())?;
        let known = view.known(&hash).ok_or("not seen yet")?;
        if known.troubles.is_empty() { Err("no trouble".to_owned()) } else { Ok(view) }
    });
    let view = view.await?;
    let known = view.known(&hash).unwrap();
    assert_eq!((known.troubles.len(), known.troubles[0].detail.as_str()), (1, "Bad"));
    assert!(known.soaked.is_none() && known.clean_since.is_none(), "{known:?}");
    let Standing::Unknown(why) = known.standing(SOAK) else { panic!("{known:?}") };
    assert!(why.contains("alert: Bad"), "{why}");
    world.fire(vec![super::world::resolved(world.alert("f1", "web"))]).await?;
    world.close("web").await?;
    stands(&world, "web", "good").await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_word_makes_a_target_and_takes_one_away() -> anyhow::Result<()> {
    let world = start(soaking()).await?;
    good(&world, "web", "1").await?;
    world.deploy("web", "2", auto()).await?;
    let second = world.wait_ledger("web", true).await?.current_hash().cloned().unwrap();
    world.deploy("web", "3", auto()).await?;
    let view = world.wait_ledger("web", false).await?;
    let standing = v1::Standing::Good.into();
    let mark = v1::VersionMarked { template_hash: second, standing, who: "ann".into(), reason: "ran for a year".into() };
    world.engine.store.append(&world.workload("web"), &view, &[mark.into()]).await?;
    world.fire(vec![world.alert("f1", "web")]).await?;
    assert_eq!(restored(&world, "web").await?, "2");
    let (_, incident, _) = world.incident("web", "previous_version_found").await?;
    assert!(incident.target.unwrap().evidence.contains("ann said so"));
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_somebody_deleted_is_known_all_the_same() -> anyhow::Result<()> {
    let world = start(soaking()).await?;
    good(&world, "web", "1").await?;
    world.deploy("web", "2", auto()).await?;
    world.wait_ledger("web", true).await?;
    let sets: Api<ReplicaSet> = Api::namespaced(world.client.clone(), &world.namespace);
    for set in sets.list(&ListParams::default().labels("app=web,version=1")).await? {
        sets.delete(&set.metadata.name.unwrap_or_default(), &DeleteParams::default()).await?;
    }
    world.fire(vec![world.alert("f1", "web")]).await?;
    assert_eq!(restored(&world, "web").await?, "1");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_versions_are_let_go_and_what_runs_is_known_after_a_restart() -> anyhow::Result<()> {
    let world = start(Settings { keep_versions: 4, ..unsoaked() }).await?;
    for version in 1..=9 {
        world.deploy("web", &version.to_string(), auto()).await?;
        world.wait_ledger("web", true).await?;
    }
    let filter = subjects::ledger_filter(&world.workload("web"));
    let kept = until("the ledger to be compacted", DEADLINE, async || {
        let stored = world.engine.bus.read(streams::LEDGER, &filter, 1, None).await.map_err(|error| error.to_string())?;
        let kept = stored.iter().filter(|message| message.event_type() == "version_kept").count();
        if kept > 0 { Ok(stored) } else { Err(format!("{} facts", stored.len())) }
    });
    let stored = kept.await?;
    let facts = stored.iter().map(|message| LedgerFact::decode(message.event_type(), &message.data));
    assert!(facts.into_iter().all(|fact| fact.is_ok()));
    let view = world.engine.store.load(&world.workload("web")).await?;
    assert!(view.ledger.versions.len() <= 6 && view.facts < 16, "{} versions, {} facts", view.ledger.versions.len(), view.facts);
    assert_eq!(view.current_hash(), Some(&world.hash("web").await?));
    world.fire(vec![world.alert("f1", "web")]).await?;
    assert_eq!(restored(&world, "web").await?, "8");
    world.end().await
}
