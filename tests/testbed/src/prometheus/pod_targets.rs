//! The pods of a cluster, told to Prometheus over its HTTP service discovery.
//!
//! Debian builds Prometheus without its Kubernetes discovery, so this stands in for `kubernetes_sd_configs` with `role: pod`: the same
//! meta labels, of those that the testbed's relabeling uses. Guarantee: it only reads, answers on loopback, and answers at once from
//! a watch (Prometheus gives discovery no longer than its refresh interval, which a list on a busy machine exceeds): 503 until the
//! first list, and the pods as last seen while the cluster can't be read.

use std::path::Path;

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{WatchStreamExt as _, reflector, watcher},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{Error, wait};

/// A discovery endpoint that runs; it ends when dropped.
#[derive(Debug)]
pub(crate) struct PodTargets {
    url: String,
    tasks: [JoinHandle<()>; 2],
}

impl PodTargets {
    /// Serves the pods of this kubeconfig's current context, each at `pod_port`.
    pub(crate) async fn start(kubeconfig: &Path, pod_port: u16) -> Result<Self, Error> {
        let failed =
            |error: &dyn std::error::Error| Error::request(format!("kubeconfig {}", kubeconfig.display()), wait::chain(error));
        let read = Kubeconfig::read_from(kubeconfig).map_err(|error| failed(&error))?;
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.map_err(|error| failed(&error))?;
        let pods = Api::<Pod>::all(Client::try_from(config).map_err(|error| failed(&error))?);
        let (store, writer) = reflector::store();
        let mut events = watcher(pods, watcher::Config::default()).default_backoff().reflect(writer).boxed();
        // Errors are tried again by the watcher; meanwhile the store keeps what it knows.
        let watch = tokio::spawn(async move { while events.next().await.is_some() {} });
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(Error::io("listening for discovery"))?;
        let address = listener.local_addr().map_err(Error::io("the address of discovery"))?;
        let router = Router::new().route("/targets", get(answer)).with_state((store, pod_port));
        let serve = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await; // it never ends by itself
        });
        Ok(Self { url: format!("http://{address}/targets"), tasks: [watch, serve] })
    }

    /// Where Prometheus asks.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for PodTargets {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn answer(State((pods, port)): State<(reflector::Store<Pod>, u16)>) -> Result<Json<Vec<Value>>, StatusCode> {
    match pods.wait_until_ready().now_or_never() {
        Some(Ok(())) => Ok(Json(pods.state().iter().filter_map(|pod| target(pod, port)).collect())),
        Some(Err(_)) | None => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
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
