//! The brakes: what keeps lastgood from acting by itself, each a pure question with an answer for people.
//!
//! Guarantees: each says why it holds. Must not: read anything; the facts come from the log, the limits from the policy in force.

use std::time::Duration;

use contracts::v1;
use jiff::{SignedDuration, Timestamp};
use lastgood_core::policy::MassFailure;
use serde_json::Value;

use crate::cluster::Object;

/// The clocks of a cluster's machines may differ by this much. No more: what was deployed after an alert began is somebody's repair.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_secs(2);

/// Who else keeps this workload as it is, and would undo a rollback or be fooled by it.
#[must_use]
pub fn managed_elsewhere(workload: &Object) -> Option<String> {
    if let Some(owner) = workload.controller() {
        return Some(format!("it is controlled by {}/{} ({})", owner.kind, owner.name, owner.api_version));
    }
    let annotated =
        [("argocd.argoproj.io/tracking-id", "Argo CD"), ("rollout.argoproj.io/", "Argo Rollouts"), ("flagger.app/", "Flagger")];
    let labelled = [
        ("argocd.argoproj.io/instance", "Argo CD"),
        ("kustomize.toolkit.fluxcd.io/", "Flux"),
        ("helm.toolkit.fluxcd.io/", "Flux"),
        ("rollout.argoproj.io/", "Argo Rollouts"),
        ("flagger.app/", "Flagger"),
    ];
    by_key(workload.at("/metadata/annotations"), &annotated, "annotation")
        .or_else(|| by_key(workload.at("/metadata/labels"), &labelled, "label"))
        .or_else(|| by_field_manager(workload))
}

fn by_key(map: Option<&Value>, marks: &[(&str, &str)], what: &str) -> Option<String> {
    let keys = map?.as_object()?.keys();
    let matches = |key: &String, mark: &str| key == mark || (mark.ends_with('/') && key.starts_with(mark));
    keys.filter_map(|key| marks.iter().find(|(mark, _)| matches(key, mark)).map(|(_, who)| (key, who)))
        .map(|(key, who)| format!("{who} keeps it ({what} {key})"))
        .next()
}

fn by_field_manager(workload: &Object) -> Option<String> {
    const MANAGERS: &[(&str, &str)] = &[
        ("argocd-controller", "Argo CD"),
        ("argocd-application-controller", "Argo CD"),
        ("kustomize-controller", "Flux"),
        ("helm-controller", "Flux"),
        ("flagger", "Flagger"),
        ("rollouts-controller", "Argo Rollouts"),
    ];
    let entries = workload.at("/metadata/managedFields")?.as_array()?;
    let names = entries.iter().filter_map(|entry| entry.get("manager")?.as_str());
    names
        .filter_map(|name| MANAGERS.iter().find(|(manager, _)| *manager == name))
        .map(|(manager, who)| format!("{who} keeps it (field manager {manager})"))
        .next()
}

/// Why a rollout does not explain the alert; `None` where it does.
#[must_use]
pub fn unexplained(changed_at: Option<Timestamp>, alert_since: Timestamp, window: SignedDuration) -> Option<String> {
    let Some(changed_at) = changed_at else {
        return Some("when the workload last changed is not known".to_owned());
    };
    let before = alert_since.duration_since(changed_at);
    if before < -CLOCK_SLACK {
        return Some(format!("the alert had been firing since {alert_since:.0}, before the workload changed at {changed_at:.0}"));
    }
    let what = || {
        format!("the workload last changed at {changed_at:.0}, {:#} before the alert; the window is {window:#}", rounded(before))
    };
    (before > window).then(what)
}

/// Why the pause switch stops this; `None` where it is off.
#[must_use]
pub fn paused(switch: Option<&v1::PauseSwitched>) -> Option<String> {
    let scope = |switch: &v1::PauseSwitched| match switch.namespace.as_str() {
        "" => String::new(),
        namespace => format!("namespace {namespace} is "),
    };
    switch.filter(|switch| switch.paused).map(|switch| format!("{}paused by {}: {}", scope(switch), switch.who, switch.reason))
}

