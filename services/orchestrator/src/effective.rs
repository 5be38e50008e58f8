//! What is allowed for a workload, from the configuration and the workload's own annotations.
//!
//! Guarantees: pure; a workload that did not opt in is only observed, and so is one whose annotations can't be read. Must not: be bypassed:
//! whoever needs to know what is allowed asks for the value made here.

use std::time::Duration;

use chassis::config::duration;
use lastgood_core::policy::{ApprovalTimeout, Budgets, Effective, MassFailure, Mode};

use crate::cluster::Object;
use crate::config::Settings;

/// The annotation that opts a Deployment in: `auto`, `approve` or `observe`.
pub const MODE: &str = "lastgood.dev/mode";
/// How long a person has to say yes or no.
pub const APPROVE_WITHIN: &str = "lastgood.dev/approve-within";
/// How long the alert has to go on before anything is done.
pub const GRACE: &str = "lastgood.dev/grace";
/// The annotation that allows a version that was never seen healthy.
pub const ALLOW_UNKNOWN: &str = "lastgood.dev/allow-unknown";

/// How long an approval is waited for where nothing says.
const WITHIN: Duration = Duration::from_mins(15);

/// The policy in force for a workload as it is now.
#[must_use]
pub fn effective(workload: &Object, settings: &Settings) -> Effective {
    let (mode, because) = mode(workload);
    let grace = length(workload, GRACE, Duration::ZERO);
    let (mode, mode_because) = match &grace {
        Err(why) => (Mode::Observe, why.clone()),
        Ok(_) => (mode, because),
    };
    let brake = &settings.mass_failure;
    let budgets = &settings.budgets;
    Effective {
        sources: vec!["configuration and annotations".to_owned()],
        mode,
        mode_because,
        window: settings.window,
        soak: settings.soak,
        keep_versions: settings.keep_versions,
        cooldown: settings.cooldown,
        grace: grace.unwrap_or_default(),
        mass_failure: MassFailure { workloads: brake.workloads, window: brake.window },
        budgets: Budgets {
            workload_per_hour: budgets.workload_per_hour,
            namespace_concurrent: budgets.namespace_concurrent,
            cluster_concurrent: budgets.cluster_concurrent,
        },
        allow_unknown: workload.annotation(ALLOW_UNKNOWN).is_some_and(|text| text.trim() == "true"),
        ..Effective::default()
    }
}

/// The mode, and why it is that.
fn mode(workload: &Object) -> (Mode, String) {
    let said = |what: &str| format!("its annotation {MODE} says {what}");
    match workload.annotation(MODE).map(str::trim) {
        Some("auto") => (Mode::Auto, said("auto")),
        Some("observe") => (Mode::Observe, said("observe")),
        Some("approve") => match length(workload, APPROVE_WITHIN, WITHIN) {
            Ok(within) => (Mode::Approve { within, on_timeout: ApprovalTimeout::Halt }, said("approve")),
            Err(why) => (Mode::Observe, why),
        },
        Some(other) => (Mode::Observe, said(&format!("`{other}`, which is none of auto, approve and observe"))),
        None => (Mode::Observe, format!("it has no annotation {MODE}: auto")),
    }
}

fn length(workload: &Object, annotation: &str, otherwise: Duration) -> Result<Duration, String> {
    let Some(text) = workload.annotation(annotation) else { return Ok(otherwise) };
    duration::parse(text).map_err(|why| format!("its annotation {annotation} can't be read: {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(annotations: Value) -> Effective {
        let workload = Object::new(json!({"metadata": {"annotations": annotations}}));
        effective(&workload, &Settings::default())
    }

    #[test]
    fn only_the_very_word_opts_in() {
        assert_eq!(of(json!({MODE: "auto"})).mode, Mode::Auto);
        for text in ["observe", "Auto", "yes", ""] {
            let policy = of(json!({MODE: text}));
            assert!(policy.mode == Mode::Observe && policy.mode_because.contains(text), "{text} opted in");
        }
        assert_eq!(of(json!({})).mode, Mode::Observe);
    }

    #[test]
    fn an_approval_is_waited_for_as_long_as_the_annotation_says() {
        let asks = |within| Mode::Approve { within, on_timeout: ApprovalTimeout::Halt };
        assert_eq!(of(json!({MODE: "approve"})).mode, asks(WITHIN));
        assert_eq!(of(json!({MODE: "approve", APPROVE_WITHIN: "90s"})).mode, asks(Duration::from_secs(90)));
    }

    #[test]
    fn what_can_not_be_read_is_only_observed_and_the_reason_is_told() {
        for (key, annotations) in
            [(APPROVE_WITHIN, json!({MODE: "approve", APPROVE_WITHIN: "soon"})), (GRACE, json!({MODE: "auto", GRACE: "a while"}))]
        {
            let policy = of(annotations);
            assert_eq!(policy.mode, Mode::Observe);
            assert!(policy.mode_because.contains(key), "{}", policy.mode_because);
        }
        assert_eq!(of(json!({MODE: "auto", GRACE: "30s"})).grace, Duration::from_secs(30));
    }
}
