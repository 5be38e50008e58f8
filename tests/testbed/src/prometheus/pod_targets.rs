//! The pods of a cluster, told to Prometheus over its HTTP service discovery.
//!
//! Debian builds Prometheus without its Kubernetes discovery, so this stands in for `kubernetes_sd_configs` with `role: pod`: the same
//! meta labels, of those that the testbed's relabeling uses. Guarantee: it only reads, answers on loopback, and answers 503 while the
//! cluster can't be read, on which Prometheus keeps the targets that it knows.

use std::{path::Path, time::Duration};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{Error, wait};

/// How long the API server may take for the list.
const LIST: Duration = Duration::from_secs(5);

/// A discovery endpoint that runs; it ends when dropped.
#[derive(Debug)]
pub(crate) struct PodTargets {
    url: String,
    task: JoinHandle<()>,
}

impl PodTargets {
    /// Serves the pods of this kubeconfig's current context, each at `pod_port`.
    pub(crate) async fn start(kubeconfig: &Path, pod_port: u16) -> Result<Self, Error> {
        let failed =
            |error: &dyn std::error::Error| Error::request(format!("kubeconfig {}", kubeconfig.display()), wait::chain(error));
        let read = Kubeconfig::read_from(kubeconfig).map_err(|error| failed(&error))?;
        let mut config =
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.map_err(|error| failed(&error))?;
        config.read_timeout = Some(LIST);
        let pods = Api::<Pod>::all(Client::try_from(config).map_err(|error| failed(&error))?);
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(Error::io("listening for discovery"))?;
        let address = listener.local_addr().map_err(Error::io("the address of discovery"))?;
        let router = Router::new().route("/targets", get(answer)).with_state((pods, pod_port));
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await; // it never ends by itself
        });
        Ok(Self { url: format!("http://{address}/targets"), task })
    }

    /// Where Prometheus asks.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for PodTargets {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State((pods, port)): State<(Api<Pod>, u16)>) -> Result<Json<Vec<Value>>, (StatusCode, String)> {
    let pods = pods.list(&ListParams::default()).await.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, wait::chain(&error)))?;
    Ok(Json(pods.items.iter().filter_map(|pod| target(pod, port)).collect()))
}

/// The target of a pod that has an address.
fn target(pod: &Pod, port: u16) -> Option<Value> {
    let status = pod.status.as_ref()?;
    let ip = status.pod_ip.as_deref()?;
    let of = |map: &Option<std::collections::BTreeMap<String, String>>, key: &str| {
        map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default()
    };
    Some(json!({
        "targets": [format!("{ip}:{port}")],
        "labels": {
            "__meta_kubernetes_namespace": pod.metadata.namespace.clone().unwrap_or_default(),
            "__meta_kubernetes_pod_name": pod.metadata.name.clone().unwrap_or_default(),
            "__meta_kubernetes_pod_phase": status.phase.clone().unwrap_or_default(),
            "__meta_kubernetes_pod_annotation_prometheus_io_scrape": of(&pod.metadata.annotations, "prometheus.io/scrape"),
            "__meta_kubernetes_pod_label_app": of(&pod.metadata.labels, "app"),
            "__meta_kubernetes_pod_label_version": of(&pod.metadata.labels, "version"),
        },
    }))
}
