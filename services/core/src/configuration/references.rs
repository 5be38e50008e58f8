//! Which ConfigMaps and Secrets a pod template refers to, and in which way.
//!
//! Guarantees: one walk finds the places and rewrites them (`copies`), so that nothing is found that can't be pointed elsewhere; `env`,
//! `envFrom`, volumes and projected volumes of all containers, init containers too. Must not: count what is no configuration of the
//! program: `imagePullSecrets`, and the credentials with which a storage driver mounts a volume.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Kind, Place};

/// The lists of containers of a pod.
const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
/// The kind, the key that holds the reference, and the key of the name in it.
type Form = (Kind, &'static str, &'static str);
const IN_ENV: [Form; 2] = [(Kind::ConfigMap, "configMapKeyRef", "name"), (Kind::Secret, "secretKeyRef", "name")];
const IN_ENV_FROM: [Form; 2] = [(Kind::ConfigMap, "configMapRef", "name"), (Kind::Secret, "secretRef", "name")];
const IN_VOLUME: [Form; 2] = [(Kind::ConfigMap, "configMap", "name"), (Kind::Secret, "secret", "secretName")];
const IN_SOURCE: [Form; 2] = [(Kind::ConfigMap, "configMap", "name"), (Kind::Secret, "secret", "name")];

/// An object that a template refers to; all the places that name it, as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// What it is.
    pub kind: Kind,
    /// Its name, as the template has it.
    pub name: String,
    /// Whether pods start without it.
    pub optional: bool,
    /// Whether a container reads some of it only as it starts (variables, mounts by `subPath`): a change of it reaches no running pod.
    pub at_start: bool,
}

/// One place in a template that names an object.
pub(super) struct Found<'a> {
    pub(super) kind: Kind,
    pub(super) name: &'a mut String,
    optional: bool,
    at_start: bool,
}

/// What the template refers to, in order of kind and name.
#[must_use]
pub fn references(template: &Value) -> Vec<Reference> {
    let mut all: BTreeMap<Place, (bool, bool)> = BTreeMap::new();
    let mut template = template.clone();
    walk(&mut template, &mut |found| {
        let (optional, at_start) = all.entry((found.kind, found.name.clone())).or_insert((true, false));
        *optional &= found.optional;
        *at_start |= found.at_start;
    });
    let reference = |((kind, name), (optional, at_start))| Reference { kind, name, optional, at_start };
    all.into_iter().map(reference).collect()
}

/// Visits each place that names an object.
pub(super) fn walk(template: &mut Value, visit: &mut dyn FnMut(Found<'_>)) {
    let Some(spec) = template.get_mut("spec") else { return };
    let by_sub_path = mounted_by_sub_path(spec);
    for list in CONTAINERS {
        for container in items(spec, list) {
            for variable in items(container, "env") {
                if let Some(source) = variable.get_mut("valueFrom") {
                    visit_forms(source, &IN_ENV, true, visit);
                }
            }
            for source in items(container, "envFrom") {
                visit_forms(source, &IN_ENV_FROM, true, visit);
            }
        }
    }
    for volume in items(spec, "volumes") {
        let at_start = volume.get("name").and_then(Value::as_str).is_some_and(|name| by_sub_path.contains(name));
        visit_forms(volume, &IN_VOLUME, at_start, visit);
        if let Some(projected) = volume.get_mut("projected") {
            for source in items(projected, "sources") {
                visit_forms(source, &IN_SOURCE, at_start, visit);
            }
        }
    }
}

fn items<'a>(value: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

fn visit_forms(value: &mut Value, forms: &[Form], at_start: bool, visit: &mut dyn FnMut(Found<'_>)) {
    for (kind, holder, key) in forms {
        let Some(reference) = value.get_mut(*holder) else { continue };
        let optional = reference.get("optional").and_then(Value::as_bool).unwrap_or_default();
        if let Some(Value::String(name)) = reference.get_mut(*key).filter(|name| name.as_str() != Some("")) {
            visit(Found { kind: *kind, name, optional, at_start });
        }
    }
}

/// The kubelet keeps a mounted volume up to date, but not what is mounted out of it by `subPath`.
fn mounted_by_sub_path(spec: &Value) -> BTreeSet<String> {
    let containers = CONTAINERS.iter().filter_map(|list| spec.get(list)?.as_array()).flatten();
    let mounts = containers.filter_map(|container| container.get("volumeMounts")?.as_array()).flatten();
    let by_sub_path = mounts.filter(|mount| {
        ["subPath", "subPathExpr"].iter().any(|key| mount.get(key).and_then(Value::as_str).is_some_and(|path| !path.is_empty()))
    });
    by_sub_path.filter_map(|mount| mount.get("name")?.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(template: &Value) -> Vec<String> {
        let word = |flag: bool, word: &str| if flag { format!(" {word}") } else { String::new() };
        let tell =
            |r: &Reference| format!("{} {}{}{}", r.kind, r.name, word(r.optional, "optional"), word(r.at_start, "at start"));
        references(template).iter().map(tell).collect()
    }

    #[test]
    fn every_place_counts_and_nothing_else() {
        let template = json!({"spec": {
            "imagePullSecrets": [{"name": "registry"}],
            "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "init", "optional": true}}]}],
            "containers": [{"name": "c",
                "env": [{"name": "A", "value": "plain"}, {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "b", "key": "k"}}},
                    {"name": "C", "valueFrom": {"secretKeyRef": {"name": "c", "key": "k"}}},
                    {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "envFrom": [{"configMapRef": {"name": "from"}, "prefix": "P_"}],
                "volumeMounts": [{"name": "cut", "mountPath": "/etc/cut", "subPath": "a"}, {"name": "whole", "mountPath": "/w"}]}],
            "volumes": [{"name": "whole", "configMap": {"name": "whole"}}, {"name": "cut", "configMap": {"name": "cut"}},
                {"name": "s", "secret": {"secretName": "s", "optional": true}}, {"name": "e", "emptyDir": {}},
                {"name": "csi", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "driver"}}},
                {"name": "p", "projected": {"sources": [{"configMap": {"name": "pc"}}, {"secret": {"name": "ps"}},
                    {"serviceAccountToken": {"path": "t"}}]}}]}});
        assert_eq!(
            told(&template),
            [
                "ConfigMap b at start",
                "ConfigMap cut at start",
                "ConfigMap from at start",
                "ConfigMap pc",
                "ConfigMap whole",
                "Secret c at start",
                "Secret init optional at start",
                "Secret ps",
                "Secret s optional",
            ]
        );
    }

    #[test]
    fn one_place_that_needs_it_is_enough() {
        let template = json!({"spec": {"containers": [{"name": "c", "envFrom": [
            {"configMapRef": {"name": "a", "optional": true}}, {"configMapRef": {"name": "a"}}, {"configMapRef": {"name": ""}}]}]}});
        assert_eq!(told(&template), ["ConfigMap a at start"]);
        assert!(told(&json!({"spec": {"containers": "nonsense", "volumes": [7]}})).is_empty());
    }
}
