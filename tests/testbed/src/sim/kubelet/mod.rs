//! The kubelet and the scheduler: one task a pod, whose containers are test workloads on an address of their own.

mod configuration;
mod container;
mod image;
mod pod;
mod probe;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

pub(crate) use self::container::Timing;
use super::Shared;
use super::admission::NODE;
use super::events;
use super::ident;
use super::json::Json as _;
use super::store::{Change, Op};

struct Running {
    stop: CancellationToken,
    task: AbortHandle,
}

/// All pods of the node; dropping it ends them.
pub(crate) struct Kubelet {
    shared: Arc<Shared>,
    pods: BTreeMap<String, Running>,
    tasks: JoinSet<()>,
}

impl Kubelet {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, pods: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Acts on a change of a pod.
    pub(crate) fn note(&mut self, change: &Change) {
        while self.tasks.try_join_next().is_some() {}
        let uid = change.object.text("/metadata/uid");
        if change.op == Op::Deleted {
            if let Some(running) = self.pods.remove(uid) {
                running.task.abort();
            }
            self.shared.logs.forget(uid);
            return;
        }
        self.keep(&change.object);
    }

    /// Acts on all pods after changes were missed.
    pub(crate) fn relist(&mut self, pods: &[Arc<Value>]) {
        self.pods.retain(|uid, running| {
            let keep = pods.iter().any(|pod| pod.text("/metadata/uid") == uid);
            if !keep {
                running.task.abort();
            }
            keep
        });
        for pod in pods {
            self.keep(pod);
        }
    }

    fn keep(&mut self, pod: &Arc<Value>) {
        let uid = pod.text("/metadata/uid");
        let place = (pod.text("/metadata/namespace"), pod.text("/metadata/name"));
        let closing = !pod.at("/metadata/deletionTimestamp").is_null();
        if let Some(running) = self.pods.get(uid) {
            if closing {
                running.stop.cancel();
            }
        } else if closing {
            self.shared.store.erase("pods", place);
        } else if pod.text("/spec/nodeName").is_empty() {
            schedule(&self.shared, pod);
        } else {
            let stop = CancellationToken::new();
            let task = pod::run(Arc::clone(&self.shared), Arc::clone(pod), stop.clone());
            let task = self.tasks.spawn(task);
            self.pods.insert(uid.to_owned(), Running { stop, task });
        }
    }
}

fn schedule(shared: &Shared, pod: &Value) {
    let (namespace, name) = (pod.text("/metadata/namespace"), pod.text("/metadata/name"));
    let now = ident::now_text();
    shared.store.edit("pods", (namespace, name), |pod| {
        pod.put("/spec/nodeName", NODE);
        pod.put(
            "/status/conditions",
            json!([{"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now}]),
        );
    });
    let message = format!("Successfully assigned {namespace}/{name} to {NODE}");
    events::emit(&shared.store, pod, "default-scheduler", "Scheduled", &message);
}
