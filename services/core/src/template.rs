//! The identity of a pod template: a hash of its canonical JSON.
//!
//! Guarantees: the same for a Deployment's `spec.template` and for the `spec.template` of the ReplicaSet made from it (the
//! `pod-template-hash` label is left out, and so is the `creationTimestamp: null` that Go clients write), whatever the order of
//! keys. Must not: leave anything else out: two templates that differ in one character are two versions.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// The label that the Deployment controller adds to each ReplicaSet's template.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// The template without what the cluster adds by itself: the form that is hashed, kept in the ledger and restored.
#[must_use]
pub fn normalise(template: &Value) -> Value {
    let mut template = without_nulls(template);
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove(POD_TEMPLATE_HASH);
        }
        for key in ["labels", "annotations"] {
            if metadata.get(key).and_then(Value::as_object).is_some_and(Map::is_empty) {
                metadata.remove(key);
            }
        }
    }
    template
}

/// The version's identity: sha256 over the normalised template's canonical JSON, hex.
#[must_use]
pub fn hash(template: &Value) -> String {
    hex::encode(Sha256::digest(canonical(&normalise(template)).as_bytes()))
}

/// JSON as one text, whatever the order of keys.
pub(crate) fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

/// The image of each container, init containers included, as `(container, image)`.
#[must_use]
pub fn images(template: &Value) -> Vec<contracts::v1::ContainerImage> {
    ["initContainers", "containers"]
        .into_iter()
        .filter_map(|list| template.pointer(&format!("/spec/{list}")).and_then(Value::as_array))
        .flatten()
        .map(|container| contracts::v1::ContainerImage {
            container: text(container, "name"),
            image: text(container, "image"),
            digest: String::new(),
        })
        .collect()
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), without_nulls(v))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (key, value) in entries {
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_replica_sets_template_is_its_deployments() {
        let deployment = json!({"metadata": {"creationTimestamp": null, "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "web:v1"}]}});
        let replica_set = json!({"spec": {"containers": [{"image": "web:v1", "name": "web"}]},
            "metadata": {"labels": {"pod-template-hash": "abc", "app": "web"}}});
        assert_eq!(hash(&deployment), hash(&replica_set));
    }

    #[test]
    fn one_character_makes_another_version() {
        let one = json!({"spec": {"containers": [{"name": "web", "image": "web:v1"}]}});
        let two = json!({"spec": {"containers": [{"name": "web", "image": "web:v2"}]}});
        assert_ne!(hash(&one), hash(&two));
    }

    #[test]
    fn the_order_of_a_list_is_part_of_a_version() {
        assert_ne!(hash(&json!({"spec": {"args": ["a", "b"]}})), hash(&json!({"spec": {"args": ["b", "a"]}})));
    }
}
