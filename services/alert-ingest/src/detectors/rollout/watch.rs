//! The watches: Deployments, ReplicaSets and pods, cut down to what `view` keeps as they arrive.
//!
//! Guarantees: a watch that breaks is taken up again with a backoff and a relist. Only fields that are judged are read, and templates are
//! hashed and dropped at once. Must not: write, or hold more than a page of whole objects.

use std::borrow::Cow;
use std::fmt::Debug;

use futures::stream::{BoxStream, Stream, StreamExt, select_all};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1 as apps, core::v1 as core};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::view::{Change, Container, Pod, Revision, Workload};
use crate::problem::shortened;

/// The annotation that the executor sets to the hash of the template that it restored.
const RESTORED: &str = "lastgood.dev/template";
/// Whole objects held while listing.
const PAGE: u32 = 100;

/// A change of any of the three kinds.
#[derive(Debug)]
pub(super) enum Any {
    Workload(Change<Workload>),
    Revision(Change<Revision>),
    Pod(Change<Pod>),
}

/// All changes, each with the index of its scope: one a namespace, or a single one for all namespaces where none is given.
pub(super) fn changes(client: &Client, namespaces: &[String]) -> BoxStream<'static, (usize, Any)> {
    let scopes: Vec<Option<&str>> =
        if namespaces.is_empty() { vec![None] } else { namespaces.iter().map(|name| Some(name.as_str())).collect() };
    let streams = scopes.into_iter().enumerate().flat_map(|(scope, namespace)| {
        [
            watch::<RawDeployment, Workload>(client, namespace).map(move |change| (scope, Any::Workload(change))).boxed(),
            watch::<RawReplicaSet, Revision>(client, namespace).map(move |change| (scope, Any::Revision(change))).boxed(),
            watch::<RawPod, Pod>(client, namespace).map(move |change| (scope, Any::Pod(change))).boxed(),
        ]
    });
    select_all(streams).boxed()
}

fn watch<K, T>(client: &Client, namespace: Option<&str>) -> impl Stream<Item = Change<T>> + Send + 'static
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Slim<T> + Clone + DeserializeOwned + Debug + Send + 'static,
    T: Send + 'static,
{
    let api: Api<K> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let config = watcher::Config::default().any_semantic().page_size(PAGE);
    watcher(api, config).default_backoff().filter_map(async |event| match event {
        Ok(event) => Some(change(event)),
        Err(error) => {
            tracing::warn!(kind = %K::kind(&()), error = &error as &dyn std::error::Error, "the watch broke; it is taken up again");
            metrics::counter!("lastgood_detector_watch_errors_total", "kind" => K::kind(&()).into_owned()).increment(1);
            None
        }
    })
}

fn change<K: Resource + Slim<T>, T>(event: watcher::Event<K>) -> Change<T> {
    let uid = |object: &K| object.meta().uid.clone().unwrap_or_default();
    match event {
        watcher::Event::Init => Change::Begin,
        watcher::Event::InitApply(object) => Change::Listed(object.slim()),
        watcher::Event::InitDone => Change::Complete,
        watcher::Event::Apply(object) => {
            let uid = uid(&object);
            object.slim().map_or(Change::Gone(uid), Change::Changed)
        }
        watcher::Event::Delete(object) => Change::Gone(uid(&object)),
    }
}

/// Cuts an object down; `None` where it is of no interest.
trait Slim<T> {
    fn slim(self) -> Option<T>;
}

macro_rules! raw {
    ($name:ident, $of:ty, $($field:ident: $type:ty),*) => {
        #[derive(Debug, Clone, Deserialize)]
        struct $name {
            metadata: ObjectMeta,
            $(#[serde(default)]
            $field: $type,)*
        }

        impl Resource for $name {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                <$of as Resource>::kind(&())
            }

            fn group((): &()) -> Cow<'_, str> {
                <$of as Resource>::group(&())
            }

            fn version((): &()) -> Cow<'_, str> {
                <$of as Resource>::version(&())
            }

            fn plural((): &()) -> Cow<'_, str> {
                <$of as Resource>::plural(&())
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