/// Why this is not one bad deploy; `workloads` counts those with an incident within the brake's window, this one included.
#[must_use]
pub fn mass_failure(workloads: usize, brake: &MassFailure) -> Option<String> {
    (workloads >= brake.workloads).then(|| {
        let within = SignedDuration::try_from(brake.window).unwrap_or(SignedDuration::MAX);
        format!("at least {workloads} workloads of this cluster failed within {within:#}; the limit is {}", brake.workloads)
    })
}

/// Why it is too early after the last rollback; `None` where it is not.
#[must_use]
pub fn cooling_down(last_rollback: Option<Timestamp>, now: Timestamp, cooldown: Duration) -> Option<String> {
    let cooldown = SignedDuration::try_from(cooldown).unwrap_or(SignedDuration::MAX);
    let since = now.duration_since(last_rollback?);
    (since < cooldown).then(|| format!("it was rolled back {:#} ago; the cooldown is {cooldown:#}", rounded(since)))
}

/// To whole seconds, for people.
fn rounded(length: SignedDuration) -> SignedDuration {
    SignedDuration::from_secs(length.as_secs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(metadata: Value) -> Object {
        Object::new(Value::Object([("metadata".to_owned(), metadata)].into_iter().collect()))
    }

    fn minutes(count: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 60 * count).unwrap()
    }

    #[test]
    fn each_manager_is_known_by_its_mark() {
        for (metadata, who) in [
            (
                json!({"ownerReferences": [{"kind": "Canary", "name": "web", "apiVersion": "flagger.app/v1beta1", "controller": true}]}),
                "Canary/web",
            ),
            (json!({"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/web"}}), "Argo CD"),
            (json!({"labels": {"kustomize.toolkit.fluxcd.io/name": "shop"}}), "Flux"),
            (json!({"labels": {"helm.toolkit.fluxcd.io/name": "shop"}}), "Flux"),
            (json!({"annotations": {"rollout.argoproj.io/workload-generation": "2"}}), "Argo Rollouts"),
            (json!({"managedFields": [{"manager": "kubectl"}, {"manager": "argocd-controller"}]}), "Argo CD"),
        ] {
            let why = managed_elsewhere(&with(metadata.clone()));
            assert!(why.as_ref().is_some_and(|why| why.contains(who)), "{metadata} {why:?}");
        }
        for free in [
            json!({"labels": {"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/instance": "web"}}),
            json!({"ownerReferences": [{"kind": "X", "name": "y", "apiVersion": "v1"}], "managedFields": [{"manager": "helm"}]}),
        ] {
            assert_eq!(managed_elsewhere(&with(free)), None);
        }
    }

    #[test]
    fn a_rollout_explains_what_began_soon_after_it() {
        let window = SignedDuration::from_mins(60);
        for (changed_at, alert_since, explained) in [(0, 5, true), (0, 60, true), (0, 61, false), (6, 5, false), (5, 5, true)] {
            let why = unexplained(Some(minutes(changed_at)), minutes(alert_since), window);
            assert_eq!(why.is_none(), explained, "{changed_at} {alert_since} {why:?}");
        }
        assert!(unexplained(None, minutes(0), window).is_some());
    }

    #[test]
    fn the_other_brakes_hold_at_their_limits() {
        let policy = lastgood_core::policy::Effective::default();
        let (brake, cooldown) = (&policy.mass_failure, policy.cooldown);
        assert!(mass_failure(9, brake).is_none() && mass_failure(10, brake).is_some());
        assert!(cooling_down(None, minutes(0), cooldown).is_none());
        assert!(cooling_down(Some(minutes(0)), minutes(29), cooldown).is_some());
        assert!(cooling_down(Some(minutes(0)), minutes(30), cooldown).is_none());
        let switch =
            |paused| v1::PauseSwitched { paused, who: "ann".into(), reason: "migration".into(), ..v1::PauseSwitched::default() };
        assert_eq!(paused(Some(&switch(true))).as_deref(), Some("paused by ann: migration"));
        let of_namespace = v1::PauseSwitched { namespace: "shop".into(), ..switch(true) };
        assert_eq!(paused(Some(&of_namespace)).as_deref(), Some("namespace shop is paused by ann: migration"));
        assert!(paused(Some(&switch(false))).is_none() && paused(None).is_none());
    }
}
