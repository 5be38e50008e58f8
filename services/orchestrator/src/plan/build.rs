//! The plan: everything that the executor needs, decided beforehand.
//!
//! Guarantees: what is restored is exactly what was recorded; a Service is switched through a shared selector only when that picks no
//! foreign pod. Must not: read anything.

use std::collections::BTreeMap;

use contracts::v1;
use jiff::Timestamp;
use lastgood_core::configuration::without_copies;
use lastgood_core::ledger::describe;
use lastgood_core::plan::diff::diff;
use lastgood_core::plan::services::{ServiceView, switch};
use lastgood_core::policy::Effective;
use lastgood_core::rollout::Rollout;
use serde_json::Value;

use super::course::{Target, strategy};
use crate::cluster::{Kind, Object, Selector, strings};

/// A plan, and the same for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// For the executor.
    pub plan: v1::Plan,
    /// For people: what would be done.
    pub summary: String,
}

impl Planned {
    /// With what the policy says of the proof: the verifier reads it.
    #[must_use]
    pub fn with_checks_of(mut self, policy: &Effective) -> Self {
        self.plan.checks_yaml = policy.checks_yaml.clone().unwrap_or_default();
        self.plan.stabilisation = policy.stabilisation.map(contracts::time::duration_to_proto);
        self
    }
}

/// The labels of pods in the namespace that are not this workload's.
#[derive(Debug, Clone, Default)]
pub struct Foreign(Vec<BTreeMap<String, String>>);

impl Foreign {
    /// From the namespace's pods and workloads: a workload without pods now may have some tomorrow.
    #[must_use]
    pub fn besides(workload: &Object, pods: &[Object], workloads: &[Object]) -> Self {
        let own = workload.selector().unwrap_or_else(Selector::everything);
        let pods = pods.iter().map(Object::labels).filter(|labels| !own.matches(labels));
        let others = workloads.iter().filter(|other| other.uid() != workload.uid()).map(Object::template_labels);
        Self(pods.chain(others).collect())
    }

    fn has(&self, selector: &BTreeMap<String, String>) -> bool {
        let selector = Selector::equal(selector);
        self.0.iter().any(|labels| selector.matches(labels))
    }
}

/// Services that pin the bad version and have to be switched. With `foreign` unknown every switch is direct.
fn switches(workload: &Object, restored: &Value, services: &[Object], foreign: Option<&Foreign>) -> Vec<v1::ServiceSwitch> {
    let bad = workload.template_labels();
    let good = strings(restored.pointer("/metadata/labels"));
    let view = |service: &Object| ServiceView {
        name: service.name().to_owned(),
        uid: service.uid().to_owned(),
        selector: strings(service.at("/spec/selector")),
    };
    let only_ours = |selector: &BTreeMap<String, String>| foreign.is_some_and(|foreign| !foreign.has(selector));
    services.iter().filter_map(|service| switch(&view(service), &bad, &good, only_ours)).collect()
}

/// The plan to put this version back. `None` for `foreign` asks for a first look: whether any Service has to be switched at all.
#[must_use]
pub fn build(
    kind: Kind,
    workload: &Object,
    from: &v1::Version,
    target: &Target,
    services: &[Object],
    foreign: Option<&Foreign>,
    not_after: Timestamp,
) -> Planned {
    let empty = Value::Null;
    let restored: Value = serde_json::from_slice(&target.template_json).unwrap_or(Value::Null);
    let service_switches = switches(workload, &restored, services, foreign);
    // The names of copies tell people nothing; what they hold does.
    let mut lines = diff(&without_copies(workload.template().unwrap_or(&empty)), &without_copies(&restored));
    lines.extend(target.lines.iter().cloned());
    lines.extend(notes(kind, workload));
    let lines = lines.join("\n");
    let switched: String = service_switches.iter().map(|switch| ["; switch Service ", &switch.name].concat()).collect();
    let summary = format!("roll back from {} to {}{switched}", describe(from), target.describe());
    let plan = v1::Plan {
        strategy: strategy(kind).unwrap_or_default().to_owned(),
        from: Some(from.clone()),
        to: Some(target.version.clone()),
        workload_uid: workload.uid().to_owned(),
        workload_generation: workload.generation(),
        template_json: target.template_json.clone(),
        last_applied_template_json: target.last_applied_template_json.clone(),
        managed_fields_json: target.managed_fields_json.clone(),
        service_switches,
        diff: lines.clone(),
        not_after: Some(contracts::time::to_proto(not_after)),
        configuration: target.configuration.clone(),
        ..v1::Plan::default()
    };
    Planned { plan, summary: format!("{summary}\n{lines}") }
}

