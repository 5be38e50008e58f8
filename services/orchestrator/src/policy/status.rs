//! `status` of the custom resources: what the orchestrator makes of each policy.
//!
//! Guarantees: one task of the process writes, only where something changed, and what it writes depends on nothing but the policies and the
//! workloads, so that replicas agree instead of writing in turns; a refusal is logged and harmless. Must not: write anything else.

use std::collections::BTreeMap;
use std::time::Duration;

use chassis::clock::Clock;
use jiff::Timestamp;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use lastgood_core::policy::{Id, Policy};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::crd::{Condition, PolicyStatus};
use super::survey::{Governed, Survey, workloads};
use super::watch::{Resources, Seen, resource};
use super::{Index, Policies};

/// Changes of policies are waited for so long, so that many are one.
const GATHER: Duration = Duration::from_secs(1);
/// Workloads come and go without telling; they are counted again after so long.
const COUNT_EVERY: Duration = Duration::from_mins(5);
/// How long one count may take.
const COUNT_TIMEOUT: Duration = Duration::from_mins(1);
/// Problems that are told.
const TOLD: usize = 64;

/// A policy's status, but for the times of its conditions.
#[must_use]
pub fn status(policy: &Policy, governed: &Governed, generation: i64) -> PolicyStatus {
    let problems: Vec<String> = match &policy.says {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().take(TOLD).map(ToString::to_string).collect(),
    };
    let condition = |kind: &str, holds: bool, reason: &str, message: String| Condition {
        kind: kind.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: String::new(),
        observed_generation: generation,
    };
    let valid = match problems.len() {
        0 => condition("Valid", true, "Accepted", "what it says is in force".to_owned()),
        count => condition(
            "Valid",
            false,
            "Invalid",
            format!("{count} problems; what it is about is only observed until they are put right"),
        ),
    };
    let governing = match governed.count {
        0 => condition("Governing", false, "NoWorkload", "no workload of the cluster fits it".to_owned()),
        count => condition("Governing", true, "Workloads", format!("{count} workloads")),
    };
    PolicyStatus {
        observed_generation: generation,
        governs: governed.count,
        workloads: governed.first.clone(),
        problem: problems.first().cloned().unwrap_or_default(),
        problems,
        conditions: vec![valid, governing],
    }
}

/// The status to write, where it is another one than what is there; conditions that did not turn keep their time.
#[must_use]
pub fn changed(wanted: PolicyStatus, there: &Value, now: Timestamp) -> Option<PolicyStatus> {
    let there: PolicyStatus = serde_json::from_value(there.clone()).unwrap_or_default();
    let mut wanted = wanted;
    for condition in &mut wanted.conditions {
        let before = there.conditions.iter().find(|before| before.kind == condition.kind && before.status == condition.status);
        condition.last_transition_time = before.map_or_else(|| format!("{now:.0}"), |before| before.last_transition_time.clone());
    }
    (wanted != there).then_some(wanted)
}

/// What is to be written, resource by resource.
#[must_use]
pub fn due(
    index: &Index,
    seen: &BTreeMap<Id, Seen>,
    governed: &BTreeMap<Id, Governed>,
    now: Timestamp,
) -> Vec<(Id, PolicyStatus)> {
    let each = index.policies().filter_map(|policy| {
        let (seen, governed) = (seen.get(&policy.id)?, governed.get(&policy.id)?);
        Some((policy.id.clone(), changed(status(policy, governed, seen.generation), &seen.status, now)?))
    });
    each.collect()
}

/// Keeps the statuses until told to stop.
pub async fn keep(
    client: Client,
    policies: Policies,
    resources: Resources,
    clock: std::sync::Arc<dyn Clock>,
    stopping: CancellationToken,
) {
    let mut changes = policies.changes();
    let keeper = async {
        loop {
            let now = policies.now();
            if !resources.all().is_empty() {
                write_due(&client, &now, &resources, clock.now()).await;
            }
            // The sender lives as long as `policies`; the pause bounds how long a change waits, and how old a count gets.
            let _ = tokio::time::timeout(COUNT_EVERY, changes.changed()).await;
            tokio::time::sleep(GATHER).await;
            changes.mark_unchanged();
        }
    };
    tokio::select! {
        biased;
        () = stopping.cancelled() => {}
        () = keeper => {}
    }
}

