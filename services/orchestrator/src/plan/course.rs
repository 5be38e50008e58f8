//! Which course an incident takes: halt, and why, or go back to which version.
//!
//! Guarantees: the refusals come in this order: what can't be done at all (kind, another manager, a paused rollout), what would not help
//! (no rollout explains the alert, no version to go back to), what is not allowed now (mode, pause switch, freeze, a version without a way back, mass failure, cooldown). The
//! last kind says what would have been done. What a person asks for is only refused for what can't be done, for want of that version, and for
//! the pause switch. Must not: read anything, or know of plans' bytes.

use contracts::{HaltReason, v1};
use jiff::{SignedDuration, Timestamp};
use lastgood_core::configuration::restore::{Now, Rules, planned};
use lastgood_core::configuration::{Place, id_of, version_id};
use lastgood_core::image::{by_digests, learn};
use lastgood_core::ledger::{Choice, Known, Standing, describe};
use lastgood_core::policy::{Effective, Mode};
use lastgood_core::rollout::Rollout;
use lastgood_core::template;

use crate::brakes;
use crate::cluster::{Kind, Object};
use crate::configuration::{Seen, recorded};
use crate::effective::ALLOW_UNKNOWN;
use crate::ledger::LedgerView;
use crate::ledger::carriers::{Carrier, by_version};
use crate::ledger::observe::version;
use crate::plan::waits::Waits;
use crate::plan::way_back::no_way_back;

/// Why a version is no target that restoring would not bring back anything of.
const SAME_TEMPLATE: &str =
    "is what runs already, but for the names of its images or for configuration that the policy does not restore";

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
    /// The configuration that its template refers to, as it is now.
    pub running: &'a [Seen],
    /// What the policy says of configuration.
    pub rules: Rules,
    /// Since when the alert fires.
    pub alert_since: Timestamp,
    /// The version that the alert says it is about, by its template's hash, where it does.
    pub about: Option<&'a str>,
    /// What a person asked for, where it was no alert.
    pub requested: Option<&'a v1::RollbackRequested>,
    /// The pause switch's last word.
    pub switch: Option<&'a v1::PauseSwitched>,
    /// Workloads of the cluster with an incident within the mass failure brake's window, this one included.
    pub failing_workloads: usize,
    /// The workload's last rollback.
    pub last_rollback: Option<Timestamp>,
    /// What is allowed for this workload.
    pub policy: &'a Effective,
    /// Now.
    pub now: Timestamp,
}

/// The version to go back to.
#[derive(Debug, Clone, Default, PartialEq)]
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
    /// What is done about its configuration.
    pub configuration: Vec<v1::PlannedConfiguration>,
    /// How its configuration differs from what runs, for people.
    pub lines: Vec<String>,
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
    /// What a plan waits for.
    pub waits: Waits,
}

