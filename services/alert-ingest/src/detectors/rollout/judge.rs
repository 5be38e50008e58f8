//! What is wrong with a rollout: a pure function of the workload, its revisions and their pods.
//!
//! Guarantees: only the newest revision is judged (the one whose template is the workload's own), so that pods of an old version
//! that still crash are no failure of the new one; a version that lastgood itself restored (annotation `lastgood.dev/template`) has no
//! failures here. Must not: remember anything; `tracker` does.

use std::time::Duration;

use jiff::Timestamp;

use super::view::{Container, Kind, Pod, Revision, Workload};

/// Restarts before a crash loop counts: one restart is no alarm.
const RESTARTS: i32 = 2;

/// A way in which a rollout fails by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// `Progressing` is false with `ProgressDeadlineExceeded`; of a workload that says no such thing: a pod that did not get ready in time.
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
    /// The first pod that shows it, by name; empty for the workload's own conditions.
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
    /// When what is wrong now may be over although nothing changes.
    pub recheck: Option<Timestamp>,
    /// When something that is not wrong yet will be, although nothing changes.
    pub due: Option<Timestamp>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How long a restarted container must run before it counts as well.
    pub settle: Duration,
    /// How long a pod may take to get ready, where its workload has no deadline of its own for that.
    pub progress: Duration,
}

/// Judges one workload.
#[must_use]
pub fn judge(workload: &Workload, revisions: &[&Revision], pods: &[&Pod], now: Timestamp, patience: Patience) -> Judgement {
    let newest = newest(workload, revisions);
    let of_newest: Vec<&Pod> =
        pods.iter().copied().filter(|pod| newest.is_some_and(|newest| newest.uid == pod.owner) && !pod.terminating).collect();
    let (calm, recheck) = calm(workload, newest.is_some(), &of_newest, now, patience.settle);
    let by_itself = workload.kind == Kind::Deployment;
    // Where pods have to tell, only their being well tells that it is over: one that was deleted says nothing.
    let conditions_current =
        if by_itself { workload.observed_generation >= workload.generation && newest.is_some() } else { calm };
    let mut due = None;
    let mut failures = Vec::new();
    if !workload.restored_by_us {
        if by_itself {
            failures.extend(newest.filter(|_| conditions_current).and_then(|newest| stuck(workload, newest)));
        } else {
            let (late, next) = late(&of_newest, now, patience.progress);
            failures.extend(late);
            due = next;
        }
        failures.extend(waiting(&of_newest));
    }
    Judgement { failures, calm, conditions_current, recheck, due }
}

/// The revision of the workload's template; the oldest where a hash collision made several, as the controller chooses.
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

/// The pod that has had longer than it may take to get ready, the first by name; else when the next one will have.
fn late(pods: &[&Pod], now: Timestamp, progress: Duration) -> (Option<Failure>, Option<Timestamp>) {
    let until = |pod: &&Pod| pod.never_ready.as_ref()?.since.checked_add(progress).ok();
    let late = pods.iter().copied().filter(|pod| until(pod).is_some_and(|until| until <= now)).min_by_key(|pod| &pod.name);
    let Some((pod, unready)) = late.and_then(|pod| Some((pod, pod.never_ready.as_ref()?))) else {
        return (None, pods.iter().filter_map(until).min());
    };
    let failure = Failure {
        reason: Reason::ProgressDeadline,
        may_pass: false,
        pod: pod.name.clone(),
        container: String::new(),
        state: unready.state.clone(),
        message: format!("not ready since it was created at {:.0}: {}", unready.since, unready.message),
    };
    (Some(failure), None)
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
mod tests;
