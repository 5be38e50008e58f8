//! Prometheus finds the pods of the simulated cluster, and bad answers under load become the alert that names their deployment.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::api::{Api, PostParams};
use serde_json::json;
use testbed::{
    load::Load,
    prometheus::{Prometheus, PrometheusOptions},
    sim::{SimCluster, SimOptions},
    wait,
};

const DEADLINE: Duration = Duration::from_mins(1);

fn deployment() -> Deployment {
    serde_json::from_value(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "checkout", "namespace": "default" },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": "checkout" } },
            "template": {
                "metadata": { "labels": { "app": "checkout" }, "annotations": { "prometheus.io/scrape": "true" } },
                "spec": { "containers": [{
                    "name": "web", "image": "docker.io/local/web:v2-failing",
                    "ports": [{ "containerPort": 8080 }, { "containerPort": 9090 }],
                }] },
            },
        },
    }))
    .unwrap()
}

#[tokio::test]
async fn failing_pods_raise_the_alert_of_their_deployment() {
    let cluster = SimCluster::start(SimOptions::default()).await.unwrap();
    let client = cluster.client().await.unwrap();
    let deployments = Api::<Deployment>::namespaced(client.clone(), "default");
    deployments.create(&PostParams::default(), &deployment()).await.unwrap();
    let pods = Api::<Pod>::namespaced(client, "default");
    let addresses = wait::until("two pods with addresses", DEADLINE, || async {
        let list = pods.list(&kube::api::ListParams::default()).await.map_err(|error| error.to_string())?;
        let of = |pod: Pod| pod.status.and_then(|status| status.pod_ip).map(|address| format!("http://{address}:8080/"));
        let urls: Vec<String> = list.items.into_iter().filter_map(of).collect();
        if urls.len() == 2 { Ok(urls) } else { Err(format!("{urls:?}")) }
    })
    .await
    .unwrap();
    let options = PrometheusOptions { kubeconfig: Some(cluster.kubeconfig_path().to_owned()), ..PrometheusOptions::default() };
    let prometheus = Prometheus::start(options).await.unwrap();
    let targets = Arc::new(move || addresses.clone());
    let load = Load::balanced(targets, 20, DEADLINE).unwrap();
    let alert = wait::until("HighErrorRate", DEADLINE, || async {
        let firing = prometheus.firing().await.map_err(|error| error.to_string())?;
        firing.first().cloned().ok_or_else(|| format!("nothing fires, load {:?}", load.counts()))
    })
    .await
    .unwrap();
    let named = (alert["alertname"].as_str(), alert["namespace"].as_str(), alert["deployment"].as_str());
    assert_eq!(named, (Some("HighErrorRate"), Some("default"), Some("checkout")));
    // A pod with two container ports is one target.
    assert_eq!(prometheus.query("up{job=\"pods\"} == 1").await.unwrap().len(), 2);
}
