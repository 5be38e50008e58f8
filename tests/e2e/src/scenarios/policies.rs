//! Policies as custom resources, with the definitions as they are shipped.

use anyhow::{Context as _, Result, ensure};
use contracts::v1::Outcome;
use serde_json::{Value, json};
use testbed::app::{App, AppOptions};
use testbed::tools::workspace;
use testbed::wait::until;
use testbed::world::World;

use crate::expect::{ROLLOUT, SOON, break_with, closes, opens, proved_again, runs};

fn policy(app: &App, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "lastgood.dev/v1alpha1", "kind": "RollbackPolicy",
        "metadata": {"name": name, "namespace": app.namespace}, "spec": spec})
}

/// An API server as old as 1.20 that was built with Go 1.18 or newer ends with a fault at the first custom resource that it decodes, whatever it
/// is (its reflect2 1.0.1 reads maps as older Go had them): it can be asked about the definitions alone.
async fn dies_of_custom_resources(world: &World) -> Result<bool> {
    let version = world.client.apiserver_version().await.context("the API server's version")?;
    let number = |part: &str| part.trim_end_matches('+').parse::<u32>().unwrap_or(u32::MAX);
    Ok((number(&version.major), number(&version.minor)) <= (1, 20))
}

/// A workload without any annotation is rolled back because its namespace's policy says so; `kubectl` shows what the policy governs, and what
/// is wrong with another one is refused by the server, or told by its status where the server doesn't check.
pub async fn a_custom_resource_allows_the_rollback(world: &World) -> Result<()> {
    let definitions = workspace()?.join("charts/manifests/crds.yaml").display().to_string();
    // Servers before 1.25 don't know of CEL rules, and kubectl takes that for a mistake of ours.
    let apply = ["apply", "--validate=false", "-f", &definitions];
    if dies_of_custom_resources(world).await? {
        world.kubectl(&[&apply[..], &["--dry-run=server"]].concat()).await?;
        return Ok(());
    }
    world.kubectl(&apply).await?;
    // The simulated cluster has no schema that kubectl could check by.
    let unchecked: &[&str] = if world.ground.simulated().is_some() { &["--validate=false"] } else { &[] };
    let app = world.app("governed", AppOptions { mode: None, ..AppOptions::default() }).await?;
    app.deploy("v1").await?;
    let served = || async {
        world.apply(&policy(&app, "web", &json!({"mode": "auto"})), unchecked).await.map_err(|error| error.to_string())
    };
    until("the custom resources being served", SOON, served).await?;
    app.available(ROLLOUT).await?;
    proved_again(world, &app, 1).await?;
    let read = |name: &'static str| {
        let app = &app;
        async move {
            let read = world.kubectl(&["get", "rollbackpolicies", name, "-n", &app.namespace, "-o", "json"]).await;
            read.and_then(|text| serde_json::from_str::<Value>(&text).context("kubectl's JSON"))
                .map_err(|error| error.to_string())
        }
    };
    let governs = || async {
        let policy = read("web").await?;
        if policy["status"]["governs"] == 1 { Ok(()) } else { Err(policy["status"].to_string()) }
    };
    until("the policy's status", SOON, governs).await?;

    break_with(&app, "v2-failing").await?;
    world.raise(&app, "Errors").await?;
    let incident = opens(world, &app).await?;
    world.journal.wait_fact(incident.incident, "mitigated", ROLLOUT).await?;
    world.resolve(&app, "Errors").await?;
    closes(world, &incident, Outcome::Completed).await?;
    runs(&app, "v1").await?;

    let wrong = policy(&app, "wrong", &json!({"mode": "sometimes"}));
    if let Err(refused) = world.apply(&wrong, unchecked).await {
        ensure!(refused.to_string().contains("spec.mode"), "refused for another reason: {refused:#}");
        return Ok(());
    }
    let told = || async {
        let status = read("wrong").await?["status"].to_string();
        if status.contains("spec.mode") { Ok(()) } else { Err(status) }
    };
    until("what is wrong with the policy", SOON, told).await?;
    Ok(())
}
