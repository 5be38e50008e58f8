//! Follows an alert's clues through the cluster.
//!
//! Guarantees: the first clue that leads to something decides; each step reads live. A pod that is gone is followed by its name only
//! where the ReplicaSet (or StatefulSet, DaemonSet) of that name exists. Must not: choose between several candidates.

use std::collections::{BTreeMap, BTreeSet};

use contracts::DismissReason;
use lastgood_core::{revision, template};

use super::clue::Clue;
use super::{Correlation, Dismissal, Found, Looked};
use crate::cluster::{Kind, Lookup, Object, Selector};

/// The workload that an alert is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Its kind.
    pub kind: Kind,
    /// The object as it is now.
    pub object: Object,
    /// The version that the alert is about, by its template's hash, where a pod of it, or what carries it, led here.
    pub about: Option<String>,
}

enum Step {
    Found(Found),
    /// Through what carries this version, by its template's hash.
    Through(Found, String),
    Several(BTreeSet<String>),
    Nothing(String),
}

/// Follows the clues, most trusted first.
pub async fn resolve(cluster: &dyn Lookup, clues: &[Clue]) -> Looked<Correlation> {
    let mut tried = Vec::new();
    for clue in clues {
        match follow(cluster, clue).await? {
            Step::Found((kind, object)) => return Ok(Correlation::Found(Box::new(Workload { kind, object, about: None }))),
            Step::Through((kind, object), hash) => {
                return Ok(Correlation::Found(Box::new(Workload { kind, object, about: Some(hash) })));
            }
            Step::Several(candidates) => {
                let names = candidates.into_iter().collect::<Vec<_>>().join(", ");
                let detail = format!("{clue} fits several workloads: {names}");
                return Ok(Correlation::Dismissed(Dismissal::new(DismissReason::AmbiguousWorkload, detail)));
            }
            Step::Nothing(why) => tried.push(format!("{clue}: {why}")),
        }
    }
    Ok(Correlation::Dismissed(Dismissal::new(DismissReason::NoWorkload, tried.join("; "))))
}

async fn follow(cluster: &dyn Lookup, clue: &Clue) -> Looked<Step> {
    match clue {
        Clue::Explicit(kind, namespace, name) | Clue::Workload(kind, namespace, name) => {
            Ok(match cluster.get(*kind, namespace, name).await? {
                Some(object) => Step::Found((*kind, object)),
                None => Step::Nothing("does not exist".into()),
            })
        }
        Clue::ReplicaSet(namespace, name) => Ok(match cluster.get(Kind::ReplicaSet, namespace, name).await? {
            Some(set) => owner_of_set(cluster, &set).await?,
            None => Step::Nothing("does not exist".into()),
        }),
        Clue::Pod(namespace, name) => match cluster.get(Kind::Pod, namespace, name).await? {
            Some(pod) => owner_of_pod(cluster, &pod).await,
            None => owner_by_pod_name(cluster, namespace, name).await,
        },
        Clue::Service(namespace, name) => behind_service(cluster, namespace, name).await,
        Clue::Container(namespace, name) => with_container(cluster, namespace, name).await,
    }
}

async fn owner_of_set(cluster: &dyn Lookup, set: &Object) -> Looked<Step> {
    let Some(owner) = set.controller() else { return Ok(Step::Nothing("its ReplicaSet has no owner".into())) };
    if owner.kind != "Deployment" || !owner.api_version.starts_with("apps/") {
        return Ok(Step::Nothing(format!("its ReplicaSet is of {}/{} ({})", owner.kind, owner.name, owner.api_version)));
    }
    Ok(match cluster.get(Kind::Deployment, set.namespace(), &owner.name).await? {
        Some(deployment) => match set.template() {
            Some(template) => Step::Through((Kind::Deployment, deployment), template::hash(template)),
            None => Step::Found((Kind::Deployment, deployment)),
        },
        None => Step::Nothing(format!("its Deployment {} does not exist", owner.name)),
    })
}

async fn owner_of_pod(cluster: &dyn Lookup, pod: &Object) -> Looked<Step> {
    let Some(owner) = pod.controller() else { return Ok(Step::Nothing("the pod has no owner".into())) };
    let kind = match owner.kind.as_str() {
        "ReplicaSet" => {
            return Ok(match cluster.get(Kind::ReplicaSet, pod.namespace(), &owner.name).await? {
                Some(set) => owner_of_set(cluster, &set).await?,
                None => Step::Nothing(format!("its ReplicaSet {} does not exist", owner.name)),
            });
        }
        "StatefulSet" => Kind::StatefulSet,
        "DaemonSet" => Kind::DaemonSet,
        other => return Ok(Step::Nothing(format!("the pod is of {other}/{}", owner.name))),
    };
    let Some(object) = cluster.get(kind, pod.namespace(), &owner.name).await? else {
        return Ok(Step::Nothing(format!("its {kind} {} does not exist", owner.name)));
    };
    Ok(match version_of_pod(cluster, kind, &object, pod).await? {
        Some(hash) => Step::Through((kind, object), hash),
        None => Step::Found((kind, object)),
    })
}

