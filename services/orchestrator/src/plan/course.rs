//! Which course an incident takes: halt, and why, or go back to which version.
//!
//! Guarantees: the refusals come in this order: what can't be done at all (kind, another manager, a paused rollout), what would not help
//! (no rollout explains the alert, no version to go back to), what is not allowed now (mode, pause switch, mass failure, cooldown). The
//! last kind says what would have been done. Must not: read anything, or know of plans' bytes.

use contracts::{HaltReason, v1};
use jiff::{SignedDuration, Timestamp};
use lastgood_core::ledger::{Choice, Known, Standing, describe};
use lastgood_core::rollout::Rollout;
use lastgood_core::template;

use crate::brakes::{self, Mode};
use crate::cluster::{Kind, Object};
use crate::config::Settings;
use crate::ledger::LedgerView;
use crate::ledger::carriers::{Carrier, by_version};
use crate::ledger::observe::version;

/// Everything that the decision depends on.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The workload's kind.
    pub kind: Kind,
    /// The workload as it is now.
    pub workload: &'a Object,
    /// What carries its versions; needed where the ledger doesn't hold what runs, or may be empty, and for all but Deployments.
    pub sets: &'a [Carrier],
    /// What is known of its versions.
    pub ledger: &'a LedgerView,
    /// Since when the alert fires.
    pub alert_since: Timestamp,
    /// The version that the alert says it is about, by its template's hash, where it does.
    pub about: Option<&'a str>,
    /// The pause switch's last word.
    pub switch: Option<&'a v1::PauseSwitched>,
    /// Workloads of the cluster with an incident within the mass failure brake's window, this one included.
    pub failing_workloads: usize,
    /// The workload's last rollback.
    pub last_rollback: Option<Timestamp>,
    /// The configuration.
    pub settings: &'a Settings,
    /// Now.
    pub now: Timestamp,
}

/// The version to go back to.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Which.
    pub version: v1::Version,
    /// Why it is trusted.
    pub evidence: String,
    /// Its pod template, JSON.
    pub template_json: Vec<u8>,
    /// What was last applied while it ran, JSON; may be empty.
    pub last_applied_template_json: Vec<u8>,
    /// Who owned which field while it ran, JSON; may be empty.
    pub managed_fields_json: Vec<u8>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Halt before a version to go back to was looked for.
    Halt(HaltReason, String),
    /// There is no version to go back to; what was looked at.
    Missing(Vec<String>),
    /// This is what would be done, but not now.
    Hold(Box<Target>, HaltReason, String),
    /// Go back to this.
    Roll(Box<Target>),
}

/// What is known of the current version, and what is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// n6.
    pub current: v1::CurrentVersionIdentified,
    /// What follows.
    pub step: Step,
}

/// Decides. Total: every input has its course.
#[must_use]
pub fn decide_course(inputs: &Inputs<'_>) -> Course {
    let current = current_version(inputs);
    let hash = current.version.as_ref().map(|version| version.template_hash.clone()).unwrap_or_default();
    let changed_at = contracts::time::from_proto(current.changed_at.as_ref());
    let step = if let Some((reason, detail)) = impossible(inputs).or_else(|| useless(inputs, &hash, changed_at)) {
        Step::Halt(reason, detail)
    } else {
        match target(inputs, &hash) {
            Err(considered) => Step::Missing(considered),
            Ok(target) => match not_allowed(inputs) {
                Some((reason, detail)) => Step::Hold(Box::new(target), reason, detail),
                None => Step::Roll(Box::new(target)),
            },
        }
    };
    Course { current, step }
}

fn impossible(inputs: &Inputs<'_>) -> Option<(HaltReason, String)> {
    let workload = inputs.workload;
    if strategy(inputs.kind).is_none() {
        return Some((HaltReason::UnsupportedKind, format!("no strategy handles a {}", inputs.kind)));
    }
    if let Some(who) = brakes::managed_elsewhere(workload) {
        return Some((HaltReason::ManagedElsewhere, who));
    }
    let paused = workload.at("/spec/paused").and_then(serde_json::Value::as_bool) == Some(true);
    if paused {
        return Some((HaltReason::RolloutPaused, "its owner paused it (spec.paused)".to_owned()));
    }
    (inputs.kind == Kind::StatefulSet).then(|| all_kept(workload)).flatten().map(|why| (HaltReason::RolloutPaused, why))
}

/// Why no pod of a StatefulSet would follow a change of its template; `None` where one does.
fn all_kept(workload: &Object) -> Option<String> {
    let kept = Rollout::of_stateful_set(workload.json()).kept;
    let replicas = workload.at("/spec/replicas").and_then(serde_json::Value::as_i64).unwrap_or(1);
    (kept > 0 && kept >= replicas)
        .then(|| format!("its partition keeps all {replicas} pods as they are, whatever its template says"))
}

/// The executor's strategy for this kind, by the name that plans use.
#[must_use]
pub const fn strategy(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Deployment => Some("rolling"),
        Kind::StatefulSet => Some("statefulset"),
        Kind::DaemonSet => Some("daemonset"),
        _ => None,
    }
}

fn useless(inputs: &Inputs<'_>, hash: &str, changed_at: Option<Timestamp>) -> Option<(HaltReason, String)> {
    if inputs.about.is_some_and(|about| about != hash) {
        let detail = "the alert is about a version that does not run any more";
        return Some((HaltReason::NoRecentChange, detail.to_owned()));
    }
    let window = SignedDuration::try_from(inputs.settings.window).unwrap_or(SignedDuration::MAX);
    brakes::unexplained(changed_at, inputs.alert_since, window).map(|why| (HaltReason::NoRecentChange, why))
}

