//! Policies, as custom resources and as a file: each rule refuses with its reason, and what was made of each policy is said in its status.

use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt as _};
use orchestrator::config::Settings;
use orchestrator::policy::{crd, watch};
use orchestrator::wiring;
use serde_json::{Value, json};
use testbed::wait::until;

use super::world::{DEADLINE, World, still};

mod looks;
mod notify;
mod rules;
mod told;

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
