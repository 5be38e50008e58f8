//! What is wrong with a pod, in words.
//!
//! Guarantees: a pod that is not ready always gets a reason. Must not: talk to a cluster; log lines are added by the caller.

use contracts::v1::PodReport;
use serde_json::Value;

use crate::view::{Pod, View, Which};

/// How many pods one report names.
pub const MOST: usize = 10;

/// A pod that is not as it should be, and which of its logs tell why.
#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    /// The report, without log lines.
    pub report: PodReport,
    /// The container to read the log of; `None` where none has started.
    pub container: Option<String>,
    /// Whether the log of its previous run tells more.
    pub previous: bool,
}

/// The pods that are not ready, those of the restored version first.
#[must_use]
pub fn troubles(view: &View) -> Vec<Trouble> {
    let mut pods: Vec<&Pod> = view.pods.iter().filter(|pod| !pod.ready && pod.leaving_by.is_none()).collect();
    pods.sort_by_key(|pod| (pod.which != Which::Restored, pod.name.clone()));
    pods.into_iter().take(MOST).map(trouble).collect()
}

fn trouble(pod: &Pod) -> Trouble {
    let status = &pod.object["status"];
    let containers: Vec<&Value> = ["initContainerStatuses", "containerStatuses"]
        .iter()
        .filter_map(|list| status[*list].as_array())
        .flatten()
        .filter(|container| container["ready"] != true && container["state"]["terminated"]["exitCode"] != 0)
        .collect();
    let restarts = containers.iter().filter_map(|c| c["restartCount"].as_i64()).max().unwrap_or_default();
    let told = containers.iter().find_map(|container| Some((*container, container_reason(container)?)));
    let started = told.as_ref().map(|(container, _)| *container).or_else(|| containers.first().copied());
    let ran = |c: &&Value| {
        c["state"]["running"].is_object()
            || c["restartCount"].as_i64().unwrap_or_default() > 0
            || c["state"]["terminated"].is_object()
    };
    let reason = told.map(|(_, reason)| reason).or_else(|| condition_reason(status));
    Trouble {
        report: PodReport {
            name: pod.name.clone(),
            reason: reason.unwrap_or_else(|| format!("not ready ({})", pod.phase)),
            restarts: i32::try_from(restarts).unwrap_or(i32::MAX),
            last_log_lines: Vec::new(),
            template_hash: pod.template_hash.clone(),
        },
        previous: started.is_some_and(|c| c["state"]["waiting"]["reason"] == "CrashLoopBackOff"),
        container: started.filter(ran).and_then(|c| c["name"].as_str()).map(ToOwned::to_owned),
    }
}

fn container_reason(container: &Value) -> Option<String> {
    let name = container["name"].as_str().unwrap_or_default();
    let (waiting, terminated) = (&container["state"]["waiting"], &container["state"]["terminated"]);
    let last = &container["lastState"]["terminated"];
    if let Some(reason) = waiting["reason"].as_str().filter(|reason| !matches!(*reason, "ContainerCreating" | "PodInitializing"))
    {
        let exit = last["exitCode"].as_i64().map(|code| format!(", last exit code {code}")).unwrap_or_default();
        let message = waiting["message"].as_str().map(|message| format!(": {message}")).unwrap_or_default();
        return Some(format!("{reason} (container {name}{exit}){message}"));
    }
    let code = terminated["exitCode"].as_i64()?;
    let reason = terminated["reason"].as_str().unwrap_or("Terminated");
    Some(format!("{reason} (container {name}, exit code {code})"))
}

fn condition_reason(status: &Value) -> Option<String> {
    let conditions = status["conditions"].as_array()?;
    let failing = |kind: &str| conditions.iter().find(|c| c["type"] == kind && c["status"] == "False");
    if let Some(unscheduled) = failing("PodScheduled") {
        let reason = unscheduled["reason"].as_str().unwrap_or("Unschedulable");
        return Some(format!("{reason}: {}", unscheduled["message"].as_str().unwrap_or_default()));
    }
    let unready = failing("Ready").or_else(|| failing("ContainersReady"))?;
    let message = unready["message"].as_str().or_else(|| unready["reason"].as_str()).unwrap_or("its readiness probe fails");
    Some(format!("not ready: {message}"))
}

/// The last lines of a log, without empty ones.
#[must_use]
pub fn last_lines(log: &str, most: usize) -> Vec<String> {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(most);
    lines[from..].iter().map(|line| line.chars().take(400).collect()).collect()
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
