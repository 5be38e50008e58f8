//! Tables and properties for `rolling`.

use contracts::IncidentId;
use contracts::v1::Plan;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::strategies::{self, Stamp};

fn stamp() -> Stamp {
    Stamp { incident: "inc_0193a0000000700080000000000000aa".parse::<IncidentId>().unwrap(), attempt: 2, yields: None }
}

fn template(version: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web", "version": version}},
           "spec": {"containers": [{"name": "web", "image": format!("web:{version}"), "env": [{"name": version, "value": "x"}]}]}})
}

fn plan(applied: Option<&Value>) -> Plan {
    let mut restored = template("v1");
    restored["metadata"]["labels"]["pod-template-hash"] = json!("abc");
    Plan {
        strategy: "rolling".into(),
        template_json: restored.to_string().into_bytes(),
        last_applied_template_json: applied.map(|applied| applied.to_string().into_bytes()).unwrap_or_default(),
        ..Plan::default()
    }
}

fn live(annotations: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
           "metadata": {"name": "web", "uid": "u", "resourceVersion": "7", "generation": 3, "annotations": annotations},
           "spec": {"replicas": 5, "paused": false, "selector": {"matchLabels": {"app": "web"}}, "template": template("v2"),
                    "unknownToUs": {"x": 1}},
           "status": {"replicas": 5}})
}

#[test]
fn the_template_is_replaced_exactly_and_the_rest_is_kept() {
    let before = live(&json!({"team": "shop"}));
    let mut after = strategies::restore(&before, &plan(None), &stamp()).unwrap();
    assert_eq!(after["spec"]["template"], template("v1"));
    let annotations = after["metadata"]["annotations"].clone();
    assert_eq!(annotations["team"], "shop");
    assert_eq!(annotations[ATTEMPT], "2");
    assert_eq!(annotations[INCIDENT], stamp().incident.to_string());
    assert_eq!(annotations[TEMPLATE_HASH], lastgood_core::template::hash(&template("v1")));
    assert_eq!(annotations.get(LAST_APPLIED), None, "none is added where there was none");
    after["spec"]["template"] = before["spec"]["template"].clone();
    after["metadata"]["annotations"] = before["metadata"]["annotations"].clone();
    assert_eq!(after, before);
}

#[test]
fn last_applied_says_what_was_restored() {
    let applied = json!({"kind": "Deployment", "spec": {"replicas": 9, "template": template("v2")}});
    let recorded = json!({"spec": {"containers": [{"name": "web", "image": "web:v1"}]}});
    for (part, expected) in [(Some(&recorded), recorded.clone()), (None, template("v1"))] {
        let annotations = json!({LAST_APPLIED: format!("{applied}\n")});
        let after = restore(&live(&annotations), &plan(part), &stamp()).unwrap();
        let text = after["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap();
        let written: Value = serde_json::from_str(text).unwrap();
        assert_eq!(written, json!({"kind": "Deployment", "spec": {"replicas": 9, "template": expected}}));
        assert!(text.ends_with('\n'));
    }
}

#[test]
fn an_unreadable_last_applied_is_left_alone() {
    for text in ["not json", "[]", "{\"spec\": 7}"] {
        let after = restore(&live(&json!({LAST_APPLIED: text})), &plan(None), &stamp()).unwrap();
        assert_eq!(after["metadata"]["annotations"][LAST_APPLIED], text);
    }
}

#[test]
fn a_plan_that_can_not_be_used_is_refused() {
    let unusable = [
        Plan { strategy: "canary".into(), ..plan(None) },
        Plan { template_json: b"{".to_vec(), ..plan(None) },
        Plan { template_json: b"{}".to_vec(), ..plan(None) },
    ];
    for plan in unusable {
        assert!(strategies::restore(&live(&json!({})), &plan, &stamp()).is_err());
    }
    assert_eq!(restore(&json!({}), &plan(None), &stamp()), Err(RestoreError::BadLive("spec.template")));
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![any::<bool>().prop_map(Value::from), any::<i32>().prop_map(Value::from), "[a-z]{0,6}".prop_map(Value::from)];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{1,5}", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_outside_the_template_is_kept(
        spec in prop::collection::hash_map("[a-s]{1,8}", json_value(), 0..5),
        metadata in prop::collection::hash_map("[b-z]{1,8}", json_value(), 0..5),
        annotations in prop::collection::hash_map("[a-z]{1,5}/[a-z]{1,5}", "[a-z]{0,8}", 0..5),
        status in json_value(),
    ) {
        let mut before = json!({"spec": spec, "metadata": metadata, "status": status});
        before["spec"]["template"] = template("v2");
        before["metadata"]["annotations"] = json!(annotations);
        let mut after = restore(&before, &plan(None), &stamp()).unwrap();
        prop_assert_eq!(&after["spec"]["template"], &template("v1"));
        after["spec"]["template"] = template("v2");
        for ours in [INCIDENT, ATTEMPT, TEMPLATE_HASH] {
            after["metadata"]["annotations"].as_object_mut().unwrap().remove(ours);
        }
        prop_assert_eq!(after, before);
    }
}
