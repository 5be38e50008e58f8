//! What documents are read, and what is told about those that are not.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn document(spec: &Value) -> Value {
    json!({"apiVersion": "lastgood.dev/v1alpha1", "kind": "RollbackPolicy", "metadata": {"name": "web", "namespace": "shop"}, "spec": spec})
}

fn told(spec: &Value) -> Vec<String> {
    let policy = read(&document(spec), Origin::Cluster, &Limits::default()).unwrap();
    policy.says.err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn all_problems_are_told_at_once_with_field_value_and_remedy() {
    let told = told(&json!({
        "mode": "fast",
        "cooldown": "10d",
        "soak": "soon",
        "budgets": {"clusterConcurrent": 3, "massFailure": {"workloads": 1, "window": "0s"}},
        "alerts": [{}, {"matchers": ["severity~page"]}],
        "freeze": [{"reason": "x", "start": "18:00", "end": "08:00", "timeZone": "UTC"}, {"start": "18:00", "end": "08:00", "timeZone": "Mars/Olympus"}],
        "checks": [{"name": "home", "http": {"path": "x"}}, {"name": "home", "tcp": {"port": 1}}],
        "notify": {"routes": [{"reasons": ["frozn"]}], "escalation": [{"after": "10m", "audience": "onCall"}, {"after": "1m"}, {"after": "2d", "receivers": ["a"]}]},
        "approval": {"within": "0s"},
    }));
    let wanted = [
        "spec.alerts[0]: has neither matchers nor labels; leave alerts out to count all",
        "spec.alerts[1].matchers[0]: \"severity~page\" has no operator; write name, operator (=, !=, =~, !~) and value, like severity=~\"page|critical\"",
        "spec.approval.within: is zero; write a length of time above it",
        "spec.budgets.clusterConcurrent: is not for one namespace to say; write it in a ClusterRollbackPolicy",
        "spec.budgets.massFailure.window: is zero; write a length of time above it",
        "spec.budgets.massFailure.workloads: 1 is out of bounds; write a number from 2 to 10000",
        "spec.checks[0].http.path: \"x\" is no path; write one that begins with /",
        "spec.checks[0].http.port: is missing; write the port",
        "spec.checks[1].name: \"home\" is there twice; take another name",
        "spec.cooldown: \"10d\" is longer than orchestrator.archive.after (168h), after which closed incidents can't be looked at; shorten it, or raise that",
        "spec.freeze[1].timeZone: \"Mars/Olympus\" is no time zone; use an IANA name like Europe/Berlin",
        "spec.mode: \"fast\" is none of observe, approve, auto",
        "spec.notify.escalation[1].after: is earlier than the step before; sort the steps",
        "spec.notify.escalation[2].after: is longer than a day; an incident stays open, and takes up all that comes after it, until its last call",
        "spec.notify.escalation[1]: calls nobody; name an audience or receivers",
        "spec.notify.routes[0].reasons[0]: \"frozn\" is no reason; take one that has a page in the runbooks, like observe_mode, or completed",
        "spec.notify.routes[0].receivers: is empty; name who is told",
        "spec.soak: \"soon\" is no length of time; write one like 30s, 10m or 1h30m",
    ];
    for wanted in wanted {
        assert!(told.contains(&wanted.to_owned()), "{wanted}\nis not among {told:#?}");
    }
    assert_eq!(told.len(), wanted.len(), "{told:#?}");
}

#[test]
fn what_is_no_policy_at_all_is_refused_as_a_whole() {
    let refused = |document: &Value| {
        let found = read(document, Origin::File, &Limits::default()).unwrap_err();
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        refused(&json!({"apiVersion": "v1", "kind": "Pod", "colour": 1})),
        [
            "apiVersion: \"v1\" is not known; write lastgood.dev/v1alpha1",
            "kind: \"Pod\" is not known; write RollbackPolicy or ClusterRollbackPolicy",
            "metadata.name: is missing; give it a name",
            "colour: is no field here; what the policy says belongs under spec",
        ]
    );
    let mut homeless = document(&json!({}));
    homeless["metadata"] = json!({"name": "web"});
    assert_eq!(refused(&homeless), ["metadata.namespace: is missing; name one, or write kind: ClusterRollbackPolicy for all"]);
    homeless["kind"] = json!("ClusterRollbackPolicy");
    assert!(read(&homeless, Origin::File, &Limits::default()).is_ok());
    homeless["metadata"]["namespace"] = json!("shop");
    assert_eq!(refused(&homeless), ["metadata.namespace: does not belong to a ClusterRollbackPolicy; remove it"]);
}

#[test]
fn a_policy_that_says_nothing_is_good_and_one_without_a_spec_is_not() {
    assert!(told(&json!({})).is_empty());
    assert_eq!(told(&Value::Null), ["spec: is missing; write what the policy says, or delete it"]);
}

#[test]
fn what_is_longer_than_incidents_are_kept_is_refused_for_each_brake() {
    let limits = Limits { looks_back: Duration::from_mins(30), ..Limits::default() };
    let spec = json!({"cooldown": "31m", "changeWindow": "31m", "budgets": {"massFailure": {"window": "31m"}}, "soak": "2h"});
    let found = read(&document(&spec), Origin::Cluster, &limits).unwrap().says.unwrap_err();
    let fields: Vec<_> = found.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["spec.budgets.massFailure.window", "spec.changeWindow", "spec.cooldown"]);
}

#[test]
fn a_stabilisation_that_can_never_end_is_refused() {
    let said = |spec: Value| told(&spec);
    assert_eq!(
        said(json!({"stabilisation": "10m"})),
        ["spec.stabilisation: is not shorter than deadlines.verify (10m), within which it has to end; shorten it, or raise that"]
    );
    assert!(said(json!({"stabilisation": "10m", "deadlines": {"verify": "20m"}})).is_empty());
}

proptest! {
    #[test]
    fn any_text_in_any_field_is_read_or_refused(
        field in prop::sample::select(vec!["mode", "soak", "cooldown", "alerts", "freeze", "checks", "notify", "workloads", "ledger", "x"]),
        text in "\\PC{0,20}",
    ) {
        told(&json!({field: text}));
        told(&json!({field: [text.clone()]}));
        told(&json!({field: [{"name": text.clone(), "start": text.clone(), "matchers": [text.clone()]}]}));
        told(&json!({field: {text.clone(): text}}));
    }
}