async fn write_due(client: &Client, index: &Index, resources: &Resources, now: Timestamp) {
    let mut survey = Survey::of(index.policies());
    let counted =
        tokio::time::timeout(COUNT_TIMEOUT, workloads(client, None, |workload| survey.count(index.policies(), workload))).await;
    match counted {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return tracing::warn!(%error, "the workloads can't be counted; the policies' status stays as it is"),
        Err(_) => return tracing::warn!("counting the workloads took too long; the policies' status stays as it is"),
    }
    for (id, status) in due(index, &resources.all(), &survey.end(), now) {
        write(client, &id, &status).await;
    }
}

async fn write(client: &Client, id: &Id, status: &PolicyStatus) {
    let resource = resource(id.kind());
    let api: Api<DynamicObject> = match &id.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let patch = Patch::Merge(json!({"status": status}));
    match api.patch_status(&id.name, &PatchParams::default(), &patch).await {
        Ok(_) => tracing::debug!(policy = %id, governs = status.governs, problems = status.problems.len(), "status written"),
        Err(kube::Error::Api(refusal)) if refusal.code == 404 => tracing::debug!(policy = %id, "it is gone"),
        Err(error) => tracing::warn!(policy = %id, %error, "its status can't be written; it is in force all the same"),
    }
}

#[cfg(test)]
mod tests {
    use lastgood_core::policy::{Limits, Origin, read};

    use super::*;
    use crate::config::Settings;

    fn policy(spec: &Value) -> Policy {
        let document = json!({"apiVersion": "lastgood.dev/v1alpha1", "kind": "RollbackPolicy",
            "metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
        read(&document, Origin::Cluster, &Limits::default()).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn what_is_wrong_and_what_is_governed_is_said() {
        let bad = status(&policy(&json!({"mode": "x", "soak": "y"})), &Governed::default(), 4);
        assert_eq!((bad.observed_generation, bad.problems.len(), bad.governs), (4, 2, 0));
        assert!(bad.problem.starts_with("spec.mode:"));
        let told: Vec<_> = bad.conditions.iter().map(|c| (c.kind.as_str(), c.status.as_str(), c.reason.as_str())).collect();
        assert_eq!(told, [("Valid", "False", "Invalid"), ("Governing", "False", "NoWorkload")]);
        let good = status(&policy(&json!({})), &Governed { count: 2, first: vec!["shop/deployment/web".into()] }, 1);
        assert!(good.problem.is_empty() && good.conditions.iter().all(|condition| condition.status == "True"));
    }

    #[test]
    fn it_is_written_only_where_something_changed() {
        let governed = Governed { count: 1, first: vec!["shop/deployment/web".into()] };
        let wanted = || status(&policy(&json!({})), &governed, 1);
        let first = changed(wanted(), &Value::Null, at(0)).expect("there was none");
        let there = serde_json::to_value(&first).unwrap();
        assert_eq!(changed(wanted(), &there, at(60)), None);
        let more = status(&policy(&json!({})), &Governed { count: 2, ..governed.clone() }, 1);
        let second = changed(more, &there, at(60)).expect("one more");
        assert_eq!(second.conditions[0].last_transition_time, first.conditions[0].last_transition_time);
        let broken = changed(status(&policy(&json!({"mode": "x"})), &governed, 2), &there, at(60)).expect("broken");
        assert_ne!(broken.conditions[0].last_transition_time, first.conditions[0].last_transition_time);
    }

    #[test]
    fn a_file_has_no_status() {
        let mut index = Index::new(&Settings::default());
        let policy = policy(&json!({}));
        let id = policy.id.clone();
        index.put(policy);
        let governed = BTreeMap::from([(id.clone(), Governed::default())]);
        assert!(due(&index, &BTreeMap::new(), &governed, at(0)).is_empty());
        let seen = BTreeMap::from([(id, Seen { generation: 1, status: Value::Null })]);
        assert_eq!(due(&index, &seen, &governed, at(0)).len(), 1);
    }
}