/// Decides. Total: every input has its course.
#[must_use]
pub fn decide_course(inputs: &Inputs<'_>) -> Course {
    let current = current_version(inputs);
    let running = current.version.clone().unwrap_or_default();
    let changed_at = contracts::time::from_proto(current.changed_at.as_ref());
    let useless = || if inputs.requested.is_some() { None } else { useless(inputs, &running.template_hash, changed_at) };
    let step = if let Some((reason, detail)) = impossible(inputs).or_else(useless) {
        Step::Halt(reason, detail)
    } else {
        let (target, allowed): (_, fn(&Inputs<'_>, &Target) -> _) = match inputs.requested {
            Some(requested) => (asked_for(inputs, requested, &running), |inputs, _| paused(inputs)),
            None => (target(inputs, &running), not_allowed),
        };
        match target.map(|target| (allowed(inputs, &target), target)) {
            Err(considered) => Step::Missing(considered),
            Ok((Some((reason, detail)), target)) => Step::Hold(Box::new(target), reason, detail),
            Ok((None, target)) => Step::Roll(Box::new(target)),
        }
    };
    let waits = if inputs.requested.is_some() { Waits::default() } else { Waits::of(inputs.policy, inputs.now) };
    Course { current, step, waits }
}

/// The version that a person named, whatever is thought of it; the newest good one where none is named.
fn asked_for(inputs: &Inputs<'_>, requested: &v1::RollbackRequested, current: &v1::Version) -> Result<Target, Vec<String>> {
    let wanted = requested.to_template_hash.as_str();
    if wanted.is_empty() {
        return target(inputs, current);
    }
    let Some(known) = inputs.ledger.known(wanted) else {
        return Err(vec![format!("no version {wanted} of this workload is recorded")]);
    };
    if wanted == id_of(current) {
        return Err(vec![format!("{}: is the version that runs", describe(&known.version))]);
    }
    if known.template_json.is_empty() {
        return Err(vec![format!("{}: its pod template was not recorded", describe(&known.version))]);
    }
    if changes_nothing(inputs, known) {
        return Err(vec![format!("{}: {SAME_TEMPLATE}", describe(&known.version))]);
    }
    let standing = known.standing(inputs.policy.soak);
    Ok(Target {
        version: known.version.clone(),
        evidence: format!("{} asked for it: {}; it is {}: {}", requested.who, requested.reason, standing.word(), standing.why()),
        template_json: known.template_json.clone(),
        last_applied_template_json: known.last_applied_template_json.clone(),
        managed_fields_json: known.managed_fields_json.clone(),
        ..Target::default()
    })
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
    let window = SignedDuration::try_from(inputs.policy.window).unwrap_or(SignedDuration::MAX);
    brakes::unexplained(changed_at, inputs.alert_since, window).map(|why| (HaltReason::NoRecentChange, why))
}

fn paused(inputs: &Inputs<'_>) -> Option<(HaltReason, String)> {
    brakes::paused(inputs.switch).map(|why| (HaltReason::Paused, why))
}

fn not_allowed(inputs: &Inputs<'_>, target: &Target) -> Option<(HaltReason, String)> {
    let policy = inputs.policy;
    if policy.mode == Mode::Observe {
        return Some((HaltReason::ObserveMode, policy.mode_because.clone()));
    }
    paused(inputs)
        .or_else(|| policy.frozen.clone().map(|why| (HaltReason::Frozen, why)))
        .or_else(|| no_way_back(inputs, target).map(|why| (HaltReason::Irreversible, why)))
        .or_else(|| {
            let many = brakes::mass_failure(inputs.failing_workloads, &policy.mass_failure);
            many.map(|why| (HaltReason::MassFailure, why))
        })
        .or_else(|| {
            let early = brakes::cooling_down(inputs.last_rollback, inputs.now, policy.cooldown);
            early.map(|why| (HaltReason::Cooldown, why))
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
        || v1::Version { images: template::images(template), ..v1::Version::default() },
        |set| version(&hash, template, set),
    );
    let configuration = recorded(inputs.running);
    let id = version_id(template, &configuration);
    if let Some(known) = inputs.ledger.known(&id) {
        running.first_seen = known.version.first_seen;
        running.fully_available_at = known.version.fully_available_at;
        if set.is_none() {
            // The revision is the live one: it moves when somebody deploys another version and this one again, which the ledger's watch
            // may not see, and the executor tells by it whether anybody did so after the plan.
            let live = revision(inputs.workload);
            running = v1::Version { revision: live.unwrap_or(known.version.revision), ..known.version.clone() };
        }
    }
    // The template is the live one: the version may have been recorded with other names, those of its copies or of the originals.
    let running = v1::Version { template_hash: hash.clone(), id: id.clone(), configuration, ..running };
    v1::CurrentVersionIdentified {
        version: Some(running),
        workload_uid: inputs.workload.uid().to_owned(),
        workload_generation: inputs.workload.generation(),
        changed_at: changed_at(inputs, &hash, &id, set.copied()).map(contracts::time::to_proto),
    }
}

/// The Deployment's revision, once its controller has set it.
fn revision(workload: &Object) -> Option<i64> {
    workload.annotation("deployment.kubernetes.io/revision")?.parse().ok()
}

/// By the ledger, or where it hasn't caught up: by the last write to its configuration where only that has changed, else by the later of
/// the ReplicaSet's creation and the rollout's last progress. When a version came back that a ControllerRevision carries, only the ledger
/// can tell.
fn changed_at(inputs: &Inputs<'_>, hash: &str, id: &str, set: Option<&Carrier>) -> Option<Timestamp> {
    if let Some(since) = inputs.ledger.current_since(id) {
        return Some(since);
    }
    let before = inputs.ledger.current_hash().and_then(|current| inputs.ledger.known(current));
    if before.is_some_and(|before| before.version.template_hash == hash) {
        return inputs.running.iter().filter_map(|seen| seen.written_at).max();
    }
    let created = set?.created?;
    let came_back = inputs.ledger.known(id).is_some();
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

fn target(inputs: &Inputs<'_>, current: &v1::Version) -> Result<Target, Vec<String>> {
    let unfit = |known: &Known| changes_nothing(inputs, known).then(|| SAME_TEMPLATE.to_owned());
    let considered = match inputs.ledger.ledger.choose_where(id_of(current), inputs.policy.soak, unfit) {
        Choice::Chosen(known, evidence) => {
            return Ok(Target {
                version: known.version.clone(),
                evidence,
                template_json: known.template_json.clone(),
                last_applied_template_json: known.last_applied_template_json.clone(),
                managed_fields_json: known.managed_fields_json.clone(),
                ..Target::default()
            });
        }
        Choice::Missing(considered) => considered,
    };
    if inputs.policy.allow_unknown { newest_other(inputs, &current.template_hash).ok_or(considered) } else { Err(considered) }
}

/// Whether restoring a version would bring what is there already: what differs is configuration that does not come back, or how its images are
/// named.
fn changes_nothing(inputs: &Inputs<'_>, known: &Known) -> bool {
    let Ok(template) = serde_json::from_slice::<serde_json::Value>(&known.template_json) else { return true };
    let live = inputs.workload.template().map(template::hash);
    // By its digests it would come to what runs: a restore of it whose tags had moved is what is to be rolled back from.
    if by_digests(&template, &known.version.images).is_some_and(|named| live == Some(template::hash(&named))) {
        return true;
    }
    let same = live == Some(template::hash(&template));
    let now = |place: &Place| {
        let seen = inputs.running.iter().find(|seen| seen.reference.kind == place.0 && seen.recorded.name == place.1);
        seen.and_then(Seen::now).unwrap_or(Now::Unread)
    };
    same && !planned(&known.version.configuration, inputs.rules, now).iter().any(|one| one.restored)
}

/// The newest other version that the cluster keeps, for workloads that take the risk; never one that is known to be bad.
fn newest_other(inputs: &Inputs<'_>, current: &str) -> Option<Target> {
    let of_template = |hash: &str| inputs.ledger.of_template(hash).collect::<Vec<_>>();
    let is_bad = |known: &Known| matches!(known.standing(inputs.policy.soak), Standing::Bad(_));
    let refused = |hash: &str| of_template(hash).into_iter().any(is_bad);
    let sets = by_version(inputs.workload, inputs.sets);
    let others = sets.iter().filter(|(hash, _)| *hash != current && !refused(hash));
    let (hash, set) = others.max_by_key(|(_, set)| set.revision)?;
    let known = of_template(hash).into_iter().max_by_key(|known| known.last_current);
    let mut version = version(hash, &set.template, set);
    learn(&mut version.images, known.map(|known| known.version.images.as_slice()).unwrap_or_default());
    Some(Target {
        version,
        evidence: format!("not proved, but {ALLOW_UNKNOWN} (or its policy) allows it; revision {}", set.revision),
        template_json: set.template.to_string().into_bytes(),
        last_applied_template_json: known.map(|k| k.last_applied_template_json.clone()).unwrap_or_default(),
        managed_fields_json: known.map(|k| k.managed_fields_json.clone()).unwrap_or_default(),
        ..Target::default()
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
