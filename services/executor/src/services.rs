//! Services that pin a version: the next step of each switch.
//!
//! Guarantees: following these steps a Service never selects zero ready pods while one is ready; a selector that is none of the
//! plan's three is somebody else's and stays. Must not: talk to a cluster.

use contracts::v1::ServiceSwitch;
use serde_json::Value;

use crate::strategies::ownership::LAST_APPLIED;
use crate::strategies::rolling::with_applied;
use crate::view::{Labels, Service};

/// What to do with one Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SwitchStep {
    /// Write this selector.
    Select(Labels),
    /// Not yet: too few restored pods are ready.
    Wait,
    /// It selects the restored version.
    Done,
    /// Somebody else changed or removed it: leave it.
    Superseded(String),
}

/// The next step for one switch. `one` restored pod is ready, or `enough` of them to carry the traffic alone.
#[must_use]
pub fn next_switch(switch: &ServiceSwitch, live: Option<&Service>, one: bool, enough: bool) -> SwitchStep {
    let (from, shared, to) = (&switch.from_selector, &switch.shared_selector, &switch.to_selector);
    let Some(service) = live.filter(|service| service.uid == switch.uid) else {
        return SwitchStep::Superseded(format!("Service {} was removed or made anew", switch.name));
    };
    if service.selector == *to {
        SwitchStep::Done
    } else if !shared.is_empty() && service.selector == *shared {
        if enough { SwitchStep::Select(to.clone()) } else { SwitchStep::Wait }
    } else if service.selector == *from {
        match (shared.is_empty(), one) {
            (false, _) => SwitchStep::Select(shared.clone()),
            (true, true) => SwitchStep::Select(to.clone()),
            (true, false) => SwitchStep::Wait,
        }
    } else {
        SwitchStep::Superseded(format!("somebody changed the selector of Service {}", switch.name))
    }
}

/// The Service to PUT: the live one with this selector, also in its last-applied-configuration.
#[must_use]
pub fn with_selector(live: &Value, selector: &Labels) -> Value {
    let mut object = live.clone();
    object["spec"]["selector"] = serde_json::json!(selector);
    let applied = object["metadata"]["annotations"][LAST_APPLIED].as_str();
    if let Some(applied) = applied.and_then(|text| with_applied(text, &["spec", "selector"], serde_json::json!(selector))) {
        object["metadata"]["annotations"][LAST_APPLIED] = applied.into();
    }
    object
}

#[cfg(test)]
#[path = "services_tests.rs"]
mod tests;
