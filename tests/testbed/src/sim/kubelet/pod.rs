//! One pod's life: its address, its containers, its status, its end.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::container::{Container, initialised, waiting};
use super::image;
use crate::sim::Shared;
use crate::sim::events;
use crate::sim::ident;
use crate::sim::json::{Json as _, condition};

/// Runs a scheduled pod until it is told to stop, and removes it then.
pub(super) async fn run(shared: Arc<Shared>, pod: Arc<Value>, stop: CancellationToken) {
    let place = (pod.text("/metadata/namespace"), pod.text("/metadata/name"));
    let containers = pod.items("/spec/containers");
    let ip = address(containers, shared.imagined);
    let mut statuses: Vec<Value> = containers.iter().map(waiting).collect();
    let started = ident::now_text();
    let (report, mut reports) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for (index, spec) in containers.iter().enumerate() {
        let container = Container {
            shared: Arc::clone(&shared),
            pod: Arc::clone(&pod),
            spec: spec.clone(),
            index,
            ip,
            report: report.clone(),
        };
        tasks.spawn(container.live());
    }
    write(&shared, place, &pod, &statuses, &started, ip);
    loop {
        tokio::select! {
            biased;
            Some((index, status)) = reports.recv() => {
                statuses[index] = status;
                write(&shared, place, &pod, &statuses, &started, ip);
            }
            () = stop.cancelled() => break,
        }
    }
    for container in containers {
        let message = format!("Stopping container {}", container.text("/name"));
        events::emit(&shared.store, &pod, "kubelet", "Killing", &message);
    }
    // Connections that were open when the endpoints went away may finish.
    tokio::time::sleep(shared.timing.termination).await;
    tasks.shutdown().await;
    shared.store.erase("pods", place);
}

/// An address of 127.0.0.0/8 on which the containers' ports are free; any where nobody listens.
fn address(containers: &[Value], imagined: bool) -> IpAddr {
    loop {
        let [a, b, c, _] = ident::random();
        let ip = Ipv4Addr::new(127, 100 + a % 150, b, c.clamp(1, 254));
        let listens = |container: &Value| {
            let port = image::program(container, "").port;
            // A port that can't be listened on anywhere is the container's own problem.
            port < 1024 || std::net::TcpListener::bind((ip, port)).is_ok()
        };
        if imagined || containers.iter().all(listens) {
            return IpAddr::V4(ip);
        }
    }
}

fn write(shared: &Shared, place: (&str, &str), pod: &Value, statuses: &[Value], started: &str, ip: IpAddr) {
    let ready = statuses.iter().all(|status| status.flag("/ready"));
    let ran = statuses.iter().any(|status| !status.text("/containerID").is_empty());
    let init: Vec<Value> = pod.items("/spec/initContainers").iter().map(|spec| initialised(shared, spec)).collect();
    shared.store.edit("pods", place, |pod| {
        let conditions: Vec<Value> =
            [("Initialized", true), ("Ready", ready), ("ContainersReady", ready), ("PodScheduled", true)]
                .into_iter()
                .map(|(kind, holds)| pod_condition(pod, kind, holds))
                .collect();
        let phase = if ran || pod.text("/status/phase") == "Running" { "Running" } else { "Pending" };
        pod.put("/status/phase", phase);
        pod.put("/status/conditions", conditions);
        pod.put("/status/containerStatuses", statuses.to_vec());
        if !init.is_empty() && pod.at("/status/initContainerStatuses").is_null() {
            pod.put("/status/initContainerStatuses", init);
        }
        pod.put("/status/hostIP", "127.0.0.1");
        pod.put("/status/podIP", ip.to_string());
        pod.put("/status/podIPs", json!([{"ip": ip.to_string()}]));
        pod.put("/status/startTime", started);
    });
}

/// A condition as it is to be, with the time of its last transition.
fn pod_condition(pod: &Value, kind: &str, holds: bool) -> Value {
    let status = if holds { "True" } else { "False" };
    let old = condition(pod, kind);
    let since = if old.text("/status") == status { old.at("/lastTransitionTime").clone() } else { ident::now_text().into() };
    let mut new = json!({"type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": since});
    if !holds {
        let names = pod.items("/spec/containers").iter().map(|c| c.text("/name"));
        let names: Vec<_> = names.collect();
        new["reason"] = "ContainersNotReady".into();
        new["message"] = format!("containers with unready status: [{}]", names.join(" ")).into();
    }
    new
}
