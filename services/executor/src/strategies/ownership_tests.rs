//! Tables for `ownership`: each case is what the real server's `managedFields` look like (checked against 1.20).

use serde_json::{Value, json};

use super::*;

fn entry(manager: &str, operation: &str, time: u32, fields: &Value) -> Value {
    json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1", "time": format!("2026-11-22T00:00:{time:02}Z"),
           "fieldsType": "FieldsV1", "fieldsV1": fields})
}

fn template(fields: &Value) -> Value {
    json!({"f:spec": {"f:template": fields}})
}

fn fields_of(entries: &Value, manager: &str) -> Value {
    entries
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["manager"] == manager)
        .map_or(Value::Null, |e| e["fieldsV1"]["f:spec"]["f:template"].clone())
}

#[test]
fn without_an_entry_of_ours_there_is_nothing_to_do() {
    let now = json!([entry("kubectl", "Apply", 1, &template(&json!({"f:a": {}})))]);
    assert_eq!(release(Owners { now: &now, before: None, recorded: None }, TEMPLATE), None);
    assert_eq!(release(Owners { now: &Value::Null, before: None, recorded: None }, TEMPLATE), None);
}

#[test]
fn fields_go_back_to_the_applier() {
    // a: in both versions; only_v1: came back; recorded says that the applier had both.
    let before = json!([entry("kubectl", "Apply", 2, &template(&json!({"f:a": {}, "f:only_v2": {}, "f:same": {}})))]);
    let recorded = json!([entry("kubectl", "Apply", 1, &template(&json!({"f:a": {}, "f:only_v1": {}, "f:same": {}})))]);
    let now = json!([
        entry("kubectl", "Apply", 2, &template(&json!({"f:same": {}}))),
        entry(
            MANAGER,
            "Update",
            3,
            &json!({"f:metadata": {"f:annotations": {"f:lastgood.dev/incident": {}}},
              "f:spec": {"f:template": {"f:a": {}, "f:only_v1": {}}}})
        ),
    ]);
    let whole = json!({"f:a": {}, "f:only_v1": {}, "f:same": {}});
    for (before, recorded) in [(Some(&before), Some(&recorded)), (None, Some(&recorded)), (Some(&before), None), (None, None)] {
        let managed = release(Owners { now: &now, before, recorded }, TEMPLATE).unwrap();
        assert_eq!(fields_of(&managed, "kubectl"), whole, "before {before:?} recorded {recorded:?}");
        assert!(!is_ours_present(&managed));
        assert!(!managed.to_string().contains("lastgood.dev"));
    }
}

#[test]
fn an_entry_that_our_write_emptied_comes_back() {
    let before = json!([
        entry("kubectl-client-side-apply", "Update", 1, &template(&json!({"f:rest": {}}))),
        entry("kubectl-set", "Update", 2, &template(&json!({"f:image": {}}))),
    ]);
    let now = json!([
        entry("kubectl-client-side-apply", "Update", 1, &template(&json!({"f:rest": {}}))),
        entry(MANAGER, "Update", 3, &template(&json!({"f:image": {}}))),
    ]);
    let managed = release(Owners { now: &now, before: Some(&before), recorded: None }, TEMPLATE).unwrap();
    assert_eq!(fields_of(&managed, "kubectl-set"), json!({"f:image": {}}));
}

#[test]
fn a_hot_patched_field_goes_back_to_the_applier_that_had_it() {
    // Version 2 was made by `kubectl set image` over an applied version 1: the applier's next version must not conflict.
    let before = json!([
        entry("helm", "Apply", 1, &template(&json!({"f:rest": {}}))),
        entry("kubectl-set", "Update", 2, &template(&json!({"f:image": {}}))),
    ]);
    let recorded = json!([entry("helm", "Apply", 1, &template(&json!({"f:image": {}, "f:rest": {}})))]);
    let now = json!([
        entry("helm", "Apply", 1, &template(&json!({"f:rest": {}}))),
        entry(MANAGER, "Update", 3, &template(&json!({"f:image": {}}))),
    ]);
    let managed = release(Owners { now: &now, before: Some(&before), recorded: Some(&recorded) }, TEMPLATE).unwrap();
    assert_eq!(fields_of(&managed, "helm"), json!({"f:image": {}, "f:rest": {}}));
    assert_eq!(fields_of(&managed, "kubectl-set"), Value::Null);
}

