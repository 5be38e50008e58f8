//! Views of objects as both generations of API servers write them.

use lastgood_core::{revision, template};
use serde_json::json;

use super::*;

fn versions() -> Versions {
    Versions { from: hash("v2"), from_carrier: String::new(), moved: String::new(), to: hash("v1"), yielded: String::new() }
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
            carriers: vec![set("web-1", "v1", "u"), set("web-2", "v2", "u"), set("web-0", "v0", "u"), set("x-1", "v1", "else")],
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

fn controller_revision(kind: &str, name: &str, version: &str) -> Value {
    let mut patch = template_of(version);
    patch["$patch"] = json!("replace");
    let label = name.rsplit_once('-').unwrap().1;
    json!({"metadata": {"name": name, "labels": {"app": "web", revision::POD_LABEL: label},
            "ownerReferences": [{"kind": kind, "name": "web", "uid": "u", "controller": true}]},
        "revision": 2, "data": {"spec": {"template": patch}}})
}

fn pod_of_revision(kind: &str, name: &str, label: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {revision::POD_LABEL: label},
            "ownerReferences": [{"kind": kind, "name": "web", "uid": "u", "controller": true}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}})
}

fn seen(kind: Kind, spec: &Value, pods: &[(&str, &str)]) -> Vec<(String, Which)> {
    let word = kind.name();
    let mut workload = json!({"metadata": {"name": "web", "uid": "u"}, "spec": spec});
    workload["spec"]["template"] = template_of("v1");
    let objects = Objects {
        kind,
        workload: Some(workload),
        carriers: vec![controller_revision(word, "web-a1", "v1"), controller_revision(word, "web-b2", "v2")],
        pods: pods.iter().map(|(name, label)| pod_of_revision(word, name, label)).collect(),
        ..Objects::default()
    };
    View::of(&objects, &versions()).pods.into_iter().map(|pod| (pod.name, pod.which)).collect()
}

#[test]
fn pods_without_a_replica_set_are_told_apart_by_their_label() {
    let of = |kind, pods: &[(&str, &str)]| seen(kind, &json!({"replicas": 3}), pods);
    let expected = |names: [&str; 3]| -> Vec<_> {
        names.into_iter().map(ToOwned::to_owned).zip([Which::Restored, Which::Bad, Which::Other]).collect()
    };
    let pods = [("web-0", "web-a1"), ("web-1", "web-b2"), ("web-2", "web-pruned")];
    assert_eq!(of(Kind::StatefulSet, &pods), expected(["web-0", "web-1", "web-2"]));
    let pods = [("web-x", "a1"), ("web-y", "b2"), ("web-z", "")];
    assert_eq!(of(Kind::DaemonSet, &pods), expected(["web-x", "web-y", "web-z"]));
}

#[test]
fn what_a_partition_keeps_is_not_bad() {
    let spec = json!({"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}});
    let pods = [("web-0", "web-a1"), ("web-1", "web-b2"), ("web-2", "web-b2")];
    let expected = [("web-0", Which::Restored), ("web-1", Which::Kept), ("web-2", Which::Bad)];
    assert_eq!(seen(Kind::StatefulSet, &spec, &pods), expected.map(|(name, which)| (name.to_owned(), which)));
}

#[test]
fn its_own_pods_names_by_kind() {
    let view = |kind| View {
        kind,
        name: "web".into(),
        carriers: vec![Carrier { name: "web-5d4f".into(), ..Carrier::default() }],
        ..View::default()
    };
    for (kind, own, foreign) in [
        (Kind::Deployment, "web-5d4f-x2x4q", "web-6e-x2x4q"),
        (Kind::StatefulSet, "web-12", "web-api-0"),
        (Kind::DaemonSet, "web-x2x4q", "web-api-x2x4q"),
    ] {
        assert!(view(kind).is_own_name(own) && !view(kind).is_own_name(foreign), "{kind:?}");
    }
}
