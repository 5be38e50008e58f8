//! The arithmetic of rolling updates. Pure.

use serde_json::Value;

use crate::sim::json::Json as _;

/// What a Deployment's strategy allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Wanted pods.
    pub(crate) replicas: i64,
    /// Pods allowed on top of the wanted ones.
    pub(crate) surge: i64,
    /// Pods that may be missing.
    pub(crate) unavailable: i64,
}

impl Limits {
    /// Reads the limits; percentages round up for the surge and down for what may be missing.
    pub(crate) fn of(deployment: &Value) -> Self {
        let replicas = deployment.int("/spec/replicas");
        if deployment.text("/spec/strategy/type") == "Recreate" {
            return Self { replicas, surge: 0, unavailable: 0 };
        }
        let rolling = "/spec/strategy/rollingUpdate";
        let surge = share(deployment.at(&format!("{rolling}/maxSurge")), replicas, true);
        let unavailable = share(deployment.at(&format!("{rolling}/maxUnavailable")), replicas, false);
        // Neither up nor down would be no way forward.
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Self { replicas, surge, unavailable: unavailable.min(replicas) }
    }

    /// How many of the wanted pods must be available.
    pub(crate) fn minimum(&self) -> i64 {
        self.replicas - self.unavailable
    }

    /// How large a ReplicaSet of `size` can become while all together want `total`.
    pub(crate) fn room(&self, size: i64, total: i64) -> i64 {
        let room = (self.replicas + self.surge - total).max(0);
        size + room.min(self.replicas - size).max(0)
    }

    /// The new ReplicaSet's next size.
    pub(crate) fn new_size(&self, size: i64, total: i64) -> i64 {
        if size > self.replicas { self.replicas } else { self.room(size, total) }
    }

    /// The old ReplicaSets' next sizes, given (wanted, available) of each and of the new one.
    pub(crate) fn old_sizes(&self, old: &[(i64, i64)], new: (i64, i64)) -> Vec<i64> {
        let total: i64 = old.iter().map(|(size, _)| size).sum::<i64>() + new.0;
        let mut may_go = total - self.minimum() - (new.0 - new.1).max(0);
        let mut sizes: Vec<_> = old.iter().map(|(size, _)| *size).collect();
        if may_go <= 0 {
            return sizes;
        }
        // First those that serve nobody.
        for (size, (wanted, available)) in sizes.iter_mut().zip(old) {
            let gone = (wanted - available).clamp(0, may_go);
            *size -= gone;
            may_go -= gone;
        }
        let available: i64 = old.iter().map(|(_, available)| available).sum::<i64>() + new.1;
        let mut surplus = (available - self.minimum()).max(0);
        for size in &mut sizes {
            let gone = (*size).min(surplus);
            *size -= gone;
            surplus -= gone;
        }
        sizes
    }
}

/// A number or a percentage of `whole`.
fn share(value: &Value, whole: i64, up: bool) -> i64 {
    if let Some(number) = value.as_i64() {
        return number;
    }
    let text = value.as_str().unwrap_or_default();
    let percent: i64 = text.trim_end_matches('%').parse().unwrap_or_default();
    (percent * whole + if up { 99 } else { 0 }) / 100
}

/// Sizes in the same proportions with `target` as their sum; the largest takes what rounding leaves.
pub(crate) fn spread(sizes: &[i64], target: i64) -> Vec<i64> {
    let total: i64 = sizes.iter().sum();
    if total == 0 {
        return sizes.to_vec();
    }
    let mut spread: Vec<i64> = sizes.iter().map(|size| size * target / total).collect();
    let left = target - spread.iter().sum::<i64>();
    if let Some(largest) = spread.iter_mut().max() {
        *largest += left;
    }
    spread
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn limits(replicas: i64, surge: impl Into<Value>, unavailable: impl Into<Value>) -> Limits {
        let rolling = json!({"maxSurge": surge.into(), "maxUnavailable": unavailable.into()});
        Limits::of(&json!({"spec": {"replicas": replicas, "strategy": {"rollingUpdate": rolling}}}))
    }

    #[test]
    fn percentages_round_towards_safety() {
        for (replicas, surge, unavailable) in [(1, 1, 0), (2, 1, 0), (3, 1, 0), (4, 1, 1), (10, 3, 2), (0, 0, 0)] {
            let limits = limits(replicas, "25%", "25%");
            assert_eq!((limits.surge, limits.unavailable), (surge, unavailable), "{replicas}");
        }
        assert_eq!(limits(3, 0, 0).unavailable, 1);
    }

    #[test]
    fn a_rollout_never_goes_below_its_minimum() {
        let limits = limits(3, 1, 0);
        assert_eq!(limits.new_size(0, 3), 1);
        assert_eq!(limits.old_sizes(&[(3, 3)], (1, 0)), [3], "the new pod isn't available yet");
        assert_eq!(limits.old_sizes(&[(3, 3)], (1, 1)), [2]);
        assert_eq!(limits.new_size(1, 3), 2);
        assert_eq!(limits.old_sizes(&[(1, 1), (2, 2)], (1, 0)), [1, 2]);
        assert_eq!(limits.old_sizes(&[(2, 0), (2, 2)], (2, 1)), [0, 2], "broken pods go first");
    }

    #[test]
    fn scaling_in_the_middle_of_a_rollout_keeps_proportions() {
        assert_eq!(spread(&[5, 5], 20), [10, 10]);
        assert_eq!(spread(&[8, 3], 5), [4, 1]);
        assert_eq!(spread(&[2, 2], 0), [0, 0]);
    }
}
