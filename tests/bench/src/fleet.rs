//! Many workloads on a simulated cluster, and what their ledgers hold.
//!
//! Guarantees: each has an object of every kind that the ledger's watch reads of it; rollouts go in waves, each after the one before was
//! recorded, so that the simulated cluster's watches never fall behind its log. Must not: ask the orchestrator how far it is; the ledger tells.

use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream::{self, stream::Stream};
use contracts::subjects::streams;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::wait;

use crate::stage::Stage;

/// Workloads of a namespace.
pub(crate) const CROWD: usize = 20;
/// Workloads that are rolled out at the same time.
pub(crate) const WAVE: usize = 500;
/// Requests to the cluster at the same time.
const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_mins(3);

/// The workloads of one stage.
pub(crate) struct Fleet<'s> {
    /// Where they are.
    pub(crate) stage: &'s Stage,
    /// How many.
    pub(crate) workloads: usize,
}

impl Fleet<'_> {
    /// Makes all of them, and waits until each has its pod.
    pub(crate) async fn create(&self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.stage.client.clone());
        for number in 0..self.workloads.div_ceil(CROWD) {
            let body = serde_json::from_value(json!({"metadata": {"name": namespace(number * CROWD)}}))?;
            namespaces.create(&PostParams::default(), &body).await.context("a namespace")?;
        }
        let each = |workload: usize| async move {
            let maps: Api<ConfigMap> = Api::namespaced(self.stage.client.clone(), &namespace(workload));
            maps.create(&PostParams::default(), &serde_json::from_value(settings(workload))?).await.context("a ConfigMap")?;
            let body = serde_json::from_value(manifest(workload))?;
            self.deployments(workload).create(&PostParams::default(), &body).await.context("a Deployment")?;
            anyhow::Ok(())
        };
        stream::iter((0..self.workloads).map(each)).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        for number in 0..self.workloads.div_ceil(CROWD) {
            self.available(&namespace(number * CROWD)).await?;
        }
        Ok(())
    }

    async fn available(&self, namespace: &str) -> Result<()> {
        wait::until(&format!("the pods of {namespace}"), PATIENCE, || async {
            let all = self.stage.cluster.list("deployments.apps", namespace);
            let up = all.iter().filter(|deployment| deployment["status"]["availableReplicas"] == 1).count();
            if up == all.len() { Ok(()) } else { Err(format!("{up} of {}", all.len())) }
        })
        .await?;
        Ok(())
    }

    /// Rolls another version of all of them out, a wave at a time, each as soon as the one before is recorded.
    pub(crate) async fn roll_out(&self, version: &str) -> Result<()> {
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image(version)}]}}}});
        let patch = &Patch::Strategic(patch);
        let mut done = 0;
        while done < self.workloads {
            let wave = done..self.workloads.min(done + WAVE);
            done = wave.end;
            let each = |workload: usize| async move {
                self.deployments(workload).patch(&name(workload), &PatchParams::default(), patch).await.context("a rollout")
            };
            stream::iter(wave.map(each)).buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
            // Two facts each: what runs, and that it is up.
            self.facts(2 * self.workloads + 2 * done).await?;
        }
        self.recorded(2).await
    }

    fn deployments(&self, workload: usize) -> Api<Deployment> {
        Api::namespaced(self.stage.client.clone(), &namespace(workload))
    }

    /// Waits until each has so many versions that were seen to run in full.
    pub(crate) async fn recorded(&self, versions: usize) -> Result<()> {
        self.facts(2 * versions * self.workloads).await?;
        let stream = self.stream().await?;
        let what = format!("version {versions} of {} workloads", self.workloads);
        wait::until(&what, PATIENCE, || async {
            let subjects = stream.info_with_subjects("lastgood.ledger.*.*.*.*.version_available").await;
            let subjects = subjects.map_err(|error| error.to_string())?;
            let subjects: Vec<_> = subjects.try_collect().await.map_err(|error| error.to_string())?;
            let done = subjects.iter().filter(|(_, count)| *count >= versions).count();
            if done == self.workloads { Ok(()) } else { Err(format!("{done} of {}", self.workloads)) }
        })
        .await?;
        Ok(())
    }

    /// Waits until the ledgers hold so many facts.
    async fn facts(&self, wanted: usize) -> Result<()> {
        let stream = self.stream().await?;
        wait::until(&format!("{wanted} facts"), PATIENCE, || async {
            let info = stream.get_info().await.map_err(|error| error.to_string())?;
            let there = usize::try_from(info.state.messages).unwrap_or(usize::MAX);
            if there >= wanted { Ok(()) } else { Err(there.to_string()) }
        })
        .await?;
        Ok(())
    }

    /// Bytes of the ledgers' stream.
    pub(crate) async fn bytes(&self) -> Result<u64> {
        Ok(self.stream().await?.get_info().await?.state.bytes)
    }

    async fn stream(&self) -> Result<Stream> {
        let context = jetstream::new(async_nats::connect(self.stage.nats.url()).await?);
        Ok(context.get_stream(streams::LEDGER).await?)
    }
}

fn namespace(workload: usize) -> String {
    format!("team-{}", workload / CROWD)
}

fn name(workload: usize) -> String {
    format!("app-{workload}")
}

fn image(version: &str) -> String {
    format!("registry.example/shop/web:{version}")
}

fn settings(workload: usize) -> Value {
    let lines: Vec<_> = (0..20).map(|line| format!("setting.{line} = value {line} of {workload}")).collect();
    json!({"metadata": {"name": format!("{}-settings", name(workload))}, "data": {"web.properties": lines.join("\n")}})
}

fn manifest(workload: usize) -> Value {
    let name = name(workload);
    let env: Vec<_> =
        (0..10).map(|number| json!({"name": format!("VARIABLE_{number}"), "value": format!("value-{number}")})).collect();
    json!({
        "metadata": {"name": name, "labels": {"app": name, "team": namespace(workload)}},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name, "team": namespace(workload)}},
                "spec": {
                    "containers": [{
                        "name": "web", "image": image("v1"), "env": env, "ports": [{"containerPort": 8080}],
                        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                        "volumeMounts": [{"name": "settings", "mountPath": "/etc/web"}],
                    }],
                    "volumes": [{"name": "settings", "configMap": {"name": format!("{name}-settings")}}],
                },
            },
        },
    })
}
