//! Follows an alert's clues through the cluster.
//!
//! Guarantees: the first clue that leads to something decides; each step reads live. A pod that is gone is followed by its name only
//! where the ReplicaSet (or StatefulSet, DaemonSet) of that name exists. Must not: choose between several candidates.

use std::collections::{BTreeMap, BTreeSet};

use contracts::DismissReason;
use lastgood_core::template;

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
    /// The version that the alert is about, by its template's hash, where a pod or ReplicaSet of it led here.
    pub about: Option<String>,
}

enum Step {
    Found(Found),
    /// Through this version's ReplicaSet, by its template's hash.
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
    Ok(match cluster.get(kind, pod.namespace(), &owner.name).await? {
        Some(object) => Step::Found((kind, object)),
        None => Step::Nothing(format!("its {kind} {} does not exist", owner.name)),
    })
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
        for kind in [Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet] {
            let all = cluster.list(kind, namespace, &Selector::everything()).await?;
            owners.extend(all.into_iter().filter(|o| selector.matches(&o.template_labels())).map(|o| (kind, o)));
        }
    }
    Ok(the_only(owners, "no workload's pods are behind the Service"))
}

async fn with_container(cluster: &dyn Lookup, namespace: &str, name: &str) -> Looked<Step> {
    let all = cluster.list(Kind::Deployment, namespace, &Selector::everything()).await?;
    let having = all.into_iter().filter(|o| o.container_names().any(|container| container == name));
    Ok(the_only(having.map(|o| (Kind::Deployment, o)).collect(), "no Deployment has such a container"))
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
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::fake::{FakeCluster, owner};

    fn shop() -> FakeCluster {
        FakeCluster::default()
            .with_web("shop", "web", "app")
            .with_web("shop", "api", "app")
            .with_web("shop", "db", "db")
            .with(Kind::StatefulSet, json!({"metadata": {"namespace": "shop", "name": "pg"}}))
            .with(Kind::DaemonSet, json!({"metadata": {"namespace": "shop", "name": "agent"}}))
            .with(
                Kind::Pod,
                json!({"metadata": {"namespace": "shop", "name": "job-1", "ownerReferences": [owner("Job", "job")]}}),
            )
            .with(Kind::Service, json!({"metadata": {"namespace": "shop", "name": "web"}, "spec": {"selector": {"app": "web"}}}))
            .with(Kind::Service, json!({"metadata": {"namespace": "shop", "name": "ext"}, "spec": {}}))
    }

    async fn lead(clue: Clue) -> String {
        match resolve(&shop(), &[clue]).await.unwrap() {
            Correlation::Found(workload) => format!("{}/{}", workload.kind, workload.object.name()),
            Correlation::Dismissed(dismissal) => dismissal.reason.code().to_owned(),
        }
    }

    #[tokio::test]
    async fn each_clue_leads_to_its_workload_or_nowhere() {
        let at = |make: fn(String, String) -> Clue, name: &str| make("shop".into(), name.into());
        for (clue, leads_to) in [
            (Clue::Explicit(Kind::Deployment, "shop".into(), "web".into()), "Deployment/web"),
            (Clue::Explicit(Kind::Deployment, "shop".into(), "gone".into()), "no_workload"),
            (at(Clue::ReplicaSet, "web-abc"), "Deployment/web"),
            (at(Clue::Pod, "web-abc-x1"), "Deployment/web"),
            (at(Clue::Pod, "web-abc-gone1"), "Deployment/web"),
            (at(Clue::Pod, "web-old-gone1"), "no_workload"),
            (at(Clue::Pod, "job-1"), "no_workload"),
            (at(Clue::Pod, "pg-0"), "StatefulSet/pg"),
            (at(Clue::Pod, "agent-x2x2x"), "DaemonSet/agent"),
            (at(Clue::Service, "web"), "Deployment/web"),
            (at(Clue::Service, "ext"), "no_workload"),
            (at(Clue::Container, "db"), "Deployment/db"),
            (at(Clue::Container, "app"), "ambiguous_workload"),
            (at(Clue::Container, "none"), "no_workload"),
        ] {
            assert_eq!(lead(clue.clone()).await, leads_to, "{clue}");
        }
    }

    #[tokio::test]
    async fn a_pod_tells_which_version_it_is_about() {
        let template = json!({"spec": {"containers": [{"name": "app", "image": "web:v1"}]}});
        let cluster = shop().with(
            Kind::ReplicaSet,
            json!({"metadata": {"namespace": "shop", "name": "web-v1", "ownerReferences": [owner("Deployment", "web")]},
                "spec": {"template": template}}),
        );
        let Correlation::Found(found) = resolve(&cluster, &[Clue::Pod("shop".into(), "web-v1-gone1".into())]).await.unwrap()
        else {
            panic!("the ReplicaSet is there")
        };
        assert_eq!((found.object.name(), found.about), ("web", Some(template::hash(&template))));
    }

    #[tokio::test]
    async fn several_candidates_are_named() {
        let answer = resolve(&shop(), &[Clue::Container("shop".into(), "app".into())]).await.unwrap();
        let Correlation::Dismissed(dismissal) = answer else { panic!("{answer:?}") };
        assert!(dismissal.detail.contains("Deployment/api, Deployment/web"), "{}", dismissal.detail);
    }

    #[tokio::test]
    async fn an_outage_dismisses_nothing() {
        let away = FakeCluster { away: true, ..shop() };
        assert!(resolve(&away, &[Clue::Pod("shop".into(), "web-abc-x1".into())]).await.is_err());
    }

    #[tokio::test]
    async fn a_clue_that_leads_nowhere_gives_way_to_the_next() {
        let clues = [Clue::Pod("shop".into(), "gone-1-2".into()), Clue::Workload(Kind::Deployment, "shop".into(), "web".into())];
        assert!(matches!(resolve(&shop(), &clues).await.unwrap(), Correlation::Found(_)));
    }
}
