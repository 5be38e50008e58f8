//! Strategy `statefulset`: the StatefulSet gets the earlier pod template back, exactly, and its own controller rolls it out, from the
//! highest ordinal down to its partition.
//!
//! With `OrderedReady` that controller goes no further while any pod is not ready, and waits for a pod of the bad version for ever
//! (kubernetes#67250): such pods are deleted, so that they come back as the restored version. With `OnDelete` it replaces no pod by
//! itself: those of the bad version are deleted one at a time.
//!
//! Guarantees: nothing but the template changes, least of all `volumeClaimTemplates`; a pod is deleted only if it is of the bad version,
//! takes part in the rollout (the partition) and the controller has seen the restored template, so that what comes back is that; with
//! `RollingUpdate` only if it is not ready. Must not: wait for a pod that can't get ready before the one that it waits for.

use contracts::v1::Plan;
use serde_json::Value;

use super::pods::{bad, by_ordinal, next_on_delete};
use super::{RestoreError, Stamp, rolling};
use crate::progress::deployed;
use crate::view::{Pod, View};

/// The StatefulSet to PUT.
pub fn restore(live: &Value, plan: &Plan, stamp: &Stamp) -> Result<Value, RestoreError> {
    rolling::restore(live, plan, stamp)
}

/// The pod that has to be deleted next for the restored version to proceed.
#[must_use]
pub fn next_pod(view: &View) -> Option<&Pod> {
    deployed(view)?;
    if view.rollout.ordered {
        // Whichever of them the controller waits for, the others are next: none of them serves.
        let stuck = bad(view).filter(|pod| !pod.ready).max_by_key(|pod| by_ordinal(pod));
        if stuck.is_some() {
            return stuck;
        }
    }
    next_on_delete(view)
}

#[cfg(test)]
#[path = "statefulset_tests.rs"]
mod tests;
