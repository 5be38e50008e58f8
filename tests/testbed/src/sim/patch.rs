//! The three kinds of patches: JSON patch, merge patch and strategic merge patch. Pure.
//!
//! Strategic merge knows the merge keys of the kinds that the simulator serves, by field name.

use serde_json::{Map, Value};

use super::error::ApiError;
use super::json::Json as _;

/// Applies a patch of the given content type to an object.
pub(crate) fn apply(content_type: &str, object: &Value, patch: &Value) -> Result<Value, ApiError> {
    let mut result = object.clone();
    match content_type {
        "application/json-patch+json" => {
            let patch: json_patch::Patch =
                serde_json::from_value(patch.clone()).map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
            json_patch::patch(&mut result, &patch).map_err(|e| {
                ApiError::unprocessable(format!("the server rejected our request due to an error in our request: {e}"))
            })?;
        }
        "application/merge-patch+json" => json_patch::merge(&mut result, patch),
        "application/strategic-merge-patch+json" => strategic(&mut result, patch),
        "application/apply-patch+yaml" => {
            return Err(ApiError::unsupported_media_type(
                "the simulated cluster has no server-side apply: use a real cluster for it".to_owned(),
            ));
        }
        other => {
            return Err(ApiError::unsupported_media_type(format!(
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json, \
                 application/strategic-merge-patch+json (not {other:?})"
            )));
        }
    }
    Ok(result)
}

/// Merges a strategic patch into a value.
fn strategic(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    match patch.text("/$patch") {
        "replace" => {
            let mut replacement = fields.clone();
            replacement.remove("$patch");
            *target = Value::Object(replacement);
            return;
        }
        "delete" => {
            *target = Value::Null;
            return;
        }
        _ => {}
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(object) = target else { return };
    if let Some(keep) = fields.get("$retainKeys").and_then(Value::as_array) {
        object.retain(|key, _| keep.iter().any(|k| k.as_str() == Some(key)));
    }
    for (key, value) in fields {
        if key.starts_with('$') {
            continue;
        }
        if value.is_null() || value.text("/$patch") == "delete" {
            object.remove(key);
            continue;
        }
        let here = object.entry(key.clone()).or_insert(Value::Null);
        match value {
            Value::Array(items) => merge_list(key, here, items),
            Value::Object(_) => strategic(here, value),
            scalar => *here = scalar.clone(),
        }
    }
    for (key, value) in fields {
        if let Some(field) = key.strip_prefix("$deleteFromPrimitiveList/") {
            if let (Some(Value::Array(list)), Value::Array(gone)) = (object.get_mut(field), value) {
                list.retain(|item| !gone.contains(item));
            }
        } else if let Some(field) = key.strip_prefix("$setElementOrder/")
            && let (Some(Value::Array(list)), Value::Array(order)) = (object.get_mut(field), value)
        {
            reorder(field, list, order);
        }
    }
}

/// The key by which a list's elements are merged, if it is merged at all.
fn merge_key(field: &str, items: &[Value]) -> Option<&'static str> {
    Some(match field {
        "containers" | "initContainers" | "ephemeralContainers" | "env" | "volumes" | "imagePullSecrets" | "secrets" => "name",
        "ports" if items.iter().any(|item| item.get("containerPort").is_some()) => "containerPort",
        "ports" => "port",
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "conditions" => "type",
        "ownerReferences" => "uid",
        "hostAliases" => "ip",
        "topologySpreadConstraints" => "topologyKey",
        _ => return None,
    })
}

fn merge_list(field: &str, target: &mut Value, patch: &[Value]) {
    if !target.is_array() {
        *target = Value::Array(Vec::new());
    }
    let Value::Array(list) = target else { return };
    if field == "finalizers" {
        for item in patch {
            if !list.contains(item) {
                list.push(item.clone());
            }
        }
        return;
    }
    let Some(key) = merge_key(field, patch) else {
        *list = patch.to_vec();
        return;
    };
    if patch.iter().any(|item| item.text("/$patch") == "replace") {
        *list = patch.iter().filter(|item| item.get("$patch").is_none()).cloned().collect();
        return;
    }
    for item in patch {
        let id = item.get(key);
        if item.text("/$patch") == "delete" {
            list.retain(|have| have.get(key) != id);
        } else if let Some(have) = list.iter_mut().find(|have| id.is_some() && have.get(key) == id) {
            strategic(have, item);
        } else {
            let mut fresh = Value::Null;
            strategic(&mut fresh, item);
            list.push(fresh);
        }
    }
}

/// Puts the elements that `order` names in that order, the others after them.
fn reorder(field: &str, list: &mut [Value], order: &[Value]) {
    let key = merge_key(field, order);
    let id = |item: &Value| match key {
        Some(key) => item.get(key).cloned().unwrap_or_default(),
        None => item.clone(),
    };
    let order: Vec<_> = order.iter().map(id).collect();
    list.sort_by_key(|item| {
        let id = id(item);
        order.iter().position(|o| *o == id).unwrap_or(usize::MAX)
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strategic_patches_merge_by_key() {
        let object = json!({"spec": {"replicas": 2, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        "template": {"spec": {"containers": [
            {"name": "web", "image": "web:v1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"name": "side", "image": "side:v1"},
        ]}}}});
        let patch = json!({"spec": {
        "strategy": {"$retainKeys": ["type"], "type": "Recreate"},
        "template": {"spec": {
            "$setElementOrder/containers": [{"name": "new"}, {"name": "web"}],
            "containers": [
                {"name": "web", "image": "web:v2", "env": [{"name": "A", "$patch": "delete"}]},
                {"name": "side", "$patch": "delete"},
                {"name": "new", "image": "new:v1"},
            ]}}}});
        let result = apply("application/strategic-merge-patch+json", &object, &patch).unwrap();
        assert_eq!(
            result,
            json!({"spec": {"replicas": 2, "strategy": {"type": "Recreate"},
            "template": {"spec": {"containers": [
                {"name": "new", "image": "new:v1"},
                {"name": "web", "image": "web:v2", "env": [{"name": "B", "value": "2"}]},
            ]}}}})
        );
    }

    #[test]
    fn merge_and_json_patches_follow_their_standards() {
        let object = json!({"a": {"b": 1, "c": 2}});
        let merged = apply("application/merge-patch+json", &object, &json!({"a": {"b": null}})).unwrap();
        assert_eq!(merged, json!({"a": {"c": 2}}));
        let patch = json!([{"op": "test", "path": "/a/b", "value": 9}]);
        let refused = apply("application/json-patch+json", &object, &patch).unwrap_err();
        assert_eq!(refused.code, 422);
        let refused = apply("application/apply-patch+yaml", &object, &json!({})).unwrap_err();
        assert_eq!(refused.code, 415);
    }
}
