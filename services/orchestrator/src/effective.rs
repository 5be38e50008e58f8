//! What is allowed for a workload where there is no policy: the configuration's word, and the workload's own annotations.
//!
//! Guarantees: pure; a workload that did not opt in is only observed, and so is one whose annotations can't be read. Must not: be asked where
//! policies may be known; `policy::Policies` is.

use jiff::Timestamp;
use lastgood_core::policy::Effective;
pub use lastgood_core::policy::{ALLOW_UNKNOWN, APPROVE_WITHIN, GRACE, MODE};

use crate::cluster::{Kind, Object};
use crate::config::Settings;
use crate::policy::Index;

/// What is in force for a workload as it is now.
#[must_use]
pub fn effective(workload: &Object, settings: &Settings) -> Effective {
    // Without policies the kind decides nothing, and no freeze window can hold.
    let index = Index::new(settings);
    index.effective(Kind::Deployment, workload, Timestamp::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lastgood_core::policy::{ApprovalTimeout, Mode};
    use serde_json::{Value, json};

    use super::*;

    fn of(annotations: &Value) -> Effective {
        let workload = Object::new(json!({"metadata": {"annotations": annotations}}));
        effective(&workload, &Settings::default())
    }

    #[test]
    fn only_the_very_word_opts_in() {
        assert_eq!(of(&json!({MODE: "auto"})).mode, Mode::Auto);
        for text in ["observe", "Auto", "yes", ""] {
            let policy = of(&json!({MODE: text}));
            assert!(policy.mode == Mode::Observe && policy.mode_because.contains(text), "{text} opted in");
        }
        assert_eq!(of(&json!({})).mode, Mode::Observe);
    }

    #[test]
    fn an_approval_is_waited_for_as_long_as_the_annotation_says() {
        let asks = |within| Mode::Approve { within, on_timeout: ApprovalTimeout::Halt };
        assert_eq!(of(&json!({MODE: "approve"})).mode, asks(Duration::from_mins(15)));
        assert_eq!(of(&json!({MODE: "approve", APPROVE_WITHIN: "90s"})).mode, asks(Duration::from_secs(90)));
    }

    #[test]
    fn what_can_not_be_read_is_only_observed_and_the_reason_is_told() {
        for (key, annotations) in
            [(APPROVE_WITHIN, json!({MODE: "approve", APPROVE_WITHIN: "soon"})), (GRACE, json!({MODE: "auto", GRACE: "a while"}))]
        {
            let policy = of(&annotations);
            assert_eq!(policy.mode, Mode::Observe);
            assert!(policy.mode_because.contains(key), "{}", policy.mode_because);
        }
        assert_eq!(of(&json!({MODE: "auto", GRACE: "30s"})).grace, Duration::from_secs(30));
    }
}
