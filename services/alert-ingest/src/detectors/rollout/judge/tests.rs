//! What is wrong, by table.

use super::super::view::Unready;
use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn workload() -> Workload {
    Workload {
        kind: Kind::Deployment,
        uid: "d".into(),
        namespace: "shop".into(),
        name: "web".into(),
        generation: 3,
        observed_generation: 3,
        replicas: 2,
        template_hash: "new".into(),
        restored_by_us: false,
        deadline_exceeded: None,
    }
}

fn revision(name: &str, hash: &str) -> Revision {
    Revision { uid: name.into(), owner: "d".into(), name: name.into(), template_hash: hash.into(), created: Some(at(0)) }
}

fn pod(name: &str, owner: &str, waiting: &str, restarts: i32) -> Pod {
    let running_since = waiting.is_empty().then(|| at(0));
    let container = Container { name: "web".into(), restarts, waiting: waiting.into(), message: "because".into(), running_since };
    Pod {
        uid: name.into(),
        owner: owner.into(),
        name: name.into(),
        terminating: false,
        ready: waiting.is_empty(),
        never_ready: None,
        containers: vec![container],
    }
}

fn judged(workload: &Workload, pods: &[Pod], now: i64) -> Judgement {
    let revisions = [revision("web-old", "old"), revision("web-new", "new")];
    let revisions: Vec<&Revision> = revisions.iter().collect();
    let patience = Patience { settle: Duration::from_secs(30), progress: Duration::from_mins(1) };
    judge(workload, &revisions, &pods.iter().collect::<Vec<_>>(), at(now), patience)
}

fn reasons(judgement: &Judgement) -> Vec<Reason> {
    judgement.failures.iter().map(|failure| failure.reason).collect()
}

#[test]
fn containers_by_table() {
    let table = [
        ("CrashLoopBackOff", 1, vec![]),
        ("CrashLoopBackOff", 2, vec![Reason::CrashLoop]),
        ("ErrImagePull", 0, vec![Reason::ImagePull]),
        ("ImagePullBackOff", 0, vec![Reason::ImagePull]),
        ("ErrImageNeverPull", 0, vec![Reason::ImagePull]),
        ("InvalidImageName", 0, vec![Reason::ImagePull]),
        ("CreateContainerConfigError", 0, vec![Reason::ContainerConfig]),
        ("ContainerCreating", 0, vec![]),
        ("PodInitializing", 9, vec![]),
        ("", 9, vec![]),
    ];
    for (waiting, restarts, expected) in table {
        let judgement = judged(&workload(), &[pod("web-new-1", "web-new", waiting, restarts)], 100);
        assert_eq!(reasons(&judgement), expected, "{waiting} after {restarts}");
    }
}

#[test]
fn an_old_versions_pods_and_those_that_leave_are_not_judged() {
    let mut leaving = pod("web-new-1", "web-new", "CrashLoopBackOff", 5);
    leaving.terminating = true;
    let judgement = judged(&workload(), &[pod("web-old-1", "web-old", "CrashLoopBackOff", 5), leaving], 100);
    assert_eq!(reasons(&judgement), vec![]);
}

#[test]
fn many_pods_are_one_failure_that_names_the_first() {
    let pods = ["b", "a", "c"].map(|name| pod(name, "web-new", "ErrImagePull", 0));
    let judgement = judged(&workload(), &pods, 100);
    assert_eq!(reasons(&judgement), vec![Reason::ImagePull]);
    assert_eq!(judgement.failures[0].pod, "a");
}

#[test]
fn a_deadline_counts_for_the_current_generation_only() {
    let exceeded = |message: &str| Workload { deadline_exceeded: Some(message.into()), ..workload() };
    let new = exceeded("ReplicaSet \"web-new\" has timed out progressing.");
    assert_eq!(reasons(&judged(&new, &[], 100)), vec![Reason::ProgressDeadline]);
    let behind = Workload { observed_generation: 2, ..new.clone() };
    assert!(judged(&behind, &[], 100).failures.is_empty());
    assert!(!judged(&behind, &[], 100).conditions_current);
    assert!(judged(&exceeded("ReplicaSet \"web-old\" has timed out progressing."), &[], 100).failures.is_empty());
    assert_eq!(reasons(&judged(&exceeded("stuck"), &[], 100)), vec![Reason::ProgressDeadline]);
    let unknown = Workload { template_hash: "newer still".into(), ..new };
    assert!(judged(&unknown, &[], 100).failures.is_empty());
}

#[test]
fn what_we_restored_does_not_fail() {
    let ours = Workload { restored_by_us: true, deadline_exceeded: Some("stuck".into()), ..workload() };
    assert!(judged(&ours, &[pod("a", "web-new", "CrashLoopBackOff", 5)], 100).failures.is_empty());
}

#[test]
fn calm_is_all_ready_for_a_while() {
    let well = pod("a", "web-new", "", 0);
    let restarted = pod("b", "web-new", "", 3);
    let unready = Pod { ready: false, ..pod("c", "web-new", "", 0) };
    assert!(judged(&workload(), std::slice::from_ref(&well), 1).calm);
    assert!(!judged(&workload(), &[well.clone(), unready], 100).calm);
    assert!(!judged(&workload(), &[], 100).calm);
    let early = judged(&workload(), &[well.clone(), restarted.clone()], 10);
    assert_eq!((early.calm, early.recheck), (false, Some(at(30))));
    assert!(judged(&workload(), &[well, restarted], 30).calm);
    assert!(judged(&Workload { replicas: 0, ..workload() }, &[], 1).calm);
}

#[test]
fn without_a_deadline_of_its_own_a_rollout_is_stuck_when_a_pod_never_gets_ready() {
    let unready = Unready { since: at(0), state: "Unschedulable".into(), message: "0/1 nodes are available".into() };
    let waits = Pod { ready: false, never_ready: Some(unready), ..pod("web-1", "web-new", "", 0) };
    let old = Pod { owner: "web-old".into(), ..waits.clone() };
    for kind in [Kind::StatefulSet, Kind::DaemonSet] {
        let workload = Workload { kind, ..workload() };
        let early = judged(&workload, std::slice::from_ref(&waits), 59);
        assert_eq!((reasons(&early), early.due), (vec![], Some(at(60))));
        let late = judged(&workload, std::slice::from_ref(&waits), 60);
        assert_eq!((reasons(&late), late.due), (vec![Reason::ProgressDeadline], None));
        assert_eq!((late.failures[0].pod.as_str(), late.failures[0].state.as_str()), ("web-1", "Unschedulable"));
        assert!(!late.conditions_current && !judged(&workload, &[], 99).conditions_current, "no pod tells nothing");
        assert!(judged(&workload, &[pod("web-1", "web-new", "", 0)], 99).conditions_current, "but one that is well does");
        assert!(reasons(&judged(&workload, std::slice::from_ref(&old), 99)).is_empty());
        let restored = Workload { restored_by_us: true, ..workload };
        assert!(reasons(&judged(&restored, std::slice::from_ref(&waits), 99)).is_empty());
    }
    assert!(reasons(&judged(&workload(), &[waits], 99)).is_empty(), "a Deployment says it itself");
}
