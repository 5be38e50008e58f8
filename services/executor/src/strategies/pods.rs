//! Which of the bad version's pods are to be deleted, as strategies share it.
//!
//! Guarantees: with `OnDelete` no second pod goes before the first one's successor is ready. Must not: pick a pod of another version.

use std::cmp::Reverse;

use lastgood_core::rollout::ordinal;

use crate::view::{Pod, View, Which};

/// The bad version's pods that are about and take part in the rollout.
pub(super) fn bad(view: &View) -> impl Iterator<Item = &Pod> {
    view.pods.iter().filter(|pod| pod.which == Which::Bad && pod.is_about())
}

/// In the order of ordinals, by name where there are none.
pub(super) fn by_ordinal(pod: &Pod) -> (Option<i64>, &str) {
    (ordinal(&pod.name), &pod.name)
}

/// With `OnDelete`: the next one, those that are not ready first, then from the highest ordinal down; none while a successor is awaited.
pub(super) fn next_on_delete(view: &View) -> Option<&Pod> {
    if !view.rollout.on_delete || !is_settled(view) {
        return None;
    }
    bad(view).min_by_key(|pod| (pod.ready, Reverse(by_ordinal(pod))))
}

/// Whether every wanted pod is there, none is on its way out, and all but those of the bad version are ready.
fn is_settled(view: &View) -> bool {
    let about = view.pods.iter().filter(|pod| pod.is_about()).count();
    let wanted = usize::try_from(view.counts.desired.saturating_add(view.rollout.kept)).unwrap_or(usize::MAX);
    let well = |pod: &Pod| pod.leaving_by.is_none() && (pod.ready || matches!(pod.which, Which::Bad | Which::Kept));
    about >= wanted && view.pods.iter().filter(|pod| pod.is_about() || pod.leaving_by.is_some()).all(well)
}