raw!(RawDeployment, apps::Deployment, spec: TemplateSpec, status: DeploymentStatus);
raw!(RawReplicaSet, apps::ReplicaSet, spec: TemplateSpec);
raw!(RawPod, core::Pod, status: PodStatus);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct TemplateSpec {
    replicas: Option<i32>,
    template: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DeploymentStatus {
    observed_generation: i64,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
    reason: String,
    message: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: String,
    conditions: Vec<Condition>,
    init_container_statuses: Vec<ContainerStatus>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    name: String,
    restart_count: i32,
    state: State,
    last_state: State,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct State {
    waiting: Option<StateDetail>,
    running: Option<StateDetail>,
    terminated: Option<StateDetail>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StateDetail {
    reason: String,
    message: String,
    exit_code: Option<i32>,
    started_at: Option<Timestamp>,
}

fn owner(meta: &ObjectMeta, kind: &str) -> Option<String> {
    let owners = meta.owner_references.as_ref()?;
    owners.iter().find(|owner| owner.kind == kind && owner.controller == Some(true)).map(|owner| owner.uid.clone())
}

impl Slim<Workload> for RawDeployment {
    fn slim(self) -> Option<Workload> {
        let template_hash = lastgood_core::template::hash(&self.spec.template);
        let restored = self.metadata.annotations.as_ref().and_then(|annotations| annotations.get(RESTORED));
        let exceeded = self.status.conditions.into_iter().find(|condition| {
            condition.r#type == "Progressing" && condition.status == "False" && condition.reason == "ProgressDeadlineExceeded"
        });
        Some(Workload {
            restored_by_us: restored == Some(&template_hash),
            uid: self.metadata.uid?,
            namespace: self.metadata.namespace?,
            name: self.metadata.name?,
            generation: self.metadata.generation.unwrap_or_default(),
            observed_generation: self.status.observed_generation,
            replicas: self.spec.replicas.unwrap_or(1),
            template_hash,
            deadline_exceeded: exceeded.map(|condition| shortened(&condition.message, 1000)),
        })
    }
}

impl Slim<Revision> for RawReplicaSet {
    fn slim(self) -> Option<Revision> {
        let owner = owner(&self.metadata, "Deployment")?;
        Some(Revision {
            owner,
            uid: self.metadata.uid?,
            name: self.metadata.name?,
            template_hash: lastgood_core::template::hash(&self.spec.template),
            created: self.metadata.creation_timestamp.map(|time| time.0),
        })
    }
}

impl Slim<Pod> for RawPod {
    fn slim(self) -> Option<Pod> {
        // A finished pod (evicted, for instance) is neither well nor failing: another one takes its place.
        if matches!(self.status.phase.as_str(), "Succeeded" | "Failed") {
            return None;
        }
        let owner = owner(&self.metadata, "ReplicaSet")?;
        let ready = self.status.conditions.iter().any(|condition| condition.r#type == "Ready" && condition.status == "True");
        let containers =
            self.status.init_container_statuses.into_iter().chain(self.status.container_statuses).map(container).collect();
        Some(Pod {
            owner,
            uid: self.metadata.uid?,
            name: self.metadata.name?,
            terminating: self.metadata.deletion_timestamp.is_some(),
            ready,
            containers,
        })
    }
}

fn container(status: ContainerStatus) -> Container {
    let waiting = status.state.waiting.unwrap_or_default();
    let mut message = waiting.message;
    if let Some(last) = status.last_state.terminated.filter(|_| !waiting.reason.is_empty()) {
        let code = last.exit_code.map_or_else(String::new, |code| format!(" with exit code {code}"));
        let said = if last.message.is_empty() { String::new() } else { format!(": {}", last.message) };
        message = format!("{message}; it last ended as {}{code}{said}", last.reason);
    }
    Container {
        name: status.name,
        restarts: status.restart_count,
        waiting: waiting.reason,
        message: shortened(&message, 1000),
        running_since: status.state.running.and_then(|running| running.started_at),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_crashing_pod_is_cut_down() {
        let raw: RawPod = serde_json::from_value(json!({
            "metadata": {"uid": "p", "name": "web-1", "namespace": "shop",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": true}]},
            "spec": {"containers": []},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [{
                "name": "web", "restartCount": 3, "image": "web:v2", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}]},
        }))
        .unwrap();
        let pod = raw.slim().unwrap();
        assert_eq!((pod.owner.as_str(), pod.ready, pod.containers.len()), ("rs", false, 1));
        assert_eq!(pod.containers[0].waiting, "CrashLoopBackOff");
        assert_eq!(pod.containers[0].message, "back-off; it last ended as Error with exit code 1");
    }

    #[test]
    fn a_deployment_and_its_replica_set_have_one_hash() {
        let template =
            |labels: Value| json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}});
        let hash = lastgood_core::template::hash(&template(json!({"app": "web"})));
        let deployment: RawDeployment = serde_json::from_value(json!({
            "metadata": {"uid": "d", "name": "web", "namespace": "shop", "generation": 2, "annotations": {RESTORED: hash}},
            "spec": {"replicas": 2, "template": template(json!({"app": "web"}))},
            "status": {"observedGeneration": 2, "conditions": [
                {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "stuck"}]},
        }))
        .unwrap();
        let set: RawReplicaSet = serde_json::from_value(json!({
            "metadata": {"uid": "rs", "name": "web-1", "creationTimestamp": "2026-11-21T10:00:00Z",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true}]},
            "spec": {"template": template(json!({"app": "web", "pod-template-hash": "1"}))},
        }))
        .unwrap();
        let (workload, revision) = (deployment.slim().unwrap(), set.slim().unwrap());
        assert_eq!(workload.template_hash, revision.template_hash);
        assert!(workload.restored_by_us);
        assert_eq!((workload.deadline_exceeded.as_deref(), revision.owner.as_str()), (Some("stuck"), "d"));
    }

    #[test]
    fn foreign_and_finished_pods_are_of_no_interest() {
        let pod = |owner: &str, phase: &str| -> Option<Pod> {
            let value = json!({"metadata": {"uid": "p", "name": "p",
                "ownerReferences": [{"apiVersion": "v1", "kind": owner, "name": "x", "uid": "x", "controller": true}]},
                "status": {"phase": phase}});
            serde_json::from_value::<RawPod>(value).unwrap().slim()
        };
        assert!(pod("ReplicaSet", "Pending").is_some());
        assert!(pod("Job", "Running").is_none());
        assert!(pod("ReplicaSet", "Failed").is_none());
    }
}
