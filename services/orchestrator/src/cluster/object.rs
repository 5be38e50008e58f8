//! One Kubernetes object as the API server sent it, with the few questions that the orchestrator asks of it.
//!
//! Guarantees: nothing of the JSON is lost or reordered in meaning; a field that is missing or of another type reads as absent. Must
//! not: validate objects; the API server does.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::Selector;

/// An object's controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its API group and version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name, in the same namespace.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// An object's JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Object(Value);

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A JSON object of strings as a map; whatever else it holds is left out.
pub(crate) fn strings(value: Option<&Value>) -> BTreeMap<String, String> {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}

impl Object {
    /// Wraps what the API server sent.
    #[must_use]
    pub const fn new(value: Value) -> Self {
        Self(value)
    }

    /// What is at a JSON pointer.
    #[must_use]
    pub fn at(&self, pointer: &str) -> Option<&Value> {
        self.0.pointer(pointer)
    }

    /// A whole number, or zero.
    #[must_use]
    pub fn number(&self, pointer: &str) -> i64 {
        self.at(pointer).and_then(Value::as_i64).unwrap_or_default()
    }

    /// `metadata.name`.
    #[must_use]
    pub fn name(&self) -> &str {
        text(&self.0, "/metadata/name")
    }

    /// `metadata.namespace`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        text(&self.0, "/metadata/namespace")
    }

    /// `metadata.uid`.
    #[must_use]
    pub fn uid(&self) -> &str {
        text(&self.0, "/metadata/uid")
    }

    /// `metadata.generation`.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.number("/metadata/generation")
    }

    /// `metadata.creationTimestamp`.
    #[must_use]
    pub fn created(&self) -> Option<Timestamp> {
        self.time("/metadata/creationTimestamp")
    }

    /// An RFC 3339 time at a JSON pointer.
    #[must_use]
    pub fn time(&self, pointer: &str) -> Option<Timestamp> {
        text(&self.0, pointer).parse().ok()
    }

    /// Whether it is being deleted.
    #[must_use]
    pub fn is_terminating(&self) -> bool {
        self.at("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null())
    }

    /// `metadata.labels`.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        strings(self.at("/metadata/labels"))
    }

    /// One label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.at("/metadata/labels")?.get(key)?.as_str()
    }

    /// One annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.at("/metadata/annotations")?.get(key)?.as_str()
    }

    /// The owner that controls it.
    #[must_use]
    pub fn controller(&self) -> Option<Owner> {
        let owners = self.at("/metadata/ownerReferences")?.as_array()?;
        let owner = owners.iter().find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))?;
        Some(Owner {
            api_version: text(owner, "/apiVersion").to_owned(),
            kind: text(owner, "/kind").to_owned(),
            name: text(owner, "/name").to_owned(),
            uid: text(owner, "/uid").to_owned(),
        })
    }

    /// `spec.template`.
    #[must_use]
    pub fn template(&self) -> Option<&Value> {
        self.at("/spec/template")
    }

    /// `spec.template.metadata.labels`.
    #[must_use]
    pub fn template_labels(&self) -> BTreeMap<String, String> {
        strings(self.at("/spec/template/metadata/labels"))
    }

    /// The names of the containers of `spec.template`.
    pub fn container_names(&self) -> impl Iterator<Item = &str> {
        let containers = self.at("/spec/template/spec/containers").and_then(Value::as_array);
        containers.into_iter().flatten().filter_map(|container| container.get("name")?.as_str())
    }

    /// `spec.selector` of a workload.
    #[must_use]
    pub fn selector(&self) -> Option<Selector> {
        Selector::from_workload(self.at("/spec/selector")?)
    }

    /// `deployment.kubernetes.io/revision`, or zero.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.annotation("deployment.kubernetes.io/revision").and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// The JSON.
    #[must_use]
    pub const fn json(&self) -> &Value {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_reads_as_absent() {
        let empty = Object::new(json!({"metadata": {"labels": 7}}));
        assert_eq!((empty.name(), empty.generation(), empty.created()), ("", 0, None));
        assert!(empty.labels().is_empty() && empty.controller().is_none() && empty.selector().is_none());
        assert_eq!(empty.container_names().count(), 0);
    }

    #[test]
    fn only_the_controller_counts_as_owner() {
        let pod = Object::new(json!({"metadata": {"ownerReferences": [
            {"kind": "ConfigMap", "name": "a"}, {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "b", "uid": "u", "controller": true}]}}));
        assert_eq!(pod.controller().map(|owner| owner.name), Some("b".to_owned()));
    }
}
