//! A workload as a number, by which a look that would find nothing new is spared.
//!
//! Guarantees: everything that a look's result can depend on is in it: of the workload itself, and of what the policies say of it. Must not: move
//! with what proves nothing (counts between none and all), or a rollout of many pods would be many looks.

use std::hash::{DefaultHasher, Hash, Hasher};

use lastgood_core::configuration::Kind as Configuration;
use lastgood_core::configuration::restore::Rules;
use lastgood_core::policy::Effective;
use lastgood_core::template;
use serde_json::Value;

use super::availability::{Counts, is_available, is_caught_up};
use super::observe::{last_applied_template, template_owners};
use crate::cluster::{Kind, Object};

/// A hash of everything about a workload that a look's result can depend on; status counts only as "available" and "caught up".
pub(super) fn digest(kind: Kind, workload: &Object, terms: &Effective) -> u64 {
    let mut hasher = DefaultHasher::new();
    workload.uid().hash(&mut hasher);
    workload.template().map(template::hash).hash(&mut hasher);
    last_applied_template(workload).hash(&mut hasher);
    for (manager, operation, fields) in workload.at("/metadata/managedFields").map(template_owners).unwrap_or_default() {
        (manager, operation, fields.to_string()).hash(&mut hasher);
    }
    is_available(kind, workload).hash(&mut hasher);
    is_caught_up(workload).hash(&mut hasher);
    // A resumed rollout makes its ReplicaSet later than the template says.
    workload.at("/spec/paused").and_then(Value::as_bool).hash(&mut hasher);
    Counts::of(kind, workload).updated.min(1).hash(&mut hasher);
    (terms.ledger, terms.soak, terms.keep_versions).hash(&mut hasher);
    // Whoever opts in has copies of the configuration kept from then on.
    let rules = Rules::from(terms);
    Configuration::ALL.map(|kind| rules.keeps(kind)).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kube::api::DynamicObject;
    use lastgood_core::policy::{Mode, RestoreConfigMaps};
    use serde_json::json;

    use super::*;

    fn of(value: Value) -> u64 {
        digest(Kind::Deployment, &Object::new(value), &Effective::default())
    }

    #[test]
    fn an_event_and_a_read_of_the_same_object_are_the_same() {
        let read = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "uid": "u", "generation": 2,
                "managedFields": [{"manager": "kubectl", "operation": "Update", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
                    "time": "2026-11-21T10:00:00Z", "fieldsV1": {"f:spec": {"f:template": {"f:spec": {".": {}}}}}}]},
            "spec": {"template": {"spec": {"containers": [{"name": "web", "image": "a"}]}}}, "status": {"observedGeneration": 2}});
        let event: DynamicObject = serde_json::from_value(read.clone()).unwrap();
        assert_eq!(of(serde_json::to_value(event).unwrap()), of(read));
    }

    #[test]
    fn counts_that_prove_nothing_do_not_wake_a_look() {
        let with = |replicas: i64, available: i64| {
            of(json!({"metadata": {"uid": "u", "generation": 1}, "spec": {"replicas": 3, "template": {}},
                "status": {"observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas, "availableReplicas": available}}))
        };
        assert_eq!(with(2, 1), with(3, 2));
        assert_ne!(with(3, 2), with(3, 3));
    }

    #[test]
    fn what_the_policies_say_of_the_ledger_wakes_one_and_what_they_say_of_rollbacks_does_not() {
        let on = |terms: &Effective| digest(Kind::Deployment, &Object::new(json!({"metadata": {"uid": "u"}})), terms);
        let auto = Effective { mode: Mode::Auto, ..Effective::default() };
        assert_ne!(on(&auto), on(&Effective::default()), "copies are kept from now on");
        for other in [
            Effective { ledger: false, ..auto.clone() },
            Effective { soak: Duration::from_secs(1), ..auto.clone() },
            Effective { keep_versions: 3, ..auto.clone() },
            Effective { restore_config_maps: RestoreConfigMaps::Never, ..auto.clone() },
            Effective { restore_secrets: true, ..auto.clone() },
        ] {
            assert_ne!(on(&other), on(&auto));
        }
        let elsewhere = Effective { cooldown: Duration::from_secs(1), frozen: Some("peak".into()), ..auto.clone() };
        assert_eq!(on(&elsewhere), on(&auto));
    }
}