/// What a person should know of how the version gets into the pods.
fn notes(kind: Kind, workload: &Object) -> Vec<String> {
    match kind {
        Kind::StatefulSet => Rollout::of_stateful_set(workload.json()).notes(),
        Kind::DaemonSet => Rollout::of_daemon_set(workload.json()).notes(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(version: &str) -> Value {
        json!({"metadata": {"labels": {"app": "web", "version": version}}, "spec": {"containers": [{"name": "web", "image": format!("web:{version}")}]}})
    }

    fn workload() -> Object {
        Object::new(
            json!({"metadata": {"uid": "u", "generation": 4}, "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template("v2")}}),
        )
    }

    fn target() -> Target {
        Target {
            version: v1::Version { template_hash: "one".into(), ..v1::Version::default() },
            evidence: String::new(),
            template_json: template("v1").to_string().into_bytes(),
            last_applied_template_json: b"{}".to_vec(),
            managed_fields_json: b"[]".to_vec(),
            ..Target::default()
        }
    }

    fn plan(foreign: Option<&Foreign>) -> v1::Plan {
        let services = [
            Object::new(json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}}})),
            Object::new(json!({"metadata": {"name": "pinned"}, "spec": {"selector": {"app": "web", "version": "v2"}}})),
            Object::new(json!({"metadata": {"name": "headless"}, "spec": {}})),
        ];
        build(Kind::Deployment, &workload(), &v1::Version::default(), &target(), &services, foreign, Timestamp::UNIX_EPOCH).plan
    }

    #[test]
    fn the_plan_carries_what_was_recorded_and_what_differs() {
        let plan = plan(None);
        assert_eq!(plan.template_json, target().template_json);
        assert!(plan.diff.contains("web:v2 → web:v1"), "{}", plan.diff);
        assert_eq!((plan.workload_uid.as_str(), plan.workload_generation, plan.strategy.as_str()), ("u", 4, "rolling"));
    }

    #[test]
    fn each_kind_has_its_strategy_and_says_what_is_special() {
        let mut set = workload().json().clone();
        set["spec"]["replicas"] = json!(3);
        set["spec"]["updateStrategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}});
        let built = |kind| {
            let version = v1::Version::default();
            build(kind, &Object::new(set.clone()), &version, &target(), &[], None, Timestamp::UNIX_EPOCH)
        };
        let planned = built(Kind::StatefulSet);
        assert_eq!(planned.plan.strategy, "statefulset");
        assert!(planned.summary.contains("only pods from ordinal 1 on follow"), "{}", planned.summary);
        assert!(planned.plan.diff.contains("only pods from ordinal 1 on follow"), "{}", planned.plan.diff);
        assert_eq!(built(Kind::DaemonSet).plan.strategy, "daemonset");
        assert!(!built(Kind::Deployment).summary.contains("ordinal"));
    }

    #[test]
    fn only_a_pinned_service_is_switched_and_never_through_foreign_pods() {
        let pod = |labels: Value| Object::new(json!({"metadata": {"labels": labels}}));
        let own = [pod(json!({"app": "web", "version": "v2"}))];
        let free = Foreign::besides(&workload(), &own, &[workload()]);
        let switches = plan(Some(&free)).service_switches;
        assert_eq!(switches.len(), 1);
        assert_eq!((switches[0].name.as_str(), switches[0].shared_selector.len()), ("pinned", 1));
        let other = Object::new(json!({"metadata": {"uid": "w"}, "spec": {"template": template("v9")}}));
        let taken = Foreign::besides(&workload(), &own, &[other]);
        assert!(plan(Some(&taken)).service_switches[0].shared_selector.is_empty());
        assert!(plan(None).service_switches[0].shared_selector.is_empty());
    }
}
