//! Numbers as both generations of API servers write them.

use serde_json::json;

use super::*;

#[test]
fn how_many_may_be_missing() {
    for (strategy, desired, expected) in [
        (json!({}), 4, 1),
        (json!({"type": "Recreate"}), 4, 4),
        (json!({"rollingUpdate": {"maxUnavailable": 2}}), 4, 2),
        (json!({"rollingUpdate": {"maxUnavailable": "50%"}}), 5, 2),
        (json!({"rollingUpdate": {"maxUnavailable": "0%"}}), 5, 0),
    ] {
        let counts = Counts::of(Kind::Deployment, &json!({"spec": {"replicas": desired, "strategy": strategy}}));
        assert_eq!(counts.max_unavailable, expected, "{strategy}");
    }
    assert_eq!(Counts::of(Kind::Deployment, &json!({})).desired, 1);
    let daemon_set = |strategy: Value| {
        let status = json!({"desiredNumberScheduled": 5});
        Counts::of(Kind::DaemonSet, &json!({"spec": {"updateStrategy": strategy}, "status": status})).max_unavailable
    };
    assert_eq!(daemon_set(json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "30%"}})), 2);
    assert_eq!(daemon_set(json!({"type": "OnDelete"})), 1);
}

#[test]
fn a_stateful_set_of_1_20_says_no_word_of_available_ones() {
    let mut set = json!({"spec": {"replicas": 3}, "status": {"observedGeneration": 4, "replicas": 3, "readyReplicas": 2,
        "updatedReplicas": 1, "currentReplicas": 2, "currentRevision": "db-a", "updateRevision": "db-b", "collisionCount": 0}});
    let expected = Counts { desired: 3, max_unavailable: 1, observed: 4, replicas: 3, updated: 1, ready: 2, available: 2 };
    assert_eq!(Counts::of(Kind::StatefulSet, &set), expected);
    set["status"]["availableReplicas"] = json!(1);
    assert_eq!(Counts::of(Kind::StatefulSet, &set), Counts { available: 1, ..expected });
}

#[test]
fn what_a_partition_keeps_is_not_counted_on() {
    let set = json!({"spec": {"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}},
        "status": {"replicas": 3, "readyReplicas": 3, "updatedReplicas": 3}});
    let counts = Counts::of(Kind::StatefulSet, &set);
    assert_eq!((counts.desired, counts.replicas, counts.updated, counts.ready), (1, 1, 1, 1));
}

#[test]
fn a_daemon_set_counts_nodes() {
    let set = json!({"status": {"observedGeneration": 2, "desiredNumberScheduled": 3, "currentNumberScheduled": 3, "numberReady": 2,
        "updatedNumberScheduled": 2, "numberAvailable": 2, "numberUnavailable": 1, "numberMisscheduled": 0}});
    let expected = Counts { desired: 3, max_unavailable: 1, observed: 2, replicas: 3, updated: 2, ready: 2, available: 2 };
    assert_eq!(Counts::of(Kind::DaemonSet, &set), expected);
}
