//! Writing conditions into a status, with the transition and update times kept as a real cluster keeps them.

use serde_json::{Value, json};

use super::ident;
use super::json::{Json as _, condition};

/// The condition of a type, or null.
pub(crate) fn of<'v>(object: &'v Value, kind: &str) -> &'v Value {
    condition(object, kind)
}

/// Sets a Deployment's condition; the update time moves, the transition time only when the status changes.
pub(crate) fn set(object: &mut Value, kind: &str, status: &str, reason: &str, message: &str) {
    let now = ident::now_text();
    let old = condition(object, kind).clone();
    let transition = if old.text("/status") == status { old.at("/lastTransitionTime").clone() } else { now.clone().into() };
    let new = json!({"type": kind, "status": status, "reason": reason, "message": message,
        "lastUpdateTime": now, "lastTransitionTime": transition});
    let mut conditions = object.items("/status/conditions").to_vec();
    match conditions.iter_mut().find(|c| c.text("/type") == kind) {
        Some(here) => *here = new,
        None => conditions.push(new),
    }
    object.put("/status/conditions", conditions);
}
