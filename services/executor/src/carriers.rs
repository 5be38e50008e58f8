//! What carries the versions of a workload, and which pods are of which: ReplicaSets for a Deployment, ControllerRevisions for the others.
//!
//! Guarantees: only the workload's own count, by uid; a version is told by its template's hash, whatever carries it. Must not: talk to a
//! cluster.

use lastgood_core::{revision, template};
use serde_json::Value;

use crate::cluster::Kind;
use crate::strategies::ROLLED_BACK_BY;
use crate::view::{Versions, Which};

/// What carries one version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carrier {
    /// Its name.
    pub name: String,
    /// Its template's hash.
    pub template_hash: String,
    /// Which version it carries.
    pub which: Which,
    /// Which incident it is annotated with.
    pub rolled_back_by: String,
    /// Its number: the newest has the highest.
    pub number: i64,
    /// What a DaemonSet's pods call it, where that is not its name.
    pub label: String,
}

impl Carrier {
    /// Reads it; `None` where it is not this workload's.
    #[must_use]
    pub fn of(object: &Value, kind: Kind, workload_uid: &str, versions: &Versions) -> Option<Self> {
        let (_, uid) = owner(object, kind.name())?;
        if uid != workload_uid {
            return None;
        }
        let (template, number) = if kind.carrier() == Kind::ControllerRevision {
            (revision::template(object)?, revision::number(object))
        } else {
            (object["spec"]["template"].clone(), 0)
        };
        let (name, template_hash) = (text(&object["metadata"]["name"]), template::hash(&template));
        Some(Self {
            which: versions.which(&name, &template_hash),
            rolled_back_by: text(&object["metadata"]["annotations"][ROLLED_BACK_BY]),
            label: text(&object["metadata"]["labels"][revision::POD_LABEL]),
            name,
            template_hash,
            number,
        })
    }
}

/// What carries the version of a pod; `None` where the pod is not this workload's. A pod of a StatefulSet or DaemonSet whose revision is
/// not known is theirs all the same, of an unknown version.
#[must_use]
pub fn of_pod(pod: &Value, kind: Kind, workload_uid: &str, carriers: &[Carrier]) -> Option<Carrier> {
    if kind.carrier() == Kind::ReplicaSet {
        let (name, _) = owner(pod, Kind::ReplicaSet.name())?;
        return carriers.iter().find(|carrier| carrier.name == name).cloned();
    }
    let (_, uid) = owner(pod, kind.name())?;
    let label = revision::label_of(pod);
    let names = |carrier: &&Carrier| !label.is_empty() && (carrier.name == label || carrier.label == label);
    (uid == workload_uid).then(|| carriers.iter().find(names).cloned().unwrap_or_default())
}

fn owner(object: &Value, kind: &str) -> Option<(String, String)> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["kind"] == kind && owner["controller"] == true)?;
    Some((text(&owner["name"]), text(&owner["uid"])))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
