//! What differs by the kind of a workload: which pods are of the restored version, and how many there should be.
//!
//! Guarantees: a pod counts only where what carries its version belongs to the workload, by uid, and has the restored template; pods that
//! a StatefulSet's partition keeps as they are neither count nor are asked for. Must not: read a cluster.

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DynamicObject};
use lastgood_core::rollout::Rollout;
use lastgood_core::{revision, template};
use serde_json::Value;

/// A kind of workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Its versions are carried by ReplicaSets.
    Deployment,
    /// Its versions are carried by ControllerRevisions.
    StatefulSet,
    /// Its versions are carried by ControllerRevisions.
    DaemonSet,
}

impl Kind {
    /// By the API's word for it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Deployment, Self::StatefulSet, Self::DaemonSet].into_iter().find(|kind| kind.name() == name)
    }

    /// The API's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }

    /// Where the API has it.
    #[must_use]
    pub fn resource(self) -> ApiResource {
        match self {
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
            Self::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
        }
    }

    /// Where the API has what carries its versions.
    #[must_use]
    pub fn carriers(self) -> ApiResource {
        match self {
            Self::Deployment => ApiResource::erase::<ReplicaSet>(&()),
            Self::StatefulSet | Self::DaemonSet => ApiResource::erase::<ControllerRevision>(&()),
        }
    }

    /// How many pods of the restored version there should be.
    #[must_use]
    pub fn desired(self, workload: &DynamicObject) -> u32 {
        let number = |pointer: &str| workload.data.pointer(pointer).and_then(Value::as_i64);
        // The API server writes the default, 1, by itself.
        let replicas = number("/spec/replicas").unwrap_or(1);
        let desired = match self {
            Self::Deployment => replicas,
            Self::StatefulSet => replicas.saturating_sub(self.rollout(workload).kept),
            Self::DaemonSet => number("/status/desiredNumberScheduled").unwrap_or_default(),
        };
        u32::try_from(desired).unwrap_or(1)
    }

    /// The pods of the restored version, by what carries it; of those that take part in a rollout.
    #[must_use]
    pub fn restored<'a>(self, workload: &DynamicObject, hash: &str, carriers: &[DynamicObject], pods: &'a [Pod]) -> Vec<&'a Pod> {
        let owner = workload.metadata.uid.as_deref().unwrap_or_default();
        let carriers: Vec<Value> = carriers
            .iter()
            .filter(|carrier| owned_by(&carrier.metadata, |uid| uid == owner))
            .filter_map(|carrier| serde_json::to_value(carrier).ok())
            .filter(|carrier| self.template(carrier).is_some_and(|carried| template::hash(&carried) == hash))
            .collect();
        let rollout = self.rollout(workload);
        let is_one = |pod: &&Pod| match self {
            Self::Deployment => owned_by(&pod.metadata, |uid| carriers.iter().any(|set| set["metadata"]["uid"] == uid)),
            Self::StatefulSet | Self::DaemonSet => {
                let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get(revision::POD_LABEL));
                owned_by(&pod.metadata, |uid| uid == owner)
                    && rollout.follows(pod.metadata.name.as_deref().unwrap_or_default())
                    && label.is_some_and(|label| carriers.iter().any(|carrier| revision::is_named(carrier, label)))
            }
        };
        pods.iter().filter(is_one).collect()
    }

    fn template(self, carrier: &Value) -> Option<Value> {
        match self {
            Self::Deployment => carrier.pointer("/spec/template").cloned(),
            Self::StatefulSet | Self::DaemonSet => revision::template(carrier),
        }
    }

    fn rollout(self, workload: &DynamicObject) -> Rollout {
        match self {
            Self::Deployment => Rollout::default(),
            Self::StatefulSet => Rollout::of_stateful_set(&workload.data),
            Self::DaemonSet => Rollout::of_daemon_set(&workload.data),
        }
    }
}

fn owned_by(metadata: &ObjectMeta, is: impl Fn(&str) -> bool) -> bool {
    metadata.owner_references.iter().flatten().any(|owner| owner.controller == Some(true) && is(&owner.uid))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(image: &str) -> Value {
        json!({"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "db", "image": image}]}})
    }

    fn owners(uid: &str) -> Value {
        json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": uid, "controller": true}])
    }

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    fn workload(partition: i64) -> DynamicObject {
        object(json!({"metadata": {"name": "db", "uid": "u"}, "spec": {"replicas": 3, "template": template("v1"),
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}},
            "status": {"desiredNumberScheduled": 5}}))
    }

    fn carrier(name: &str, label: &str, image: &str, owner: &str) -> DynamicObject {
        let mut patch = template(image);
        patch["$patch"] = json!("replace");
        object(json!({"metadata": {"name": name, "labels": {revision::POD_LABEL: label}, "ownerReferences": owners(owner)},
            "revision": 1, "data": {"spec": {"template": patch}}}))
    }

    fn pod(name: &str, label: &str, owner: &str) -> Pod {
        serde_json::from_value(
            json!({"metadata": {"name": name, "labels": {revision::POD_LABEL: label}, "ownerReferences": owners(owner)}}),
        )
        .unwrap()
    }

    #[test]
    fn a_stateful_sets_restored_pods_are_those_that_follow_and_name_its_revision() {
        let carriers = [carrier("db-a", "", "v1", "u"), carrier("db-b", "", "v2", "u"), carrier("db-c", "", "v1", "other")];
        let pods = [pod("db-0", "db-a", "u"), pod("db-1", "db-b", "u"), pod("db-2", "db-a", "u"), pod("db-3", "db-a", "other")];
        let restored = |partition| {
            let hash = lastgood_core::template::hash(&template("v1"));
            let found = Kind::StatefulSet.restored(&workload(partition), &hash, &carriers, &pods);
            found.into_iter().filter_map(|pod| pod.metadata.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(restored(0), ["db-0", "db-2"]);
        assert_eq!(restored(1), ["db-2"]);
    }

    #[test]
    fn a_daemon_sets_pods_name_only_the_hash() {
        let pods = [pod("agent-x", "a", "u"), pod("agent-y", "b", "u")];
        let carriers = [carrier("agent-a", "a", "v1", "u")];
        let found = Kind::DaemonSet.restored(&workload(0), &lastgood_core::template::hash(&template("v1")), &carriers, &pods);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn how_many_there_should_be() {
        for (kind, partition, expected) in
            [(Kind::Deployment, 1, 3), (Kind::StatefulSet, 0, 3), (Kind::StatefulSet, 1, 2), (Kind::DaemonSet, 0, 5)]
        {
            assert_eq!(kind.desired(&workload(partition)), expected, "{kind:?} {partition}");
            assert_eq!(Kind::parse(kind.name()), Some(kind));
        }
        assert_eq!(Kind::parse("Job"), None);
    }
}
