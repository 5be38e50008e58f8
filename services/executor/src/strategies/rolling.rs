//! Strategy `rolling`: the Deployment gets the earlier pod template back, exactly, and its own controller rolls it out.
//!
//! Guarantees: `spec.template` is the plan's template (without the `pod-template-hash` label); what belongs to the Deployment
//! (replicas, strategy, paused, labels, other annotations, resourceVersion) stays; the last-applied-configuration, where there is
//! one, comes to say what was restored, so that the next client-side apply removes what only the restored version had.
//! Must not: add a last-applied-configuration to an object that has none.

use contracts::v1::Plan;
use lastgood_core::template;
use serde_json::{Map, Value};

use super::ownership::LAST_APPLIED;
use super::{ATTEMPT, INCIDENT, RestoreError, Stamp, TEMPLATE_HASH};

/// The Deployment to PUT.
pub fn restore(live: &Value, plan: &Plan, stamp: &Stamp) -> Result<Value, RestoreError> {
    let restored = template_of(plan)?;
    let mut object = live.clone();
    *object.pointer_mut("/spec/template").ok_or(RestoreError::BadLive("spec.template"))? = restored.clone();
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut).ok_or(RestoreError::BadLive("metadata"))?;
    let annotations = annotations_of(metadata).ok_or(RestoreError::BadLive("metadata.annotations"))?;
    if let Some(applied) = annotations.get(LAST_APPLIED).and_then(Value::as_str) {
        let part = applied_template(plan, &restored)?;
        if let Some(applied) = with_applied(applied, &["spec", "template"], part) {
            annotations.insert(LAST_APPLIED.to_owned(), applied.into());
        }
    }
    annotations.insert(INCIDENT.to_owned(), stamp.incident.to_string().into());
    annotations.insert(ATTEMPT.to_owned(), stamp.attempt.to_string().into());
    let yields = stamp.yields.clone().unwrap_or_else(|| template::hash(&restored));
    annotations.insert(TEMPLATE_HASH.to_owned(), yields.into());
    Ok(object)
}

/// The pod template to restore, without what the cluster adds by itself.
pub fn template_of(plan: &Plan) -> Result<Value, RestoreError> {
    let mut restored = parse("template_json", &plan.template_json)?;
    if restored.pointer("/spec/containers").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        return Err(RestoreError::BadPlan { field: "template_json", reason: "it has no containers".into() });
    }
    if let Some(labels) = restored.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(template::POD_TEMPLATE_HASH);
    }
    Ok(restored)
}

/// `metadata.annotations`, made where it is missing; `None` where it is something else than an object.
pub fn annotations_of(metadata: &mut Map<String, Value>) -> Option<&mut Map<String, Value>> {
    let annotations = metadata.entry("annotations").or_insert(Value::Null);
    if annotations.is_null() {
        *annotations = Value::Object(Map::new());
    }
    annotations.as_object_mut()
}

/// A last-applied-configuration with one part replaced; `None` when it can't be read or has no place for that part, and is
/// then best left as it is.
#[must_use]
pub fn with_applied(applied: &str, path: &[&str], part: Value) -> Option<String> {
    let mut configuration: Value = serde_json::from_str(applied).ok()?;
    let (last, parents) = path.split_last()?;
    let parent = parents.iter().try_fold(&mut configuration, |node, key| node.get_mut(*key))?;
    parent.as_object_mut()?.insert((*last).to_owned(), part);
    // kubectl writes it with a newline at the end.
    Some(format!("{configuration}\n"))
}

fn applied_template(plan: &Plan, restored: &Value) -> Result<Value, RestoreError> {
    if plan.last_applied_template_json.is_empty() {
        return Ok(restored.clone());
    }
    parse("last_applied_template_json", &plan.last_applied_template_json)
}

fn parse(field: &'static str, json: &[u8]) -> Result<Value, RestoreError> {
    serde_json::from_slice(json).map_err(|error| RestoreError::BadPlan { field, reason: error.to_string() })
}

#[cfg(test)]
#[path = "rolling_tests.rs"]
mod tests;
