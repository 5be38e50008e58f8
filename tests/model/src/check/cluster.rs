//! The cluster: one Deployment, small, and as the JSON that the product's own functions read and write.
//!
//! Guarantees: an update is refused unless it carries the resourceVersion of what is there; a change of the spec moves the generation, a
//! change of the template makes a new revision. Must not: know what lastgood may do; it takes any write.

use std::sync::OnceLock;

use contracts::{IncidentId, IncidentSubject, LedgerFact, v1};
use executor::attempt::Live;
use executor::strategies::{self, ATTEMPT, INCIDENT, Stamp, TEMPLATE_HASH};
use lastgood_core::template;
use orchestrator::cluster::Object;
use orchestrator::ledger::carriers::Carrier;
use serde_json::{Value, json};

use super::book::hour;
use super::person::Person;
use super::world::Workload;

const REVISION: &str = "deployment.kubernetes.io/revision";
/// The versions that there are: the good one, the bad one, a person's, and the good one by its digest.
pub(super) const VERSIONS: [u8; 4] = [1, 2, 3, BY_DIGEST];
const BY_DIGEST: u8 = 4;
/// What the good version's tag led to while it proved itself.
const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// The pod template of a version.
pub(super) fn template_of(version: u8) -> Value {
    let image = if version == BY_DIGEST { format!("web@{DIGEST}") } else { tag(version) };
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}})
}

fn tag(version: u8) -> String {
    format!("web:v{version}")
}

/// What an executor reports whose pods, of this workload, run another image than the good version did.
pub(super) fn moved(attempt: u32, live: Workload) -> v1::ImageMoved {
    let image = v1::MovedImage {
        container: "web".to_owned(),
        image: tag(live.version),
        recorded: DIGEST.to_owned(),
        ..v1::MovedImage::default()
    };
    let workload_revision = i64::from(live.revision);
    v1::ImageMoved { attempt, template_hash: hash_of(live.version), workload_revision, images: vec![image] }
}

/// Its hash.
pub(super) fn hash_of(version: u8) -> String {
    static HASHES: OnceLock<[String; 4]> = OnceLock::new();
    let hashes = HASHES.get_or_init(|| VERSIONS.map(|version| template::hash(&template_of(version))));
    hashes.get(usize::from(version).saturating_sub(1)).cloned().unwrap_or_default()
}

/// The version with this template hash; 0 for none.
pub(super) fn version_with(hash: &str) -> u8 {
    VERSIONS.into_iter().find(|version| hash_of(*version) == hash).unwrap_or_default()
}

/// The id of an incident by its number, counted from zero.
pub(super) fn incident_id(incident: u8) -> IncidentId {
    format!("inc_{:032x}", u32::from(incident) + 1).parse().expect("it is 32 hex digits")
}

/// The subject of an incident.
pub(super) fn subject(incident: u8) -> IncidentSubject {
    let text = |text: &str| text.to_owned();
    let workload = v1::WorkloadRef { cluster: text("eu"), namespace: text("shop"), kind: text("deployment"), name: text("web") };
    IncidentSubject { workload, incident: incident_id(incident) }
}

/// The occurrence of an alert.
pub(super) fn occurrence(alert: u8) -> v1::Occurrence {
    v1::Occurrence {
        fingerprint: format!("alert{alert}"),
        starts_at: Some(contracts::time::to_proto(hour(alert))),
        ..v1::Occurrence::default()
    }
}

/// The uid as the API server says it.
pub(super) fn uid(workload: Workload) -> String {
    format!("uid-{}", workload.uid)
}

/// The object as the API server sends it.
pub(super) fn object(workload: Workload) -> Value {
    let mut annotations = json!({"lastgood.dev/mode": "auto", REVISION: workload.revision.to_string()});
    if workload.stamp > 0 {
        annotations[INCIDENT] = json!(incident_id(workload.stamp - 1).to_string());
        annotations[ATTEMPT] = json!(workload.attempt.to_string());
        annotations[TEMPLATE_HASH] = json!(hash_of(workload.stamped));
    }
    json!({
        "metadata": {
            "name": "web", "namespace": "shop", "uid": uid(workload), "generation": workload.generation,
            "resourceVersion": workload.resource_version.to_string(), "annotations": annotations,
        },
        "spec": {"replicas": 2, "paused": workload.paused, "template": template_of(workload.version)},
    })
}

