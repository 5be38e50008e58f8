//! Objects as both generations of API servers write them, cut down.

use super::*;

#[test]
fn a_crashing_pod_is_cut_down() {
    let raw: RawPod = serde_json::from_value(json!({
        "metadata": {"uid": "p", "name": "web-1", "namespace": "shop",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": true}]},
        "spec": {"containers": []},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [{
            "name": "web", "restartCount": 3, "image": "web:v2", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}]},
    }))
    .unwrap();
    let pod = raw.slim().unwrap();
    assert_eq!((pod.owner.as_str(), pod.ready, pod.containers.len()), ("rs", false, 1));
    assert_eq!(pod.containers[0].waiting, "CrashLoopBackOff");
    assert_eq!(pod.containers[0].message, "back-off; it last ended as Error with exit code 1");
}

#[test]
fn a_deployment_and_its_replica_set_have_one_hash() {
    let template =
        |labels: Value| json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}});
    let hash = lastgood_core::template::hash(&template(json!({"app": "web"})));
    let deployment: RawDeployment = serde_json::from_value(json!({
        "metadata": {"uid": "d", "name": "web", "namespace": "shop", "generation": 2, "annotations": {RESTORED: hash}},
        "spec": {"replicas": 2, "template": template(json!({"app": "web"}))},
        "status": {"observedGeneration": 2, "conditions": [
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "stuck"}]},
    }))
    .unwrap();
    let set: RawReplicaSet = serde_json::from_value(json!({
        "metadata": {"uid": "rs", "name": "web-1", "creationTimestamp": "2026-11-21T10:00:00Z",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true}]},
        "spec": {"template": template(json!({"app": "web", "pod-template-hash": "1"}))},
    }))
    .unwrap();
    let (workload, revision) = (deployment.slim().unwrap(), set.slim().unwrap());
    assert_eq!(workload.template_hash, revision.template_hash);
    assert!(workload.restored_by_us);
    assert_eq!((workload.deadline_exceeded.as_deref(), revision.owner.as_str()), (Some("stuck"), "d"));
}

#[test]
fn foreign_and_finished_pods_are_of_no_interest() {
    let pod = |owner: &str, phase: &str| -> Option<Pod> {
        let value = json!({"metadata": {"uid": "p", "name": "p",
            "ownerReferences": [{"apiVersion": "v1", "kind": owner, "name": "x", "uid": "x", "controller": true}]},
            "status": {"phase": phase}});
        serde_json::from_value::<RawPod>(value).unwrap().slim()
    };
    assert!(pod("ReplicaSet", "Pending").is_some());
    assert!(pod("Job", "Running").is_none());
    assert!(pod("ReplicaSet", "Failed").is_none());
}

#[test]
fn a_controller_revision_and_its_pods_have_one_key() {
    let template = json!({"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "db", "image": "db:1"}]}});
    for (kind, label) in [("StatefulSet", "db-77f"), ("DaemonSet", "77f")] {
        let owners = json!([{"apiVersion": "apps/v1", "kind": kind, "name": "db", "uid": "u", "controller": true}]);
        let labels = json!({revision::POD_LABEL: label});
        let mut patch = template.clone();
        patch["$patch"] = json!("replace");
        let raw: RawControllerRevision = serde_json::from_value(json!({"revision": 2, "data": {"spec": {"template": patch}},
            "metadata": {"uid": "cr", "name": "db-77f", "labels": {revision::POD_LABEL: "77f"}, "ownerReferences": owners}}))
        .unwrap();
        let pod: RawPod = serde_json::from_value(json!({"status": {"phase": "Pending"},
            "metadata": {"uid": "p", "name": "db-0", "labels": labels, "ownerReferences": owners}}))
        .unwrap();
        let (key, carried, pod) = (raw.key(), raw.slim().unwrap(), pod.slim().unwrap());
        assert_eq!((carried.uid.as_str(), carried.owner.as_str()), (key.as_str(), "u"), "{kind}");
        assert_eq!((pod.owner, carried.template_hash), (key, lastgood_core::template::hash(&template)), "{kind}");
    }
}

#[test]
fn the_other_kinds_are_cut_down() {
    let object = json!({"metadata": {"uid": "u", "name": "db", "namespace": "shop", "generation": 2},
        "spec": {"template": {}}, "status": {"observedGeneration": 2, "desiredNumberScheduled": 4}});
    let set = serde_json::from_value::<RawStatefulSet>(object.clone()).unwrap().slim().unwrap();
    let daemon = serde_json::from_value::<RawDaemonSet>(object).unwrap().slim().unwrap();
    assert_eq!((set.kind, set.replicas), (Kind::StatefulSet, 1));
    assert_eq!((daemon.kind, daemon.replicas, daemon.observed_generation), (Kind::DaemonSet, 4, 2));
}

#[test]
fn a_pod_that_was_ready_once_is_not_one_that_never_was() {
    let (created, started) = ("2026-11-21T10:00:00Z", "2026-11-21T10:00:01Z");
    let unready = |conditions: Value| {
        let raw: RawPod = serde_json::from_value(json!({
            "metadata": {"uid": "p", "name": "p", "creationTimestamp": created,
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": "x", "controller": true}]},
            "status": {"phase": "Pending", "startTime": started, "conditions": conditions}}))
        .unwrap();
        raw.slim().unwrap().never_ready.map(|unready| (unready.since.to_string(), unready.state))
    };
    let ready = |status: &str, at: &str| json!([{"type": "Ready", "status": status, "reason": "ContainersNotReady", "lastTransitionTime": at}]);
    let since = |state: &str| Some((created.to_owned(), state.to_owned()));
    assert_eq!(unready(ready("False", started)), since("ContainersNotReady"));
    assert_eq!(unready(json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}])), since("Unschedulable"));
    assert_eq!(unready(ready("False", "2026-11-21T10:09:00Z")), None);
    assert_eq!(unready(ready("True", started)), None);
}
