//! Strategy `daemonset`: the DaemonSet gets the earlier pod template back, exactly, and its own controller rolls it out, node by node;
//! pods of the bad version that are not available go first and at once, so nothing has to be helped along.
//!
//! With `OnDelete` the controller replaces no pod by itself: those of the bad version are deleted one at a time.
//!
//! Guarantees: nothing but the template changes; a pod is deleted only with `OnDelete`, and only while all others are ready. Must not:
//! choose by node.

use contracts::v1::Plan;
use serde_json::Value;

use super::pods::next_on_delete;
use super::{RestoreError, Stamp, rolling};
use crate::progress::deployed;
use crate::view::{Pod, View};

/// The DaemonSet to PUT.
pub fn restore(live: &Value, plan: &Plan, stamp: &Stamp) -> Result<Value, RestoreError> {
    rolling::restore(live, plan, stamp)
}

/// The pod that has to be deleted next for the restored version to proceed.
#[must_use]
pub fn next_pod(view: &View) -> Option<&Pod> {
    deployed(view)?;
    next_on_delete(view)
}

#[cfg(test)]
#[path = "daemonset_tests.rs"]
mod tests;
