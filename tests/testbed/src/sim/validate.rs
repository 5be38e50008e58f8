//! The refusals of invalid objects that clients of a cluster meet most. Pure.

use serde_json::Value;

use super::error::ApiError;
use super::json::Json as _;
use super::kinds::Kind;
use super::selector;

type Causes = Vec<(String, String)>;

/// Checks an object about to be stored; `old` is what it replaces.
pub(crate) fn check(kind: &Kind, old: Option<&Value>, object: &Value) -> Result<(), ApiError> {
    let mut causes = Causes::new();
    let name = object.text("/metadata/name");
    if name.is_empty() {
        causes.push(("metadata.name".to_owned(), "Required value: name or generateName is required".to_owned()));
    } else if !valid_name(name) {
        let why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'";
        causes.push(("metadata.name".to_owned(), format!("Invalid value: {name:?}: {why}")));
    }
    match kind.id.as_str() {
        "deployments.apps" | "replicasets.apps" => workload(old, object, &mut causes),
        "pods" => containers(object, "/spec", "spec", &mut causes),
        "services" => service(object, &mut causes),
        "configmaps" | "secrets" => immutable(old, object, &mut causes),
        _ => {}
    }
    if causes.is_empty() { Ok(()) } else { Err(ApiError::invalid(kind, name, &causes)) }
}

fn valid_name(name: &str) -> bool {
    name.len() <= 253
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.:".contains(&b))
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn workload(old: Option<&Value>, object: &Value, causes: &mut Causes) {
    let mut cause = |field: &str, why: &str| causes.push((field.to_owned(), why.to_owned()));
    if object.int("/spec/replicas") < 0 {
        cause("spec.replicas", "Invalid value: must be greater than or equal to 0");
    }
    let selector = object.at("/spec/selector");
    let empty = |path: &str| object.at(path).as_object().is_none_or(serde_json::Map::is_empty);
    if empty("/spec/selector/matchLabels") && object.items("/spec/selector/matchExpressions").is_empty() {
        cause("spec.selector", "Required value");
    } else if !selector::selects(selector, object.at("/spec/template/metadata/labels")) {
        let why = "Invalid value: `selector` does not match template `labels`";
        cause("spec.template.metadata.labels", why);
    }
    if old.is_some_and(|old| old.at("/spec/selector") != selector) {
        cause("spec.selector", "Invalid value: field is immutable");
    }
    let policy = object.text("/spec/template/spec/restartPolicy");
    if !policy.is_empty() && policy != "Always" {
        let why = format!("Unsupported value: {policy:?}: supported values: \"Always\"");
        cause("spec.template.spec.restartPolicy", &why);
    }
    let strategy = object.text("/spec/strategy/type");
    if !strategy.is_empty() && strategy != "RollingUpdate" && strategy != "Recreate" {
        let why = format!("Unsupported value: {strategy:?}: supported values: \"Recreate\", \"RollingUpdate\"");
        cause("spec.strategy.type", &why);
    }
    if strategy == "Recreate" && !object.at("/spec/strategy/rollingUpdate").is_null() {
        let why = "Forbidden: may not be specified when strategy `type` is 'Recreate'";
        cause("spec.strategy.rollingUpdate", why);
    }
    containers(object, "/spec/template/spec", "spec.template.spec", causes);
}

fn containers(object: &Value, path: &str, field: &str, causes: &mut Causes) {
    let containers = object.items(&format!("{path}/containers"));
    if containers.is_empty() {
        causes.push((format!("{field}.containers"), "Required value".to_owned()));
    }
    let all = containers.iter().map(|c| ("containers", c));
    let init = object.items(&format!("{path}/initContainers"));
    let mut names = Vec::new();
    for (index, (list, container)) in all.chain(init.iter().map(|c| ("initContainers", c))).enumerate() {
        let at = format!("{field}.{list}[{index}]");
        let name = container.text("/name");
        if name.is_empty() {
            causes.push((format!("{at}.name"), "Required value".to_owned()));
        } else if names.contains(&name) {
            causes.push((format!("{at}.name"), format!("Duplicate value: {name:?}")));
        }
        names.push(name);
        if container.text("/image").is_empty() {
            causes.push((format!("{at}.image"), "Required value".to_owned()));
        }
    }
}

fn immutable(old: Option<&Value>, object: &Value, causes: &mut Causes) {
    let Some(old) = old.filter(|old| old.flag("/immutable")) else { return };
    for field in ["data", "binaryData", "immutable"] {
        if old.get(field) != object.get(field) {
            causes.push((field.to_owned(), "Forbidden: field is immutable when `immutable` is set".to_owned()));
        }
    }
}

fn service(object: &Value, causes: &mut Causes) {
    let headless = object.text("/spec/clusterIP") == "None" || object.text("/spec/type") == "ExternalName";
    if object.items("/spec/ports").is_empty() && !headless {
        causes.push(("spec.ports".to_owned(), "Required value".to_owned()));
    }
    for (index, port) in object.items("/spec/ports").iter().enumerate() {
        if !(1..=65535).contains(&port.int("/port")) {
            let why = "Invalid value: must be between 1 and 65535, inclusive";
            causes.push((format!("spec.ports[{index}].port"), why.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sim::kinds;

    fn deployment(label: &str, image: &str) -> Value {
        json!({"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": label}}, "spec": {"containers": [{"name": "web", "image": image}]}}}})
    }

    #[test]
    fn what_is_immutable_stays() {
        let kinds = kinds::built_in();
        let kind = kinds.iter().find(|k| k.plural == "configmaps").expect("built in");
        let object =
            |immutable: bool, value: &str| json!({"metadata": {"name": "web"}, "immutable": immutable, "data": {"k": value}});
        assert!(check(kind, Some(&object(false, "a")), &object(true, "b")).is_ok());
        assert!(check(kind, Some(&object(true, "a")), &object(true, "a")).is_ok());
        let refusal = check(kind, Some(&object(true, "a")), &object(true, "b")).expect_err("immutable");
        assert!(refusal.to_string().contains("field is immutable"), "{refusal}");
        assert!(check(kind, Some(&object(true, "a")), &object(false, "a")).is_err());
    }

    #[test]
    fn invalid_deployments_are_refused_with_their_field() {
        let kinds = kinds::built_in();
        let kind = kinds.iter().find(|k| k.plural == "deployments").expect("built in");
        assert!(check(kind, None, &deployment("web", "web:v1")).is_ok());
        let mut moved = deployment("api", "web:v1");
        moved.put("/spec/selector/matchLabels/app", "api");
        for (old, object, field) in [
            (None, deployment("other", "web:v1"), "spec.template.metadata.labels"),
            (None, deployment("web", ""), "spec.template.spec.containers[0].image"),
            (Some(deployment("web", "web:v1")), moved, "spec.selector"),
            (None, json!({"metadata": {"name": "Web"}}), "metadata.name"),
        ] {
            let refusal = check(kind, old.as_ref(), &object).expect_err(field);
            assert_eq!(refusal.code, 422);
            assert!(refusal.to_string().contains(field), "{refusal}");
        }
    }
}
