//! The definitions in `charts/manifests/crds.yaml` are those made here, and such as API servers take.

use super::*;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/manifests/crds.yaml");
/// Set, the file is written anew.
const WRITE: &str = "LASTGOOD_WRITE_CRDS";

const HEAD: &str = "# The custom resources RollbackPolicy and ClusterRollbackPolicy. Made from the Rust types that read them, by
# `LASTGOOD_WRITE_CRDS=1 cargo test -p orchestrator crd`; the same test fails where this is not what the types say.
";

#[test]
fn the_file_is_what_the_types_say() {
    let definitions = definitions();
    if std::env::var_os(WRITE).is_some() {
        let options = serde_saphyr::ser_options! { quote_all: true };
        let mut text = HEAD.to_owned();
        for definition in &definitions {
            let mut sorted = definition.clone();
            sorted.sort_all_objects();
            text.push_str("---\n");
            text.push_str(&serde_saphyr::to_string_with_options(&sorted, options.clone()).unwrap());
        }
        std::fs::write(FILE, text).unwrap();
    }
    let text = std::fs::read_to_string(FILE).unwrap_or_default();
    let written: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    assert!(
        written == definitions,
        "charts/manifests/crds.yaml is not what the types say: {WRITE}=1 cargo test -p orchestrator crd"
    );
}

fn walk(path: &str, schema: &Value) {
    let Some(node) = schema.as_object() else { panic!("{path} is no schema: {schema}") };
    let typed = node.get("type").is_some_and(Value::is_string) || node.contains_key("x-kubernetes-int-or-string");
    assert!(typed, "{path} has no type");
    for key in ["$ref", "anyOf", "oneOf", "allOf", "not", "nullable", "default", "definitions", "$schema", "title"] {
        assert!(!node.contains_key(key), "{path} has {key}");
    }
    assert!(!(node.contains_key("properties") && node.contains_key("additionalProperties")), "{path}");
    for (name, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(&format!("{path}.{name}"), below);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(below) = schema.get(key) {
            walk(&format!("{path}.{key}"), below);
        }
    }
}

#[test]
fn the_definitions_are_structural_and_show_what_matters() {
    for (definition, scope) in definitions().iter().zip(["Namespaced", "Cluster"]) {
        assert_eq!(definition["spec"]["scope"], scope);
        let version = &definition["spec"]["versions"][0];
        walk("", &version["schema"]["openAPIV3Schema"]);
        let columns = version["additionalPrinterColumns"].as_array().unwrap();
        let names: Vec<_> = columns.iter().map(|column| column["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["Mode", "Governs", "Problem", "Age"]);
        assert!(version["subresources"]["status"].is_object());
        let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
        assert!(spec["properties"]["freeze"]["items"]["x-kubernetes-validations"].is_array());
        assert_eq!(spec["x-kubernetes-validations"].is_array(), scope == "Namespaced");
    }
}

#[test]
fn a_typed_policy_is_the_document() {
    let spec: Spec = serde_json::from_value(json!({"mode": "auto", "soak": "5m"})).unwrap();
    let policy = RollbackPolicy::new("web", RollbackPolicySpec(spec));
    let document = serde_json::to_value(&policy).unwrap();
    assert_eq!(document["apiVersion"], "lastgood.dev/v1alpha1");
    assert_eq!(document["spec"], json!({"mode": "auto", "soak": "5m"}));
    let whole = ClusterRollbackPolicy::new("default", ClusterRollbackPolicySpec::default());
    assert_eq!(serde_json::to_value(&whole).unwrap()["kind"], "ClusterRollbackPolicy");
}
