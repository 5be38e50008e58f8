//! The definitions' CEL rules, evaluated: what an API server of 1.25 or newer refuses by them, the code refuses as well, for those that don't.

use std::collections::BTreeSet;

use cel::{Context, Program};
use lastgood_core::policy::{Limits, Origin, read};
use serde_json::{Value, json};

use super::definitions;

/// The schema of the namespaced kind's `spec`, which has the most rules.
fn schema() -> Value {
    let [own, _] = definitions();
    own["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

fn rules(schema: &Value) -> impl Iterator<Item = &str> {
    schema["x-kubernetes-validations"].as_array().into_iter().flatten().filter_map(|rule| rule["rule"].as_str())
}

/// What lies below a schema, and the values of a document that it is about.
fn below<'a>(schema: &'a Value, values: &[&'a Value]) -> Vec<(&'a Value, Vec<&'a Value>)> {
    let properties = schema["properties"].as_object().into_iter().flatten();
    let mut found: Vec<_> = properties
        .map(|(name, schema)| (schema, values.iter().filter_map(|value| value.get(name)).collect::<Vec<_>>()))
        .collect();
    if schema["items"].is_object() {
        found.push((&schema["items"], values.iter().filter_map(|value| value.as_array()).flatten().collect()));
    }
    found
}

fn all(schema: &Value) -> BTreeSet<String> {
    let mut found: BTreeSet<_> = rules(schema).map(ToOwned::to_owned).collect();
    found.extend(below(schema, &[]).into_iter().flat_map(|(schema, _)| all(schema)));
    found
}

/// The rules that these values break.
fn broken(schema: &Value, values: &[&Value]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rule in rules(schema) {
        let program = Program::compile(rule).unwrap_or_else(|error| panic!("`{rule}` is no CEL: {error}"));
        for value in values {
            let mut context = Context::default();
            context.add_variable("self", value).unwrap();
            match program.execute(&context) {
                Ok(cel::Value::Bool(true)) => {}
                Ok(cel::Value::Bool(false)) => drop(found.insert(rule.to_owned())),
                other => panic!("`{rule}` says {other:?} of {value}"),
            }
        }
    }
    found.extend(below(schema, values).into_iter().flat_map(|(schema, values)| broken(schema, &values)));
    found
}

fn is_refused_by_code(spec: &Value) -> bool {
    let document = json!({"apiVersion": "lastgood.dev/v1alpha1", "kind": "RollbackPolicy",
        "metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
    read(&document, Origin::Cluster, &Limits::default()).is_ok_and(|policy| policy.says.is_err())
}

#[test]
fn what_a_rule_refuses_the_code_refuses_too() {
    let selects = |expression: Value| json!({"workloads": {"selector": {"matchExpressions": [expression]}}});
    let window = |window: Value| json!({"freeze": [window]});
    let check = |check: Value| json!({"checks": [check]});
    let refused = [
        json!({"alerts": [{}]}),
        json!({"alerts": [{"matchers": [], "labels": []}]}),
        json!({"alerts": [{"labels": [{"value": "page"}]}]}),
        json!({"budgets": {"clusterConcurrent": 3}}),
        check(json!({"name": "home", "http": {"path": "/"}})),
        check(json!({"name": "home", "tcp": {}})),
        check(json!({"name": "home", "promql": {"min": 1}})),
        check(json!({"name": "home", "promql": {"query": "up"}})),
        check(json!({"name": "home", "promql": {"query": "up", "equals": 1, "min": 1}})),
        check(json!({"http": {"port": 80}})),
        check(json!({"name": "home"})),
        check(json!({"name": "home", "http": {"port": 80}, "tcp": {"port": 80}})),
        window(json!({"start": "18:00"})),
        window(json!({"from": "2026-12-24T00:00:00Z", "until": "2026-12-27T00:00:00Z", "days": ["Mon"]})),
        json!({"notify": {"routes": [{"severities": ["page"]}]}}),
        json!({"notify": {"escalation": [{"after": "5m"}]}}),
        selects(json!({"key": "tier"})),
        selects(json!({"key": "tier", "operator": "In"})),
        selects(json!({"key": "tier", "operator": "Exists", "values": ["web"]})),
    ];
    let schema = schema();
    let mut seen = BTreeSet::new();
    for spec in &refused {
        let rules = broken(&schema, &[spec]);
        assert!(!rules.is_empty(), "no rule refuses {spec}");
        assert!(is_refused_by_code(spec), "the rules {rules:?} refuse {spec}, and the code doesn't");
        seen.extend(rules);
    }
    assert_eq!(seen, all(&schema), "rules that nothing breaks here");
}

#[test]
fn what_is_good_breaks_no_rule() {
    let good = [
        json!({}),
        json!({"mode": "auto", "budgets": {"workloadPerHour": 3}, "alerts": [{"matchers": ["severity=page"]}, {"labels": [{"name": "team", "value": "web"}]}]}),
        json!({"checks": [{"name": "home", "http": {"port": 80}}, {"name": "db", "tcp": {"port": 5432}},
            {"name": "errors", "promql": {"query": "up", "min": 1, "max": 2}}, {"name": "one", "promql": {"query": "up", "equals": 1}}]}),
        json!({"freeze": [{"start": "18:00", "end": "08:00", "timeZone": "Europe/Berlin", "days": ["Fri"], "reason": "nobody is there"},
            {"reason": "the year ends", "from": "2026-12-24T00:00:00Z", "until": "2026-12-27T00:00:00Z"}]}),
        json!({"notify": {"routes": [{"severities": ["page"], "receivers": ["pagerduty"]}], "escalation": [{"audience": "onCall"}, {"after": "5m", "receivers": ["slack"]}]}}),
        json!({"workloads": {"selector": {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["web"]}, {"key": "old", "operator": "DoesNotExist"}]}}}),
    ];
    let schema = schema();
    for spec in good {
        assert_eq!(broken(&schema, &[&spec]), BTreeSet::new(), "{spec}");
        assert!(!is_refused_by_code(&spec), "{spec}");
    }
}
