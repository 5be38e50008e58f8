//! The objects as the API server sends them, as far as they are judged, and what is kept of them.
//!
//! Guarantees: only fields that are judged are read; templates are hashed and dropped; a pod and its revision have the same key. Must not:
//! judge.

use std::borrow::Cow;
use std::fmt::Debug;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{apps::v1 as apps, core::v1 as core};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use lastgood_core::revision;
use serde::Deserialize;
use serde_json::{Value, json};

use super::view::{Container, Kind, Pod, Revision, Unready, Workload};
use crate::problem::shortened;

/// The annotation that the executor sets to the hash of the template that it restored.
const RESTORED: &str = "lastgood.dev/template";
/// A pod's first word about its readiness comes within this time of its start; a later one means that it was ready before.
const FIRST_WORD: SignedDuration = SignedDuration::from_secs(2);

/// Cuts an object down; `None` where it is of no interest.
pub(super) trait Slim<T> {
    fn slim(self) -> Option<T>;

    /// What it is known by.
    fn key(&self) -> String
    where
        Self: Resource,
    {
        self.meta().uid.clone().unwrap_or_default()
    }
}

macro_rules! raw {
    ($name:ident, $of:ty, $($field:ident: $type:ty),*) => {
        #[derive(Debug, Clone, Deserialize)]
        pub(super) struct $name {
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

raw!(RawDeployment, apps::Deployment, spec: TemplateSpec, status: WorkloadStatus);
raw!(RawStatefulSet, apps::StatefulSet, spec: TemplateSpec, status: WorkloadStatus);
raw!(RawDaemonSet, apps::DaemonSet, spec: TemplateSpec, status: WorkloadStatus);
raw!(RawReplicaSet, apps::ReplicaSet, spec: TemplateSpec);
raw!(RawControllerRevision, apps::ControllerRevision, data: Value);
raw!(RawPod, core::Pod, status: PodStatus);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct TemplateSpec {
    replicas: Option<i32>,
    template: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WorkloadStatus {
    observed_generation: i64,
    desired_number_scheduled: i32,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    r#type: String,
    status: String,
    reason: String,
    message: String,
    last_transition_time: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: String,
    start_time: Option<Timestamp>,
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

/// What is common to all kinds.
fn workload(kind: Kind, meta: ObjectMeta, template: &Value, observed_generation: i64, replicas: i32) -> Option<Workload> {
    let template_hash = lastgood_core::template::hash(template);
    let restored = meta.annotations.as_ref().and_then(|annotations| annotations.get(RESTORED));
    Some(Workload {
        kind,
        restored_by_us: restored == Some(&template_hash),
        uid: meta.uid?,
        namespace: meta.namespace?,
        name: meta.name?,
        generation: meta.generation.unwrap_or_default(),
        observed_generation,
        replicas,
        template_hash,
        deadline_exceeded: None,
    })
}

impl Slim<Workload> for RawDeployment {
    fn slim(self) -> Option<Workload> {
        let (replicas, observed) = (self.spec.replicas.unwrap_or(1), self.status.observed_generation);
        let slim = workload(Kind::Deployment, self.metadata, &self.spec.template, observed, replicas)?;
        let exceeded = self.status.conditions.into_iter().find(|condition| {
            condition.r#type == "Progressing" && condition.status == "False" && condition.reason == "ProgressDeadlineExceeded"
        });
        Some(Workload { deadline_exceeded: exceeded.map(|condition| shortened(&condition.message, 1000)), ..slim })
    }
}

impl Slim<Workload> for RawStatefulSet {
    fn slim(self) -> Option<Workload> {
        let (replicas, observed) = (self.spec.replicas.unwrap_or(1), self.status.observed_generation);
        workload(Kind::StatefulSet, self.metadata, &self.spec.template, observed, replicas)
    }
}

impl Slim<Workload> for RawDaemonSet {
    fn slim(self) -> Option<Workload> {
        let (wanted, observed) = (self.status.desired_number_scheduled, self.status.observed_generation);
        workload(Kind::DaemonSet, self.metadata, &self.spec.template, observed, wanted)
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

impl Slim<Revision> for RawControllerRevision {
    fn slim(self) -> Option<Revision> {
        let uid = self.key();
        let (owner, _) = controlled(&self.metadata)?;
        let template = revision::template(&json!({"data": self.data}))?;
        Some(Revision {
            owner,
            uid,
            name: self.metadata.name?,
            template_hash: lastgood_core::template::hash(&template),
            created: self.metadata.creation_timestamp.map(|time| time.0),
        })
    }

    fn key(&self) -> String {
        let Some((owner, kind)) = controlled(&self.metadata) else { return String::new() };
        let labels = self.metadata.labels.as_ref();
        // What the pods' label says: the whole name, or for a DaemonSet the hash in it.
        let called = match kind {
            Kind::DaemonSet => labels.and_then(|labels| labels.get(revision::POD_LABEL)),
            _ => self.metadata.name.as_ref(),
        };
        revision_key(&owner, called.map_or("", String::as_str))
    }
}

/// The uid and the kind of the StatefulSet or DaemonSet that controls an object.
fn controlled(meta: &ObjectMeta) -> Option<(String, Kind)> {
    let by = |kind: Kind| Some((owner(meta, kind.name())?, kind));
    by(Kind::StatefulSet).or_else(|| by(Kind::DaemonSet))
}

/// What a ControllerRevision and its pods have in common.
fn revision_key(owner: &str, called: &str) -> String {
    format!("{owner}/{called}")
}

impl Slim<Pod> for RawPod {
    fn slim(self) -> Option<Pod> {
        // A finished pod (evicted, for instance) is neither well nor failing: another one takes its place.
        if matches!(self.status.phase.as_str(), "Succeeded" | "Failed") {
            return None;
        }
        let label = self.metadata.labels.as_ref().and_then(|labels| labels.get(revision::POD_LABEL));
        let by_label = || Some(revision_key(&controlled(&self.metadata)?.0, label.map_or("", String::as_str)));
        let owner = owner(&self.metadata, "ReplicaSet").or_else(by_label)?;
        let ready = self.status.conditions.iter().any(|condition| condition.r#type == "Ready" && condition.status == "True");
        let never_ready = never_ready(&self.status, self.metadata.creation_timestamp.as_ref().map(|time| time.0));
        let containers =
            self.status.init_container_statuses.into_iter().chain(self.status.container_statuses).map(container).collect();
        Some(Pod {
            owner,
            uid: self.metadata.uid?,
            name: self.metadata.name?,
            terminating: self.metadata.deletion_timestamp.is_some(),
            ready,
            never_ready,
            containers,
        })
    }
}

/// Since when a pod has not become ready, and what keeps it; `None` where it is ready, or once was.
fn never_ready(status: &PodStatus, created: Option<Timestamp>) -> Option<Unready> {
    let condition =
        |kind: &str| status.conditions.iter().find(|condition| condition.r#type == kind && condition.status == "False");
    if let Some(ready) = status.conditions.iter().find(|condition| condition.r#type == "Ready") {
        let (at, started) = (ready.last_transition_time?, status.start_time?);
        if ready.status == "True" || at.duration_since(started) > FIRST_WORD {
            return None;
        }
    }
    let why = condition("PodScheduled").or_else(|| condition("Ready")).or_else(|| condition("ContainersReady"));
    let (state, message) = why.map_or(("NotReady", ""), |why| (why.reason.as_str(), why.message.as_str()));
    Some(Unready { since: created?, state: state.to_owned(), message: shortened(message, 1000) })
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
mod tests;
