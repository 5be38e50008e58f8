//! What one look at a workload and at what carries its versions adds to its ledger.
//!
//! Guarantees: looking again adds nothing; a version is current once its carrier is there (a paused Deployment's changes are not);
//! versions that were only found, not seen to run well, are recorded without any proof. What is recorded of field ownership is never
//! lastgood's own. Must not: read a clock: times are the objects' and the stream's.

use std::collections::BTreeMap;

use contracts::{LedgerFact, v1};
use lastgood_core::configuration::{id_of, version_id, without_copies};
use lastgood_core::template;
use serde_json::Value;

use super::LedgerView;
use super::carriers::{Carrier, by_version};
use crate::cluster::Object;
use crate::configuration::{Seen, recorded};

/// kubectl's record of what was applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The name under which the executor writes.
const OUR_MANAGER: &str = "lastgood";

/// The facts that this look adds, oldest version first; `seen` is the configuration that the template refers to, as it is now.
#[must_use]
pub fn observe(view: &LedgerView, deployment: &Object, sets: &[Carrier], seen: &[Seen]) -> Vec<LedgerFact> {
    let Some(template) = deployment.template() else { return Vec::new() };
    let hash = template::hash(template);
    let sets = by_version(deployment, sets);
    let Some(running) = sets.get(&hash) else { return Vec::new() };
    let current = configured(version(&hash, template, running), template, view, seen);
    let mut facts = Vec::new();
    let becomes_current = view.current_hash() != Some(&current.id);
    if let Some(observed) = current_version(view, deployment, current) {
        if becomes_current {
            facts.extend(found_besides(view, deployment, &hash, &sets));
        }
        facts.push(observed.into());
    }
    facts
}

/// The version with its configuration, and with what follows where nothing else has changed: it did not begin with its ReplicaSet, and
/// pods that read it as they start have not read it.
fn configured(version: v1::Version, template: &Value, view: &LedgerView, seen: &[Seen]) -> v1::Version {
    let configuration = recorded(seen);
    let id = version_id(template, &configuration);
    let before = view.current_hash().and_then(|current| view.known(current)).map(|known| &known.version);
    let before = before.filter(|before| before.template_hash == version.template_hash && id_of(before) != id);
    let Some(before) = before else { return v1::Version { id, configuration, ..version } };
    let same = |one: &v1::Configuration| {
        before.configuration.iter().any(|old| {
            (&old.kind, &old.name, &old.fingerprint, old.absent) == (&one.kind, &one.name, &one.fingerprint, one.absent)
        })
    };
    let in_place = seen.iter().any(|one| one.reference.at_start && !same(&one.recorded));
    v1::Version { id, configuration, in_place, first_seen: None, ..version }
}

/// `spec.template` of the last-applied-configuration, JSON, with the names that its owner gave; empty where there is none.
#[must_use]
pub fn last_applied_template(deployment: &Object) -> Vec<u8> {
    let applied = deployment.annotation(LAST_APPLIED).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let template = applied.as_ref().and_then(|applied| applied.pointer("/spec/template"));
    template.map(|template| json_bytes(&without_copies(template))).unwrap_or_default()
}

/// Who owns which part of the template: what of managedFields matters to a later rollback.
#[must_use]
pub fn template_owners(managed_fields: &Value) -> Vec<(String, String, Value)> {
    let entries = managed_fields.as_array().into_iter().flatten();
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let owned = |entry: &Value| {
        let fields = entry.pointer("/fieldsV1/f:spec/f:template")?.clone();
        Some((text(entry, "manager"), text(entry, "operation"), fields))
    };
    entries.filter_map(owned).collect()
}

/// metadata.managedFields, JSON; empty where there are none, or while lastgood owns a part of the template (between its two writes).
fn managed_fields(deployment: &Object) -> Vec<u8> {
    let Some(fields) = deployment.at("/metadata/managedFields") else { return Vec::new() };
    let owners = template_owners(fields);
    if owners.is_empty() || owners.iter().any(|(manager, _, _)| manager == OUR_MANAGER) {
        return Vec::new();
    }
    json_bytes(fields)
}

fn current_version(view: &LedgerView, deployment: &Object, current: v1::Version) -> Option<v1::VersionObserved> {
    let template = deployment.template()?;
    let known = view.known(&current.id).filter(|_| view.current_hash() == Some(&current.id));
    let same_configuration = known.is_some_and(|known| known.version.configuration == current.configuration);
    let observed = v1::VersionObserved {
        version: Some(current),
        workload_uid: deployment.uid().to_owned(),
        template_json: json_bytes(&template::normalise(&without_copies(template))),
        last_applied_template_json: last_applied_template(deployment),
        managed_fields_json: managed_fields(deployment),
    };
    let nothing_new = known.is_some_and(|known| {
        let applied = &observed.last_applied_template_json;
        let same_owners = observed.managed_fields_json.is_empty()
            || owners_of(&known.managed_fields_json) == owners_of(&observed.managed_fields_json);
        same_configuration && same_owners && (applied.is_empty() || *applied == known.last_applied_template_json)
    });
    (!nothing_new).then_some(observed)
}