#[test]
fn a_manager_that_is_gone_is_not_brought_back_against_the_owner() {
    // Version 1's image came from `kubectl set image`; version 2 was applied and took it over.
    let recorded = json!([
        entry("kubectl", "Apply", 1, &template(&json!({"f:rest": {}}))),
        entry("kubectl-set", "Update", 1, &template(&json!({"f:image": {}, "f:only_v1": {}}))),
    ]);
    let before = json!([entry("kubectl", "Apply", 2, &template(&json!({"f:image": {}, "f:rest": {}})))]);
    let now = json!([
        entry("kubectl", "Apply", 2, &template(&json!({"f:rest": {}}))),
        entry(MANAGER, "Update", 3, &template(&json!({"f:image": {}, "f:only_v1": {}}))),
    ]);
    for before in [Some(&before), None] {
        let managed = release(Owners { now: &now, before, recorded: Some(&recorded) }, TEMPLATE).unwrap();
        assert_eq!(fields_of(&managed, "kubectl"), json!({"f:image": {}, "f:only_v1": {}, "f:rest": {}}));
        assert_eq!(managed.as_array().unwrap().len(), 1);
    }
}

#[test]
fn the_last_applied_annotation_stays_with_client_side_apply() {
    // kubectl finds the manager to migrate to server-side apply by this very field.
    let annotation =
        json!({"f:metadata": {"f:annotations": {format!("f:{LAST_APPLIED}"): {}}}, "f:spec": {"f:template": {"f:a": {}}}});
    let before = json!([entry("kubectl-client-side-apply", "Update", 1, &annotation)]);
    let now = json!([
        entry("kubectl-client-side-apply", "Update", 1, &json!({"f:spec": {"f:template": {"f:same": {}}}})),
        entry(MANAGER, "Update", 3, &annotation),
    ]);
    for before in [Some(&before), None] {
        let managed = release(Owners { now: &now, before, recorded: None }, TEMPLATE).unwrap();
        assert!(managed[0]["fieldsV1"]["f:metadata"]["f:annotations"][format!("f:{LAST_APPLIED}")].is_object());
        assert_eq!(managed[0]["fieldsV1"]["f:spec"]["f:template"], json!({"f:a": {}, "f:same": {}}));
    }
}

#[test]
fn entries_of_subresources_and_controllers_stay_as_they_are() {
    let mut status = entry("kube-controller-manager", "Update", 4, &json!({"f:status": {"f:replicas": {}}}));
    status["subresource"] = json!("status");
    let now = json!([status.clone(), entry(MANAGER, "Update", 3, &template(&json!({"f:a": {}})))]);
    let managed = release(Owners { now: &now, before: None, recorded: None }, TEMPLATE).unwrap();
    assert_eq!(managed, json!([status]));
}

#[test]
fn a_service_gets_its_selector_back() {
    let selector = json!({"f:spec": {"f:selector": {"f:version": {}}}});
    let before = json!([entry("helm", "Apply", 1, &selector)]);
    let now = json!([entry("helm", "Apply", 1, &json!({"f:spec": {"f:ports": {}}})), entry(MANAGER, "Update", 2, &selector)]);
    let managed = release(Owners { now: &now, before: Some(&before), recorded: None }, SELECTOR).unwrap();
    assert_eq!(managed, json!([entry("helm", "Apply", 1, &json!({"f:spec": {"f:ports": {}, "f:selector": {"f:version": {}}}}))]));
}

