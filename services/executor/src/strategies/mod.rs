//! Strategies: how a version is put back. One strategy a file; a new one is one file and one line in `ALL`.
//!
//! Guarantees: a strategy is pure: it computes the object to write from the live one and the plan, and from what is seen afterwards which
//! pod has to be deleted for the restored version to proceed. Must not: talk to a cluster.

pub mod daemonset;
pub mod fieldset;
pub mod ownership;
mod pods;
pub mod rolling;
pub mod statefulset;

use contracts::IncidentId;
use contracts::v1::Plan;
use serde_json::Value;

use crate::view::{Pod, View};

/// The incident that a write is for: the only proof that a change is ours.
pub const INCIDENT: &str = "lastgood.dev/incident";
/// The attempt whose write it was.
pub const ATTEMPT: &str = "lastgood.dev/attempt";
/// The hash of the template that the write restored.
pub const TEMPLATE_HASH: &str = "lastgood.dev/template";
/// A line for people: what happened to this workload.
pub const STATUS: &str = "lastgood.dev/status";
/// The images of the version that was rolled back from.
pub const ROLLED_BACK_FROM: &str = "lastgood.dev/rolled-back-from";
/// On the bad version's ReplicaSet: which incident took it out of service.
pub const ROLLED_BACK_BY: &str = "lastgood.dev/rolled-back-by";

/// What marks a write as ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The incident.
    pub incident: IncidentId,
    /// The attempt.
    pub attempt: u32,
    /// The hash of the template that the write yields, as the dry run showed it; `None` before that: the plan's.
    pub yields: Option<String>,
}

/// Why no object to write could be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The plan names a strategy that this binary does not have.
    #[error("strategy `{0}` is not known")]
    UnknownStrategy(String),
    /// A part of the plan is not what it should be.
    #[error("the plan's `{field}` can't be used: {reason}")]
    BadPlan {
        /// Which part.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The live object is not a workload of the expected form.
    #[error("the live object has no `{0}`")]
    BadLive(&'static str),
}

/// Computes the whole object to PUT from the live object, the plan and the stamp.
pub type Restore = fn(&Value, &Plan, &Stamp) -> Result<Value, RestoreError>;

/// The pod that has to be deleted next for the restored version to proceed.
pub type NextPod = fn(&View) -> Option<&Pod>;

/// Every strategy, by the name that plans use.
pub const ALL: &[(&str, Restore, NextPod)] = &[
    ("rolling", rolling::restore, |_| None),
    ("statefulset", statefulset::restore, statefulset::next_pod),
    ("daemonset", daemonset::restore, daemonset::next_pod),
];

/// The object to PUT, by the plan's own strategy.
pub fn restore(live: &Value, plan: &Plan, stamp: &Stamp) -> Result<Value, RestoreError> {
    let (_, strategy, _) = ALL
        .iter()
        .find(|(name, ..)| *name == plan.strategy)
        .ok_or_else(|| RestoreError::UnknownStrategy(plan.strategy.clone()))?;
    strategy(live, plan, stamp)
}

/// The pod that has to be deleted next, by the plan's own strategy; the attempt's intent is for this as well.
#[must_use]
pub fn next_pod<'a>(view: &'a View, plan: &Plan) -> Option<&'a Pod> {
    let (_, _, next) = ALL.iter().find(|(name, ..)| *name == plan.strategy)?;
    next(view)
}
