//! What is wrong with a rollout: a pure function of the Deployment, its ReplicaSets and their pods.
//!
//! Guarantees: only the newest revision is judged (the ReplicaSet whose template is the Deployment's own), so that pods of an old version
//! that still crash are no failure of the new one; a version that lastgood itself restored (annotation `lastgood.dev/template`) has no
//! failures here. Must not: remember anything; `tracker` does.

use std::time::Duration;

use jiff::Timestamp;

use super::view::{Container, Pod, Revision, Workload};

/// Restarts before a crash loop counts: one restart is no alarm.
const RESTARTS: i32 = 2;

/// A way in which a rollout fails by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// `Progressing` is false with `ProgressDeadlineExceeded`.
    ProgressDeadline,
    /// `CrashLoopBackOff`.
    CrashLoop,
    /// `ErrImagePull`, `ImagePullBackOff`, `ErrImageNeverPull`, `InvalidImageName`: one reason, as the kubelet goes from one to the other.
    ImagePull,
    /// `CreateContainerConfigError`.
    ContainerConfig,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ProgressDeadline, Self::CrashLoop, Self::ImagePull, Self::ContainerConfig];

    /// The word in labels and fingerprints.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::ProgressDeadline => "progress_deadline_exceeded",
            Self::CrashLoop => "crash_loop",
            Self::ImagePull => "image_pull",
            Self::ContainerConfig => "container_config",
        }
    }

    /// The alert's name.
    #[must_use]
    pub const fn alert_name(self) -> &'static str {
        match self {
            Self::ProgressDeadline => "RolloutStuck",
            Self::CrashLoop => "CrashLoopBackOff",
            Self::ImagePull => "ImagePull",
            Self::ContainerConfig => "CreateContainerConfigError",
        }
    }
}

/// One failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind.
    pub reason: Reason,
    /// Whether it can pass by itself, so that a grace is due before it is told.
    pub may_pass: bool,
    /// The first pod that shows it, by name; empty for the Deployment's own conditions.
    pub pod: String,
    /// Its container.
    pub container: String,
    /// The cluster's own word, e.g. `ErrImagePull`.
    pub state: String,
    /// The cluster's own message.
    pub message: String,
}

/// What there is to say of one workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// At most one of each reason.
    pub failures: Vec<Failure>,
    /// All pods of the newest revision are well and have been for a while: what was wrong with them is over.
    pub calm: bool,
    /// The conditions belong to the current spec: a rollout that is not said to be stuck is not stuck.
    pub conditions_current: bool,
    /// When to look again although nothing changes.
    pub recheck: Option<Timestamp>,
}

/// Judges one workload. `settle` is how long a restarted container must run before it counts as well.
#[must_use]
pub fn judge(workload: &Workload, revisions: &[&Revision], pods: &[&Pod], now: Timestamp, settle: Duration) -> Judgement {
    let newest = newest(workload, revisions);
    let of_newest: Vec<&Pod> =
        pods.iter().copied().filter(|pod| newest.is_some_and(|newest| newest.uid == pod.owner) && !pod.terminating).collect();
    let (calm, recheck) = calm(workload, newest.is_some(), &of_newest, now, settle);
    let conditions_current = workload.observed_generation >= workload.generation && newest.is_some();
    let mut failures = Vec::new();
    if !workload.restored_by_us {
        failures.extend(newest.filter(|_| conditions_current).and_then(|newest| stuck(workload, newest)));
        failures.extend(waiting(&of_newest));
    }
    Judgement { failures, calm, conditions_current, recheck }
}

/// The ReplicaSet of the Deployment's template; the oldest where a hash collision made several, as the controller chooses.
fn newest<'a>(workload: &Workload, revisions: &[&'a Revision]) -> Option<&'a Revision> {
    let of_template = revisions.iter().copied().filter(|revision| revision.template_hash == workload.template_hash);
    of_template.min_by_key(|revision| (revision.created, revision.name.as_str()))
}

fn stuck(workload: &Workload, newest: &Revision) -> Option<Failure> {
    let message = workload.deadline_exceeded.as_ref()?;
    // When template and replicas change at once the controller first copies the old conditions: they name the old ReplicaSet.
    if message.contains("ReplicaSet \"") && !message.contains(&format!("\"{}\"", newest.name)) {
        return None;
    }
    Some(Failure {
        reason: Reason::ProgressDeadline,
        may_pass: false,
        pod: String::new(),
        container: String::new(),
        state: "ProgressDeadlineExceeded".to_owned(),
        message: message.clone(),
    })
}

/// One failure for each reason that some container waits for.
fn waiting(pods: &[&Pod]) -> Vec<Failure> {
    let mut pods = pods.to_vec();
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    let mut found: Vec<Failure> = Vec::new();
    for (pod, container) in pods.iter().flat_map(|pod| pod.containers.iter().map(move |container| (pod, container))) {
        let Some((reason, may_pass)) = reason_of(container) else { continue };
        if found.iter().any(|failure| failure.reason == reason) {
            continue;
        }
        found.push(Failure {
            reason,
            may_pass,
            pod: pod.name.clone(),
            container: container.name.clone(),
            state: container.waiting.clone(),
            message: container.message.clone(),
        });
    }
    found
}

fn reason_of(container: &Container) -> Option<(Reason, bool)> {
    match container.waiting.as_str() {
        "CrashLoopBackOff" if container.restarts >= RESTARTS => Some((Reason::CrashLoop, true)),
        "ErrImagePull" | "ImagePullBackOff" => Some((Reason::ImagePull, true)),
        "ErrImageNeverPull" | "InvalidImageName" => Some((Reason::ImagePull, false)),
        "CreateContainerConfigError" => Some((Reason::ContainerConfig, true)),
        _ => None,
    }
}

fn calm(workload: &Workload, exists: bool, pods: &[&Pod], now: Timestamp, settle: Duration) -> (bool, Option<Timestamp>) {
    if workload.replicas == 0 {
        return (true, None);
    }
    if !exists || pods.is_empty() || !pods.iter().all(|pod| pod.ready && pod.containers.iter().all(|c| c.waiting.is_empty())) {
        return (false, None);
    }
    let restarted = pods.iter().flat_map(|pod| &pod.containers).filter(|container| container.restarts > 0);
    let settled_at = restarted.filter_map(|container| container.running_since?.checked_add(settle).ok()).max();
    match settled_at {
        Some(at) if at > now => (false, Some(at)),
        _ => (true, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn workload() -> Workload {
        Workload {
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
        let container =
            Container { name: "web".into(), restarts, waiting: waiting.into(), message: "because".into(), running_since };
        Pod {
            uid: name.into(),
            owner: owner.into(),
            name: name.into(),
            terminating: false,
            ready: waiting.is_empty(),
            containers: vec![container],
        }
    }

    fn judged(workload: &Workload, pods: &[Pod], now: i64) -> Judgement {
        let revisions = [revision("web-old", "old"), revision("web-new", "new")];
        let revisions: Vec<&Revision> = revisions.iter().collect();
        judge(workload, &revisions, &pods.iter().collect::<Vec<_>>(), at(now), Duration::from_secs(30))
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
}