fn owners_of(json: &[u8]) -> Vec<(String, String, Value)> {
    serde_json::from_slice(json).map(|fields| template_owners(&fields)).unwrap_or_default()
}

/// Versions that something carries and that the ledger doesn't know, oldest first. Nobody knows with which configuration they ran. What is older
/// than the ledger's last look at another version was known once, and let go: the cluster may keep more versions than the ledger does.
fn found_besides(view: &LedgerView, deployment: &Object, current: &str, sets: &BTreeMap<String, &Carrier>) -> Vec<LedgerFact> {
    let looked = view.ledger.versions.values().map(|known| known.last_current_at).max();
    let let_go = |set: &Carrier| looked.zip(set.created).is_some_and(|(looked, created)| created <= looked);
    let is_unknown = |hash: &String| hash != current && view.of_template(hash).next().is_none();
    let mut unknown: Vec<_> = sets.iter().filter(|(hash, set)| is_unknown(hash) && !let_go(set)).collect();
    unknown.sort_by_key(|(_, set)| set.revision);
    let observed = |(hash, set): (&String, &&Carrier)| {
        LedgerFact::from(v1::VersionObserved {
            version: Some(version(hash, &set.template, set)),
            workload_uid: deployment.uid().to_owned(),
            template_json: json_bytes(&without_copies(&set.template)),
            ..v1::VersionObserved::default()
        })
    };
    unknown.into_iter().map(observed).collect()
}

/// A version as its carrier shows it.
#[must_use]
pub fn version(hash: &str, template: &Value, set: &Carrier) -> v1::Version {
    v1::Version {
        template_hash: hash.to_owned(),
        images: template::images(template),
        revision: set.revision,
        replica_set: set.name.clone(),
        first_seen: set.created.map(contracts::time::to_proto),
        ..v1::Version::default()
    }
}

