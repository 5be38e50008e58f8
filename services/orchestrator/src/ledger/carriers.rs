//! What carries the versions of a workload in the cluster: a Deployment's ReplicaSets, a StatefulSet's or DaemonSet's ControllerRevisions.
//!
//! Guarantees: whatever carries a version, its template is normalised and has the hash of the workload's `spec.template` that it was made
//! of; what can't be read carries none. Must not: look beyond the workload's own, by uid.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lastgood_core::{revision, template};
use serde_json::Value;

use crate::cluster::{Kind, Lookup, LookupError, Object};

/// One version as the cluster keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Carrier {
    /// The object's name.
    pub name: String,
    /// The uid of the workload whose it is.
    pub owner: String,
    /// The pod template.
    pub template: Value,
    /// Its hash.
    pub hash: String,
    /// Its number, which an undo changes.
    pub revision: i64,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Its uid.
    pub uid: String,
    /// What the pods of a ControllerRevision call it.
    pub called: Vec<String>,
}

impl Carrier {
    /// Of a ReplicaSet or a ControllerRevision.
    #[must_use]
    pub fn of(object: &Object) -> Option<Self> {
        let (template, revision) = match revision::template(object.json()) {
            Some(template) => (template, revision::number(object.json())),
            None => (template::normalise(object.template()?), object.revision()),
        };
        let names = [Some(object.name()), object.label(revision::POD_LABEL)];
        let is_set = object.template().is_some();
        Some(Self {
            name: object.name().to_owned(),
            owner: object.controller()?.uid,
            hash: template::hash(&template),
            template,
            revision,
            created: object.created(),
            uid: object.uid().to_owned(),
            called: names.into_iter().flatten().filter(|_| !is_set).map(ToOwned::to_owned).collect(),
        })
    }

    /// Whether this pod runs the version that it carries.
    #[must_use]
    pub fn has(&self, pod: &Object) -> bool {
        let Some(controller) = pod.controller() else { return false };
        let label = pod.label(revision::POD_LABEL).unwrap_or_default();
        controller.uid == self.uid || (controller.uid == self.owner && self.called.iter().any(|name| name == label))
    }
}

/// The kind of object that carries the versions of a kind of workload.
#[must_use]
pub const fn carried_by(kind: Kind) -> Kind {
    match kind {
        Kind::StatefulSet | Kind::DaemonSet => Kind::ControllerRevision,
        _ => Kind::ReplicaSet,
    }
}

/// The versions that the cluster keeps of a workload, and perhaps some of others with the same labels.
pub async fn list(cluster: &dyn Lookup, kind: Kind, workload: &Object) -> Result<Vec<Carrier>, LookupError> {
    let Some(selector) = workload.selector() else { return Ok(Vec::new()) };
    let objects = cluster.list(carried_by(kind), workload.namespace(), &selector).await?;
    Ok(objects.iter().filter_map(Carrier::of).collect())
}

/// The workload's own, the newest of each version, by the template's hash.
#[must_use]
pub fn by_version<'a>(workload: &Object, carriers: &'a [Carrier]) -> BTreeMap<String, &'a Carrier> {
    let mut ours: Vec<_> = carriers.iter().filter(|carrier| carrier.owner == workload.uid()).collect();
    ours.sort_by_key(|carrier| carrier.revision);
    ours.into_iter().map(|carrier| (carrier.hash.clone(), carrier)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(image: &str) -> Value {
        json!({"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "db", "image": image}]}})
    }

    fn controller_revision(image: &str, revision: i64, owner: &str) -> Object {
        let mut patch = template(image);
        patch["$patch"] = json!("replace");
        patch["metadata"]["creationTimestamp"] = Value::Null;
        Object::new(json!({"metadata": {"name": format!("db-{image}"), "creationTimestamp": "2026-11-21T10:00:00Z",
                "ownerReferences": [{"kind": "StatefulSet", "name": "db", "uid": owner, "controller": true}]},
            "revision": revision, "data": {"spec": {"template": patch}}}))
    }

    #[test]
    fn both_kinds_carry_the_same_version() {
        let set = Object::new(json!({"metadata": {"name": "db-1", "annotations": {"deployment.kubernetes.io/revision": "3"},
                "ownerReferences": [{"kind": "Deployment", "uid": "u", "controller": true}]},
            "spec": {"template": {"metadata": {"labels": {"app": "db", "pod-template-hash": "x"}}, "spec": template("v1")["spec"]}}}));
        let (set, revision) = (Carrier::of(&set).unwrap(), Carrier::of(&controller_revision("v1", 3, "u")).unwrap());
        assert_eq!((set.hash.as_str(), set.revision), (revision.hash.as_str(), revision.revision));
        assert_eq!((set.template, revision.template), (template("v1"), template("v1")));
        assert!(set.created.is_none() && revision.created.is_some());
    }

    #[test]
    fn only_its_own_count_and_of_each_version_the_newest() {
        let read = [("v1", 4, "u"), ("v1", 1, "u"), ("v2", 3, "u"), ("v3", 9, "other")];
        let carriers: Vec<_> =
            read.iter().filter_map(|(image, n, owner)| Carrier::of(&controller_revision(image, *n, owner))).collect();
        let workload = Object::new(json!({"metadata": {"uid": "u"}}));
        let mut numbers: Vec<_> = by_version(&workload, &carriers).into_values().map(|carrier| carrier.revision).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [3, 4]);
    }

    #[test]
    fn a_pod_is_of_its_replica_set_or_of_the_revision_that_it_names() {
        let pod = |owner: &str, label: &str| {
            Object::new(json!({"metadata": {"labels": {revision::POD_LABEL: label},
                "ownerReferences": [{"kind": "StatefulSet", "uid": owner, "controller": true}]}}))
        };
        let of_set = Carrier::of(&controller_revision("v1", 1, "u")).unwrap();
        assert!(of_set.has(&pod("u", "db-v1")) && !of_set.has(&pod("u", "db-v2")) && !of_set.has(&pod("other", "db-v1")));
        let mut daemon = controller_revision("v1", 1, "u").json().clone();
        daemon["metadata"]["labels"] = json!({revision::POD_LABEL: "77f"});
        assert!(Carrier::of(&Object::new(daemon)).unwrap().has(&pod("u", "77f")));
        let set = Object::new(
            json!({"metadata": {"name": "web-1", "uid": "rs", "ownerReferences": [{"uid": "u", "controller": true}]},
            "spec": {"template": template("v1")}}),
        );
        let set = Carrier::of(&set).unwrap();
        assert!(set.has(&pod("rs", "")) && !set.has(&pod("u", "")) && !set.has(&pod("u", "web-1")));
    }

    #[test]
    fn what_belongs_to_nobody_or_has_no_template_carries_nothing() {
        assert_eq!(Carrier::of(&Object::new(json!({"spec": {"template": template("v1")}}))), None);
        let mut other = controller_revision("v1", 1, "u").json().clone();
        other["data"] = json!({"anything": 1});
        assert_eq!(Carrier::of(&Object::new(other)), None);
    }
}
