//! How the services are configured in a simulation: as shipped, but with shorter deadlines, so that less virtual time has to pass.
//!
//! Guarantees: nothing is off that is on by default. Must not: differ from one run to another.

use std::time::Duration;

use lastgood_core::policy::{Limits, Origin, Policy, read};
use orchestrator::config::{Archive, Budgets, Deadlines, MassFailure, Settings};
use serde_json::json;

use crate::world::dice::Dice;

/// `ingest`.
#[must_use]
pub fn ingest() -> alert_ingest::config::Ingest {
    alert_ingest::config::Ingest { repeat_window: Duration::from_secs(30), ..Default::default() }
}

/// `detector`.
#[must_use]
pub fn detector() -> alert_ingest::config::Detector {
    alert_ingest::config::Detector { repeat: Duration::from_mins(2), ..Default::default() }
}

/// `orchestrator`.
#[must_use]
pub fn orchestrator() -> Settings {
    let minute = Duration::from_mins(1);
    Settings {
        window: 3 * minute,
        // The stories begin with versions that have proved themselves.
        soak: Duration::ZERO,
        keep_versions: 20,
        policies_file: None,
        cooldown: minute,
        mass_failure: MassFailure { window: 3 * minute, ..MassFailure::default() },
        archive: Archive {
            after: 3 * minute,
            unresolved_after: 8 * minute,
            every: Duration::from_secs(20),
            // So that incidents come to lie in all kinds of volumes.
            volume: 4_000,
            ..Archive::default()
        },
        budgets: Budgets::default(),
        deadlines: Deadlines {
            decide: Duration::from_secs(30),
            announce: Duration::from_secs(3),
            start: minute,
            rollback: minute,
            verify: minute,
            resolve: minute,
            acknowledge: minute,
            notify: Duration::from_secs(90),
        },
    }
}

/// In some worlds a policy says who is told: news has a receiver, and whoever does not acknowledge is followed by others, one of them by a name
/// that nobody knows.
///
/// # Panics
/// Where the product takes no such policy.
#[must_use]
pub fn policy(seed: u64) -> Option<Policy> {
    let escalation = json!([
        {"audience": "onCall"},
        {"after": "20s", "receivers": ["slack"]},
        {"after": "40s", "receivers": ["misspelt"]},
        {"after": "70s", "audience": "teamLead"},
    ]);
    let routes = json!([{"severities": ["inform"], "receivers": ["slack"]}]);
    let document = json!({"apiVersion": "lastgood.dev/v1alpha1", "kind": "ClusterRollbackPolicy", "metadata": {"name": "told"},
        "spec": {"notify": {"routes": routes, "escalation": escalation}}});
    let policy = || read(&document, Origin::File, &Limits::default()).expect("a good policy");
    Dice::of(seed, "told by a policy").chance(0.25).then(policy)
}

/// How long after the last fault everything has to be closed: every deadline once, each with the executor's and verifier's grace, the
/// longest back-off of a redelivery, and a minute for good measure.
pub const SETTLED_WITHIN: Duration = Duration::from_mins(12);

/// `verifier`.
#[must_use]
pub fn verifier() -> verifier::config::Settings {
    verifier::config::Settings { stabilisation: Duration::from_secs(5), ..Default::default() }
}

/// `notifier`.
#[must_use]
pub fn notifier() -> notifier::config::Notifier {
    notifier::config::Notifier { give_up_after: Duration::from_secs(40), ..Default::default() }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_product_takes_these_settings() {
        super::orchestrator().check().unwrap();
        let policies: Vec<_> = (0..40).filter_map(super::policy).collect();
        assert!((1..30).contains(&policies.len()) && policies.iter().all(|policy| policy.says.is_ok()), "{policies:?}");
    }
}