/// The ReplicaSet of what runs.
pub(super) fn replica_set(workload: Workload) -> Option<Carrier> {
    let revision = workload.revision;
    let set = Object::new(json!({
        "metadata": {
            "name": format!("web-{revision}"), "annotations": {REVISION: revision.to_string()},
            "creationTimestamp": hour(0).to_string(),
            "ownerReferences": [{"kind": "Deployment", "name": "web", "uid": uid(workload), "controller": true}],
        },
        "spec": {"template": template_of(workload.version)},
    }));
    Carrier::of(&set)
}

/// What the executor's own strategy makes of the workload as it was read.
pub(super) fn restored(read: Workload, plan: &v1::Plan, incident: u8, attempt: u32) -> Option<Workload> {
    let stamp = Stamp { incident: incident_id(incident), attempt, yields: None };
    let written = Live::of(&strategies::restore(&object(read), plan, &stamp).ok()?);
    Some(Workload {
        version: version_with(&written.template_hash),
        stamp: incident + 1,
        attempt: u8::try_from(written.attempt).unwrap_or(u8::MAX),
        stamped: version_with(&written.stamped_template),
        paused: written.paused,
        ..read
    })
}

/// An update that was accepted over what is there: the server's part of it.
pub(super) fn stored(there: Workload, wanted: Workload) -> Workload {
    let template = there.version != wanted.version;
    let spec = template || there.paused != wanted.paused;
    Workload {
        resource_version: there.resource_version + 1,
        generation: there.generation + u8::from(spec),
        revision: there.revision + u8::from(template),
        uid: there.uid,
        edits: there.edits,
        ..wanted
    }
}

/// What a person makes of the workload (or that it is gone); `None` where that changes nothing.
#[expect(clippy::option_option, reason = "no change is not the same as gone")]
pub(super) fn changed(there: Workload, person: Person) -> Option<Option<Workload>> {
    let edited = |wanted: Workload| {
        let after = stored(there, wanted);
        (wanted != there).then_some(Some(Workload { edits: there.edits + 1, ..after }))
    };
    match person {
        Person::FixesForward => edited(Workload { version: 3, ..there }),
        Person::RollsBack => edited(Workload { version: 1, ..there }),
        Person::DeploysBadAgain => edited(Workload { version: 2, ..there }),
        Person::PausesRollout => edited(Workload { paused: true, ..there }),
        Person::Scales => {
            let resource_version = there.resource_version + 1;
            Some(Some(Workload { resource_version, generation: there.generation + 1, ..there }))
        }
        Person::Recreates => Some(Some(Workload { uid: there.uid + 1, edits: there.edits + 1, ..fresh() })),
        Person::RecreatesGood => Some(Some(Workload { uid: there.uid + 1, edits: there.edits + 1, version: 1, ..fresh() })),
        Person::Deletes => Some(None),
        Person::SwitchesOff | Person::Approves | Person::Declines | Person::Acknowledges => None,
    }
}

/// The bad version, as somebody rolled it out.
pub(super) const fn fresh() -> Workload {
    Workload {
        uid: 1,
        generation: 2,
        resource_version: 1,
        version: 2,
        revision: 2,
        paused: false,
        stamp: 0,
        attempt: 0,
        stamped: 0,
        edits: 0,
    }
}

/// The ledger's word that this runs now.
pub(super) fn observed(workload: Workload) -> LedgerFact {
    let version = v1::Version {
        template_hash: hash_of(workload.version),
        revision: i64::from(workload.revision),
        replica_set: format!("web-{}", workload.revision),
        images: template::images(&template_of(workload.version)),
        ..v1::Version::default()
    };
    v1::VersionObserved {
        version: Some(version),
        workload_uid: uid(workload),
        template_json: template_of(workload.version).to_string().into_bytes(),
        ..v1::VersionObserved::default()
    }
    .into()
}

/// The ledger's word that it was seen fully available.
pub(super) fn available(version: u8) -> LedgerFact {
    let image = v1::ContainerImage { container: "web".to_owned(), digest: DIGEST.to_owned(), ..v1::ContainerImage::default() };
    v1::VersionAvailable { template_hash: hash_of(version), replicas: 2, restarts: 0, images: vec![image] }.into()
}

/// The ledger's word that an incident rolled back from it.
pub(super) fn rolled_back_from(version: u8, incident: u8) -> LedgerFact {
    v1::VersionRolledBackFrom { template_hash: hash_of(version), incident: incident_id(incident).to_string() }.into()
}