/// The version of a StatefulSet's or DaemonSet's pod, by its template's hash, where its ControllerRevision is there still.
async fn version_of_pod(cluster: &dyn Lookup, kind: Kind, owner: &Object, pod: &Object) -> Looked<Option<String>> {
    let label = revision::label_of(pod.json());
    if label.is_empty() {
        return Ok(None);
    }
    // A StatefulSet's pods name the whole revision, a DaemonSet's only the hash at the end of its name.
    let name = if kind == Kind::DaemonSet { format!("{}-{label}", owner.name()) } else { label.to_owned() };
    let found = cluster.get(Kind::ControllerRevision, pod.namespace(), &name).await?;
    let own = found.filter(|found| found.controller().is_some_and(|controller| controller.uid == owner.uid()));
    Ok(own.and_then(|found| revision::template(found.json())).map(|carried| template::hash(&carried)))
}

/// A pod that is gone: `<owner>-<suffix>`.
async fn owner_by_pod_name(cluster: &dyn Lookup, namespace: &str, name: &str) -> Looked<Step> {
    let gone = || Ok(Step::Nothing("does not exist, and no ReplicaSet of its name does".into()));
    let Some((owner, suffix)) = name.rsplit_once('-') else { return gone() };
    let ordinal = !suffix.is_empty() && suffix.bytes().all(|b| b.is_ascii_digit());
    if ordinal && let Some(set) = cluster.get(Kind::StatefulSet, namespace, owner).await? {
        return Ok(Step::Found((Kind::StatefulSet, set)));
    }
    if let Some(set) = cluster.get(Kind::ReplicaSet, namespace, owner).await? {
        return owner_of_set(cluster, &set).await;
    }
    match cluster.get(Kind::DaemonSet, namespace, owner).await? {
        Some(set) => Ok(Step::Found((Kind::DaemonSet, set))),
        None => gone(),
    }
}

async fn behind_service(cluster: &dyn Lookup, namespace: &str, name: &str) -> Looked<Step> {
    let Some(service) = cluster.get(Kind::Service, namespace, name).await? else {
        return Ok(Step::Nothing("does not exist".into()));
    };
    let labels = crate::cluster::strings(service.at("/spec/selector"));
    if labels.is_empty() {
        return Ok(Step::Nothing("the Service has no selector".into()));
    }
    let selector = Selector::equal(&labels);
    let pods = cluster.list(Kind::Pod, namespace, &selector).await?;
    // One pod for each owner is enough: its siblings lead to the same place.
    let by_owner: BTreeMap<_, _> = pods.iter().filter_map(|pod| Some((pod.controller()?.uid, pod))).collect();
    let mut owners = Vec::new();
    for pod in by_owner.into_values() {
        // A Service is of no version.
        if let Step::Found(found) | Step::Through(found, _) = owner_of_pod(cluster, pod).await? {
            owners.push(found);
        }
    }
    if owners.is_empty() {
        for kind in Kind::WORKLOADS {
            let all = cluster.list(kind, namespace, &Selector::everything()).await?;
            owners.extend(all.into_iter().filter(|o| selector.matches(&o.template_labels())).map(|o| (kind, o)));
        }
    }
    Ok(the_only(owners, "no workload's pods are behind the Service"))
}

async fn with_container(cluster: &dyn Lookup, namespace: &str, name: &str) -> Looked<Step> {
    let mut having = Vec::new();
    for kind in Kind::WORKLOADS {
        let all = cluster.list(kind, namespace, &Selector::everything()).await?;
        let of_kind = all.into_iter().filter(|o| o.container_names().any(|container| container == name));
        having.extend(of_kind.map(|o| (kind, o)));
    }
    Ok(the_only(having, "no workload has such a container"))
}

fn the_only(found: Vec<Found>, none: &str) -> Step {
    let mut by_name: BTreeMap<String, Found> =
        found.into_iter().map(|(kind, object)| (format!("{kind}/{}", object.name()), (kind, object))).collect();
    match (by_name.len(), by_name.pop_first()) {
        (1, Some((_, found))) => Step::Found(found),
        (_, Some((first, _))) => Step::Several(by_name.into_keys().chain([first]).collect()),
        (_, None) => Step::Nothing(none.to_owned()),
    }
}

impl std::fmt::Display for Clue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Explicit(kind, namespace, name) | Self::Workload(kind, namespace, name) => {
                write!(f, "{namespace}/{kind}/{name}")
            }
            Self::ReplicaSet(namespace, name) => write!(f, "{namespace}/ReplicaSet/{name}"),
            Self::Pod(namespace, name) => write!(f, "{namespace}/Pod/{name}"),
            Self::Service(namespace, name) => write!(f, "{namespace}/Service/{name}"),
            Self::Container(namespace, name) => write!(f, "container {name} in {namespace}"),
        }
    }
}

#[cfg(test)]
mod tests;
