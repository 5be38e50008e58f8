//! What a plan waits for before it is begun.
//!
//! Guarantees: an answer is waited for until the next freeze window begins and no longer, since in it nothing may be begun: so a yes always comes
//! in time, or is refused by whoever takes it, who need not know the policy. Must not: judge what holds when a wait ends; that is asked then.

use std::time::Duration;

use jiff::Timestamp;
use lastgood_core::policy::{ApprovalTimeout, Effective, Mode};

/// What a plan waits for before it is begun.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waits {
    /// A person's word: how long it is waited for, and what comes of silence.
    pub approval: Option<(Duration, ApprovalTimeout)>,
    /// Its alerts' going on for so long.
    pub grace: Option<Duration>,
}

impl Waits {
    /// What the policy asks for, of a plan that is made now.
    #[must_use]
    pub fn of(policy: &Effective, now: Timestamp) -> Self {
        let approval = match policy.mode {
            Mode::Approve { within, on_timeout } => Some((within, on_timeout)),
            Mode::Observe | Mode::Auto => None,
        };
        let frozen_in = policy.next_freeze(now).and_then(|at| Duration::try_from(at.duration_since(now)).ok());
        let approval = approval.map(|(within, on_timeout)| match frozen_in {
            // Not silence for as long as the policy says, and so no yes.
            Some(left) if left < within => (left, ApprovalTimeout::Halt),
            _ => (within, on_timeout),
        });
        Self { approval, grace: (!policy.grace.is_zero()).then_some(policy.grace) }
    }

    /// How long a plan may wait at most.
    #[must_use]
    pub fn longest(&self) -> Duration {
        let within = self.approval.map_or(Duration::ZERO, |(within, _)| within);
        within.saturating_add(self.grace.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use lastgood_core::policy::{Limits, Origin, Workload, combine, read};
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_waited_for_until_the_next_freeze_window_begins() {
        let document = json!({"apiVersion": "lastgood.dev/v1alpha1", "kind": "RollbackPolicy", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"mode": "approve", "approval": {"within": "15m", "onTimeout": "Proceed"},
                "freeze": [{"from": "2026-12-24T00:00:00Z", "until": "2026-12-27T00:00:00Z"}]}});
        let policy = read(&document, Origin::Cluster, &Limits::default()).unwrap();
        let none = std::collections::BTreeMap::new();
        let workload = Workload { namespace: "shop", kind: "Deployment", name: "web", labels: &none, annotations: &none };
        let asked = |now: &str| {
            let now = now.parse().unwrap();
            Waits::of(&combine([&policy], &workload, &Effective::default(), now), now).approval.unwrap()
        };
        assert_eq!(asked("2026-12-23T23:00:00Z"), (Duration::from_mins(15), ApprovalTimeout::Proceed));
        assert_eq!(asked("2026-12-23T23:45:00Z"), (Duration::from_mins(15), ApprovalTimeout::Proceed));
        assert_eq!(asked("2026-12-23T23:50:00Z"), (Duration::from_mins(10), ApprovalTimeout::Halt), "silence is no yes then");
        assert_eq!(asked("2026-12-28T00:00:00Z"), (Duration::from_mins(15), ApprovalTimeout::Proceed));
    }
}