fn not_allowed(inputs: &Inputs<'_>) -> Option<(HaltReason, String)> {
    if let Mode::Observe(why) = brakes::mode(inputs.workload) {
        return Some((HaltReason::ObserveMode, why));
    }
    brakes::paused(inputs.switch)
        .map(|why| (HaltReason::Paused, why))
        .or_else(|| brakes::mass_failure(inputs.failing_workloads, inputs.settings).map(|why| (HaltReason::MassFailure, why)))
        .or_else(|| {
            brakes::cooling_down(inputs.last_rollback, inputs.now, inputs.settings).map(|why| (HaltReason::Cooldown, why))
        })
}

/// What runs now, and since when.
#[must_use]
pub fn current_version(inputs: &Inputs<'_>) -> v1::CurrentVersionIdentified {
    let empty = serde_json::Value::Null;
    let template = inputs.workload.template().unwrap_or(&empty);
    let hash = template::hash(template);
    let sets = by_version(inputs.workload, inputs.sets);
    let set = sets.get(&hash);
    let mut running = set.map_or_else(
        || v1::Version { template_hash: hash.clone(), images: template::images(template), ..v1::Version::default() },
        |set| version(&hash, template, set),
    );
    if let Some(known) = inputs.ledger.known(&hash) {
        running.first_seen = known.version.first_seen;
        running.fully_available_at = known.version.fully_available_at;
        if set.is_none() {
            // The revision is the live one: it moves when somebody deploys another version and this one again, which the ledger's watch
            // may not see, and the executor tells by it whether anybody did so after the plan.
            let live = revision(inputs.workload);
            running = v1::Version { revision: live.unwrap_or(known.version.revision), ..known.version.clone() };
        }
    }
    v1::CurrentVersionIdentified {
        version: Some(running),
        workload_uid: inputs.workload.uid().to_owned(),
        workload_generation: inputs.workload.generation(),
        changed_at: changed_at(inputs, &hash, set.copied()).map(contracts::time::to_proto),
    }
}

/// The Deployment's revision, once its controller has set it.
fn revision(workload: &Object) -> Option<i64> {
    workload.annotation("deployment.kubernetes.io/revision")?.parse().ok()
}

/// By the ledger, or where it hasn't caught up, by the later of the ReplicaSet's creation and the rollout's last progress. When a version
/// came back that a ControllerRevision carries, only the ledger can tell.
fn changed_at(inputs: &Inputs<'_>, hash: &str, set: Option<&Carrier>) -> Option<Timestamp> {
    if let Some(since) = inputs.ledger.current_since(hash) {
        return Some(since);
    }
    let created = set?.created?;
    let came_back = inputs.ledger.known(hash).is_some();
    match inputs.kind {
        _ if !came_back => Some(created),
        Kind::Deployment => Some(progressed_at(inputs.workload).map_or(created, |at| at.max(created))),
        _ => None,
    }
}

fn progressed_at(workload: &Object) -> Option<Timestamp> {
    let conditions = workload.at("/status/conditions")?.as_array()?;
    let progressing = conditions.iter().find(|c| c.get("type").and_then(serde_json::Value::as_str) == Some("Progressing"))?;
    progressing.get("lastUpdateTime")?.as_str()?.parse().ok()
}

fn target(inputs: &Inputs<'_>, current: &str) -> Result<Target, Vec<String>> {
    let considered = match inputs.ledger.ledger.choose(current, inputs.settings.soak) {
        Choice::Chosen(known, evidence) => {
            return Ok(Target {
                version: known.version.clone(),
                evidence,
                template_json: known.template_json.clone(),
                last_applied_template_json: known.last_applied_template_json.clone(),
                managed_fields_json: known.managed_fields_json.clone(),
            });
        }
        Choice::Missing(considered) => considered,
    };
    if brakes::allows_unknown(inputs.workload) { newest_other(inputs, current).ok_or(considered) } else { Err(considered) }
}

/// The newest other version that the cluster keeps, for workloads that take the risk; never one that is known to be bad.
fn newest_other(inputs: &Inputs<'_>, current: &str) -> Option<Target> {
    let is_bad = |known: &Known| matches!(known.standing(inputs.settings.soak), Standing::Bad(_));
    let refused = |hash: &str| inputs.ledger.known(hash).is_some_and(is_bad);
    let sets = by_version(inputs.workload, inputs.sets);
    let others = sets.iter().filter(|(hash, _)| *hash != current && !refused(hash));
    let (hash, set) = others.max_by_key(|(_, set)| set.revision)?;
    let known = inputs.ledger.known(hash);
    Some(Target {
        version: version(hash, &set.template, set),
        evidence: format!("not proved, but {}: \"true\" allows it; revision {}", brakes::ALLOW_UNKNOWN, set.revision),
        template_json: set.template.to_string().into_bytes(),
        last_applied_template_json: known.map(|k| k.last_applied_template_json.clone()).unwrap_or_default(),
        managed_fields_json: known.map(|k| k.managed_fields_json.clone()).unwrap_or_default(),
    })
}

impl Target {
    /// For people.
    #[must_use]
    pub fn describe(&self) -> String {
        describe(&self.version)
    }
}

#[cfg(test)]
mod tests;