fn json_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    /// A look at a workload without configuration.
    fn observe(view: &LedgerView, deployment: &Object, sets: &[Carrier]) -> Vec<LedgerFact> {
        super::observe(view, deployment, sets, &[])
    }

    fn template(image: &str) -> Value {
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}})
    }

    fn deployment(image: &str, available: i64) -> Object {
        let owned = json!({"f:spec": {"f:template": {"f:spec": {}}}});
        Object::new(json!({"metadata": {"name": "web", "uid": "u", "generation": 3,
                "annotations": {LAST_APPLIED: json!({"spec": {"template": template(image)}}).to_string()},
                "managedFields": [{"manager": "kubectl", "operation": "Update", "fieldsV1": owned}]},
            "spec": {"replicas": 2, "template": template(image)},
            "status": {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": available}}))
    }

    fn set(image: &str, revision: i64) -> Carrier {
        let mut template = template(image);
        template["metadata"]["labels"]["pod-template-hash"] = json!("x");
        let set =
            Object::new(json!({"metadata": {"name": format!("web-{revision}"), "creationTimestamp": "2026-11-21T10:00:00Z",
                "annotations": {"deployment.kubernetes.io/revision": revision.to_string()},
                "ownerReferences": [{"kind": "Deployment", "name": "web", "uid": "u", "controller": true}]},
            "spec": {"template": template}}));
        Carrier::of(&set).unwrap()
    }

    fn record(view: LedgerView, facts: &[LedgerFact]) -> LedgerView {
        facts.iter().fold(view, |view, fact| {
            let sequence = view.sequence + 1;
            view.with(sequence, Timestamp::UNIX_EPOCH, fact)
        })
    }

    fn told(facts: &[LedgerFact]) -> Vec<String> {
        let tell = |fact: &LedgerFact| match fact {
            LedgerFact::VersionObserved(f) => format!("observed {}", f.version.as_ref().unwrap().images[0].image),
            other => other.event_type().to_owned(),
        };
        facts.iter().map(tell).collect()
    }

    #[test]
    fn the_first_look_records_what_is_there() {
        let sets = [set("web:v2", 2), set("web:v1", 1)];
        let facts = observe(&LedgerView::default(), &deployment("web:v2", 2), &sets);
        assert_eq!(told(&facts), ["observed web:v1", "observed web:v2"]);
        let view = record(LedgerView::default(), &facts);
        assert!(observe(&view, &deployment("web:v2", 2), &sets).is_empty(), "looking again adds nothing");
    }

    #[test]
    fn a_rollout_and_an_undo_are_each_recorded_once() {
        let (one, both) = ([set("web:v1", 1)], [set("web:v1", 1), set("web:v2", 2)]);
        let view = record(LedgerView::default(), &observe(&LedgerView::default(), &deployment("web:v1", 2), &one));
        let rolled = observe(&view, &deployment("web:v2", 0), &both);
        assert_eq!(told(&rolled), ["observed web:v2"]);
        let view = record(view, &rolled);
        let undone = observe(&view, &deployment("web:v1", 0), &[set("web:v1", 3), set("web:v2", 2)]);
        assert_eq!(told(&undone), ["observed web:v1"]);
    }

    #[test]
    fn what_was_let_go_does_not_come_back_while_the_cluster_keeps_it() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let old = set("web:v1", 1);
        let later = |image: &str, revision| Carrier { created: Some(at("2026-11-21T12:00:00Z")), ..set(image, revision) };
        let two = observe(&LedgerView::default(), &deployment("web:v2", 2), &[set("web:v2", 2)]);
        let view = two.iter().fold(LedgerView::default(), |view, fact| view.with(1, at("2026-11-21T11:00:00Z"), fact));
        // The third came and went while nobody looked.
        let sets = [old, set("web:v2", 2), later("web:v3", 3), later("web:v4", 4)];
        assert_eq!(told(&observe(&view, &deployment("web:v4", 2), &sets)), ["observed web:v3", "observed web:v4"]);
    }

    #[test]
    fn a_change_that_is_not_rolled_out_is_no_version() {
        assert!(observe(&LedgerView::default(), &deployment("web:v2", 2), &[set("web:v1", 1)]).is_empty());
    }

    #[test]
    fn what_is_learnt_later_of_the_current_version_is_recorded() {
        let sets = [set("web:v1", 1)];
        let mut bare = deployment("web:v1", 2).json().clone();
        bare["metadata"]["annotations"] = json!({});
        let view = record(LedgerView::default(), &observe(&LedgerView::default(), &Object::new(bare.clone()), &sets));
        assert_eq!(told(&observe(&view, &deployment("web:v1", 2), &sets)), ["observed web:v1"]);
        // Other managers' other fields are none of a version's.
        let scaler = json!({"manager": "hpa", "fieldsV1": {"f:spec": {"f:replicas": {}}}});
        bare["metadata"]["managedFields"].as_array_mut().unwrap().push(scaler);
        assert!(observe(&view, &Object::new(bare), &sets).is_empty());
    }

    #[test]
    fn our_own_ownership_is_never_recorded() {
        let mut ours = deployment("web:v1", 2).json().clone();
        ours["metadata"]["managedFields"][0]["manager"] = json!(OUR_MANAGER);
        let facts = observe(&LedgerView::default(), &Object::new(ours), &[set("web:v1", 1)]);
        let Some(LedgerFact::VersionObserved(observed)) = facts.first() else { panic!("{facts:?}") };
        assert!(observed.managed_fields_json.is_empty());
    }

    #[test]
    fn a_stateful_set_is_recorded_by_its_controller_revisions() {
        let revision = |image: &str, number: i64| {
            let mut patch = template(image);
            patch["$patch"] = json!("replace");
            let object = Object::new(json!({"metadata": {"name": format!("web-{number}"),
                    "ownerReferences": [{"kind": "StatefulSet", "name": "web", "uid": "u", "controller": true}]},
                "revision": number, "data": {"spec": {"template": patch}}}));
            Carrier::of(&object).unwrap()
        };
        let live = Object::new(json!({"metadata": {"name": "web", "uid": "u", "generation": 2},
            "spec": {"replicas": 2, "template": template("web:v2")}, "status": {"observedGeneration": 2}}));
        let carriers = [revision("web:v1", 1), revision("web:v2", 2)];
        let facts = observe(&LedgerView::default(), &live, &carriers);
        assert_eq!(told(&facts), ["observed web:v1", "observed web:v2"]);
        let view = record(LedgerView::default(), &facts);
        assert!(observe(&view, &live, &carriers).is_empty(), "looking again adds nothing");
        let known = view.known(&carriers[1].hash).unwrap();
        assert_eq!((known.version.replica_set.as_str(), known.version.revision), ("web-2", 2));
    }

    #[test]
    fn another_workloads_replica_set_is_not_ours() {
        let foreign = Carrier { owner: "other".into(), ..set("web:v1", 1) };
        assert!(observe(&LedgerView::default(), &deployment("web:v1", 2), &[foreign]).is_empty());
    }
}
