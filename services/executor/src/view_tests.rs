//! Views of objects as both generations of API servers write them.

use serde_json::json;

use super::*;

fn versions() -> Versions {
    Versions { from: hash("v2"), from_replica_set: String::new(), to: hash("v1"), yielded: String::new() }
}

fn template_of(version: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": version}]}})
}

fn hash(version: &str) -> String {
    template::hash(&template_of(version))
}

fn set(name: &str, version: &str, uid: &str) -> Value {
    json!({"metadata": {"name": name, "ownerReferences": [{"kind": "Deployment", "name": "web", "uid": uid, "controller": true}]},
           "spec": {"template": template_of(version)}})
}

fn pod_of(name: &str, set: &str, ready: &str) -> Value {
    json!({"metadata": {"name": name, "ownerReferences": [{"kind": "ReplicaSet", "name": set, "uid": "r", "controller": true}]},
           "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": ready}]}})
}

#[test]
fn pods_belong_to_the_version_of_their_replica_set() {
    let mut leaving = pod_of("b", "web-2", "True");
    leaving["metadata"]["deletionTimestamp"] = json!("2026-11-22T00:00:30Z");
    let view = View::of(
        &Objects {
            workload: Some(json!({"metadata": {"uid": "u"}, "spec": {"replicas": 2, "template": template_of("v1")}})),
            replica_sets: vec![
                set("web-1", "v1", "u"),
                set("web-2", "v2", "u"),
                set("web-0", "v0", "u"),
                set("x-1", "v1", "else"),
            ],
            pods: vec![pod_of("a", "web-1", "True"), leaving, pod_of("c", "web-0", "False"), pod_of("d", "x-1", "True")],
            ..Objects::default()
        },
        &versions(),
    );
    let seen: Vec<_> = view.pods.iter().map(|pod| (pod.name.as_str(), pod.which, pod.ready, pod.is_about())).collect();
    let expected = [("a", Which::Restored, true, true), ("b", Which::Bad, true, false), ("c", Which::Other, false, true)];
    assert_eq!(seen, expected, "somebody else's ReplicaSet and its pods are none of ours");
    assert_eq!(view.labels.get("app").map(String::as_str), Some("web"));
}

#[test]
fn endpoints_are_read_in_both_forms() {
    let services = [json!({"metadata": {"name": "web", "uid": "s"}, "spec": {"selector": {"app": "web"}}}), json!({"spec": {}})];
    let core = json!({"metadata": {"name": "web"}, "subsets": [{"addresses": [{"ip": "10.0.0.1", "targetRef": {"name": "a"}}],
        "notReadyAddresses": [{"ip": "10.0.0.2"}]}]});
    let slice = json!({"metadata": {"name": "web-x", "labels": {"kubernetes.io/service-name": "web"}}, "endpoints": [
        {"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "targetRef": {"name": "a"}},
        {"addresses": ["10.0.0.2"], "conditions": {"ready": false}}]});
    for object in [core, slice.clone()] {
        let read = super::services(&services, &[object]);
        assert_eq!(read.len(), 1, "a Service without a selector has no pods");
        assert_eq!(read[0].ready, [Address { pod: "a".into(), ip: "10.0.0.1".into() }]);
    }
    let twice = super::services(&services, &[slice.clone(), slice]);
    assert_eq!(twice[0].ready.len(), 1, "two slices may name an address for a moment");
}

#[test]
fn how_many_may_be_missing() {
    for (strategy, desired, expected) in [
        (json!({}), 4, 1),
        (json!({"type": "Recreate"}), 4, 4),
        (json!({"rollingUpdate": {"maxUnavailable": 2}}), 4, 2),
        (json!({"rollingUpdate": {"maxUnavailable": "50%"}}), 5, 2),
        (json!({"rollingUpdate": {"maxUnavailable": "0%"}}), 5, 0),
    ] {
        let counts = counts(&json!({"spec": {"replicas": desired, "strategy": strategy}}));
        assert_eq!(counts.max_unavailable, expected, "{strategy}");
    }
    assert_eq!(counts(&json!({})).desired, 1);
}
