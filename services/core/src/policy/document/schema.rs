//! The schema of `spec`, from its types: for the custom resource definition, and for the check of a document's shape.
//!
//! Guarantees: it is "structural" as Kubernetes 1.20 wants it: every node has one type, nothing is nullable, nothing refers elsewhere.
//! Must not: be written by hand.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::Spec;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<Spec>().to_value();
    plain(&mut schema);
    if let Value::Object(root) = &mut schema {
        root.remove("title");
    }
    schema
});

/// The schema of `spec`. A key that it doesn't name is refused (`additionalProperties: false`).
#[must_use]
pub fn schema() -> &'static Value {
    &SCHEMA
}

/// Takes away what an `Option` leaves in a schema, and what says nothing to an API server.
fn plain(schema: &mut Value) {
    let Value::Object(node) = schema else { return };
    if let Some(Value::Array(either)) = node.remove("anyOf") {
        // `Option<T>`: T or null. What the field itself says (its description) goes before what T says of itself.
        let inner = either.into_iter().find(|one| one.get("type").and_then(Value::as_str) != Some("null"));
        if let Some(Value::Object(inner)) = inner {
            for (key, value) in inner {
                node.entry(key).or_insert(value);
            }
        }
    }
    if let Some(Value::Array(types)) = node.get("type") {
        let only = types.iter().find(|one| one.as_str() != Some("null")).cloned();
        node.extend(only.map(|only| ("type".to_owned(), only)));
    }
    if let Some(Value::Array(words)) = node.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    node.remove("default");
    node.remove("format");
    children(node).for_each(plain);
}

/// The schemas below a node.
fn children(node: &mut Map<String, Value>) -> impl Iterator<Item = &mut Value> {
    node.iter_mut().flat_map(|(key, value)| -> Box<dyn Iterator<Item = &mut Value>> {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => Box::new(properties.values_mut()),
            ("items" | "additionalProperties", value) => Box::new(std::iter::once(value)),
            _ => Box::new(std::iter::empty()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(path: &str, schema: &Value) {
        let node = schema.as_object().unwrap_or_else(|| panic!("{path} is no schema: {schema}"));
        let either = node.get("x-kubernetes-int-or-string").is_some();
        assert!(either || node.get("type").is_some_and(Value::is_string), "{path} has no one type: {schema}");
        for key in ["$ref", "anyOf", "oneOf", "allOf", "nullable", "default", "definitions", "$defs"] {
            assert!(!node.contains_key(key), "{path} has {key}");
        }
        for (name, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            walk(&format!("{path}.{name}"), below);
        }
        if let Some(items) = schema.get("items") {
            assert!(
                schema.get("maxItems").is_some(),
                "{path} has no bound, and an API server would refuse its rules as too costly"
            );
            walk(&format!("{path}[]"), items);
        }
        if let Some(below) = schema.get("additionalProperties").filter(|below| !below.is_boolean()) {
            assert!(schema.get("properties").is_none() && schema.get("maxProperties").is_some(), "{path}");
            walk(&format!("{path}.*"), below);
        }
    }

    #[test]
    fn it_is_structural() {
        walk("spec", schema());
        assert_eq!(schema()["properties"]["mode"]["enum"], serde_json::json!(["observe", "approve", "auto"]));
        assert_eq!(schema()["additionalProperties"], false);
        assert!(schema()["properties"]["freeze"]["items"]["x-kubernetes-validations"].is_array());
    }
}