#[test]
fn what_the_server_stretched_between_our_writes_is_taken_back() {
    // Our write left `kubectl-client-side-apply` with bare annotations and `kubectl-set` with a bare env; the controller's next
    // write stretched both over what we had written.
    let annotations = |names: &[&str]| -> Value {
        let fields: serde_json::Map<String, Value> = names.iter().map(|name| (format!("f:{name}"), json!({}))).collect();
        json!({"f:metadata": {"f:annotations": fields}})
    };
    let mut applied = annotations(&[LAST_APPLIED]);
    applied["f:spec"] = json!({"f:template": {"f:image": {}}});
    let before = json!([
        entry("kubectl-client-side-apply", "Update", 1, &applied),
        entry("kubectl-set", "Update", 2, &template(&json!({"f:env": {".": {}, "k:{\"name\":\"BY_HAND\"}": {}}}))),
    ]);
    let mut stretched = annotations(&[LAST_APPLIED, "lastgood.dev/incident"]);
    stretched["f:spec"] = json!({"f:template": {"f:image": {}}});
    let mut ours = annotations(&[LAST_APPLIED, "lastgood.dev/incident"]);
    ours["f:spec"] = json!({"f:template": {"f:env": {"k:{\"name\":\"A\"}": {}}}});
    let now = json!([
        entry("kubectl-client-side-apply", "Update", 1, &stretched),
        entry("kubectl-set", "Update", 2, &template(&json!({"f:env": {".": {}, "k:{\"name\":\"A\"}": {}}}))),
        entry(MANAGER, "Update", 3, &ours),
    ]);
    let managed = release(Owners { now: &now, before: Some(&before), recorded: None }, TEMPLATE).unwrap();
    assert!(!managed.to_string().contains("lastgood"), "{managed}");
    assert_eq!(fields_of(&managed, "kubectl-set"), Value::Null, "nothing of its own is left");
    assert_eq!(fields_of(&managed, "kubectl-client-side-apply"), json!({"f:env": {"k:{\"name\":\"A\"}": {}}, "f:image": {}}));
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn fields() -> impl proptest::strategy::Strategy<Value = Value> {
        prop::collection::btree_set("f:[a-f]", 1..5).prop_map(|names| {
            let map: serde_json::Map<String, Value> = names.into_iter().map(|name| (name, json!({}))).collect();
            template(&Value::Object(map))
        })
    }

    fn managed() -> impl proptest::strategy::Strategy<Value = Value> {
        let manager = prop_oneof![Just(("helm", "Apply")), Just(("kubectl", "Apply")), Just(("kubectl-set", "Update"))];
        prop::collection::btree_map(manager, fields(), 0..3).prop_map(|entries| {
            let entries = entries.into_iter().zip(1..);
            entries.map(|(((manager, operation), fields), time)| entry(manager, operation, time, &fields)).collect()
        })
    }

    proptest! {
        #[test]
        fn our_entry_goes_and_every_field_finds_an_owner(before in managed(), recorded in managed(), ours in fields()) {
            // After our write nobody but us has what we changed.
            let taken = FieldSet::parse(&ours);
            let mut now: Vec<Value> = before.as_array().unwrap().clone();
            for entry in &mut now {
                let left: FieldSet = FieldSet::parse(&entry["fieldsV1"]).iter().filter(|p| !taken.contains(p)).cloned().collect();
                entry["fieldsV1"] = left.to_value();
            }
            now.push(entry(MANAGER, "Update", 9, &ours));
            let now = Value::from(now);
            for (before, recorded) in [(Some(&before), Some(&recorded)), (None, Some(&recorded)), (Some(&before), None), (None, None)] {
                let managed = release(Owners { now: &now, before, recorded }, TEMPLATE).unwrap();
                prop_assert!(!is_ours_present(&managed));
                let owned: Vec<FieldSet> = entries(&managed).into_iter().map(|e| e.fields).collect();
                let anybody = principal(&[&others(before), &others(Some(&now)), &others(recorded)], TEMPLATE).is_some();
                for path in taken.below(TEMPLATE).filter(|_| anybody) {
                    prop_assert!(owned.iter().any(|fields| fields.contains(path)), "{path:?} has no owner in {managed}");
                }
                for kept in others(Some(&now)) {
                    let after = entries(&managed).into_iter().find(|e| e.id() == kept.id()).map(|e| e.fields).unwrap_or_default();
                    for path in kept.fields.below(TEMPLATE).filter(|path| path.len() > TEMPLATE.len()) {
                        prop_assert!(after.contains(path), "{path:?} was lost in {managed}");
                    }
                }
            }
        }
    }
}
