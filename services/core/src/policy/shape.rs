//! Whether a document has the shape that its schema says: known keys, the right types, words and bounds.
//!
//! Guarantees: every place that doesn't is told, not the first only; what is left of the document has the shape, so that the checks
//! behind this one can look at the rest. Must not: judge what a schema can't say.

use serde_json::{Map, Value};

use super::document::Length;
use super::problem::{Problem, shown};

/// Tells every misshapen place below `path`, and takes it out of the document.
pub(super) fn prune(value: &mut Value, schema: &Value, path: &str) -> Vec<Problem> {
    let mut found = Vec::new();
    if !fits(value, schema, path, &mut found) {
        *value = empty(schema);
    }
    found
}

/// False where the value itself has to go.
fn fits(value: &mut Value, schema: &Value, path: &str, found: &mut Vec<Problem>) -> bool {
    let mut refuse = |text: String| {
        found.push(Problem { field: path.to_owned(), text });
        false
    };
    if schema.get("x-kubernetes-int-or-string").is_some() {
        let fits = value.is_string() || value.is_u64();
        return fits || refuse(format!("{} is neither a number nor a text", shown(value)));
    }
    let wanted = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    let right = match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    };
    if !right {
        return refuse(format!("{} does not belong here; write {}", shown(value), expected(schema, wanted)));
    }
    if let Some(text) = out_of_bounds(value, schema) {
        return refuse(text);
    }
    match value {
        Value::Object(map) => fields(map, schema, path, found),
        Value::Array(list) => {
            let items = schema.get("items").unwrap_or(&Value::Null);
            for (index, item) in list.iter_mut().enumerate() {
                if !fits(item, items, &format!("{path}[{index}]"), found) {
                    // Kept in place, so that the elements behind it keep their numbers.
                    *item = empty(items);
                }
            }
        }
        _ => {}
    }
    true
}

fn fields(map: &mut Map<String, Value>, schema: &Value, path: &str, found: &mut Vec<Problem>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    let others = schema.get("additionalProperties").filter(|others| others.is_object());
    let keys: Vec<String> = map.keys().cloned().collect();
    for key in keys {
        let Some(value) = map.get_mut(&key) else { continue };
        let place = format!("{path}.{key}");
        let keep = match properties.and_then(|properties| properties.get(&key)).or(others) {
            // As an API server takes it: not given.
            _ if value.is_null() => false,
            Some(below) => fits(value, below, &place, found),
            None => {
                let known = properties.into_iter().flatten().map(|(known, _)| known.as_str()).collect::<Vec<_>>().join(", ");
                found.push(Problem { field: place, text: format!("is no field here; known are {known}") });
                false
            }
        };
        if !keep {
            map.remove(&key);
        }
    }
}

/// What stands in for a value that had to go.
fn empty(schema: &Value) -> Value {
    match (schema.get("type").and_then(Value::as_str), schema.get("enum").and_then(Value::as_array)) {
        (_, Some(words)) => words.first().cloned().unwrap_or_default(),
        (Some("object"), _) => Value::Object(Map::new()),
        (Some("array"), _) => Value::Array(Vec::new()),
        (Some("string"), _) => Value::String(String::new()),
        _ => Value::from(0),
    }
}

fn expected(schema: &Value, wanted: &str) -> String {
    if schema.get("pattern").and_then(Value::as_str) == Some(Length::PATTERN) {
        return Length::EXAMPLE.to_owned();
    }
    let words = words(schema);
    match wanted {
        _ if !words.is_empty() => format!("one of {words}"),
        "object" => "a mapping".to_owned(),
        "array" => "a list".to_owned(),
        "string" => "a text".to_owned(),
        "boolean" => "true or false".to_owned(),
        "integer" => "a whole number".to_owned(),
        _ => "a number".to_owned(),
    }
}

fn words(schema: &Value) -> String {
    let words = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    words.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

/// Words and bounds; patterns are judged with better words by what reads the text.
fn out_of_bounds(value: &Value, schema: &Value) -> Option<String> {
    let limit = |key: &str| schema.get(key).and_then(Value::as_f64);
    let beyond = |length: usize, most: &str, what: &str| {
        let (length, most) = (u32::try_from(length).unwrap_or(u32::MAX), limit(most)?);
        (f64::from(length) > most).then(|| format!("has {length} {what}; at most {most} may be"))
    };
    match value {
        Value::String(text) => {
            let words = words(schema);
            if !words.is_empty() && !words.split(", ").any(|word| word == text) {
                return Some(format!("{} is none of {words}", shown(value)));
            }
            if text.is_empty() && limit("minLength").is_some_and(|least| least > 0.0) {
                return Some("is empty".to_owned());
            }
            beyond(text.chars().count(), "maxLength", "characters")
        }
        Value::Array(list) if list.is_empty() && limit("minItems").is_some_and(|least| least > 0.0) => {
            Some("is empty and would fit nothing; leave it out, or name some".to_owned())
        }
        Value::Array(list) => beyond(list.len(), "maxItems", "elements"),
        Value::Object(map) => beyond(map.len(), "maxProperties", "entries"),
        Value::Number(number) => {
            let number = number.as_f64()?;
            let (least, most) = (limit("minimum"), limit("maximum"));
            let out = least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most);
            let bound = |bound: Option<f64>| bound.map_or_else(|| "…".to_owned(), |bound| bound.to_string());
            out.then(|| format!("{number} is out of bounds; write a number from {} to {}", bound(least), bound(most)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::policy::document::{Spec, schema};

    fn told(mut spec: Value) -> (Vec<String>, Value) {
        let found = prune(&mut spec, schema(), "spec");
        (found.iter().map(ToString::to_string).collect(), spec)
    }

    #[test]
    fn everything_misshapen_is_told_at_once_and_the_rest_is_kept() {
        let (told, rest) = told(json!({
            "mode": "fast", "cooldown": 10, "soak": "5m", "prioritty": 1, "priority": 5000, "allowUnknown": "yes",
            "alerts": [{"matchers": ["a=b", 7]}, "x"], "workloads": {"kinds": ["Pod"], "names": []},
            "notify": null, "budgets": {"workloadPerHour": 0}, "checks": [{"http": {"expect_status": true}}]}));
        let wanted = [
            "spec.alerts[0].matchers[1]: 7 does not belong here; write a text",
            "spec.alerts[1]: \"x\" does not belong here; write a mapping",
            "spec.allowUnknown: \"yes\" does not belong here; write true or false",
            "spec.budgets.workloadPerHour: 0 is out of bounds; write a number from 1 to 1000",
            "spec.checks[0].http.expect_status: true is neither a number nor a text",
            "spec.cooldown: 10 does not belong here; write a length of time like 30s, 10m or 1h30m",
            "spec.mode: \"fast\" is none of observe, approve, auto",
            "spec.priority: 5000 is out of bounds; write a number from -1000 to 1000",
            "spec.workloads.kinds[0]: \"Pod\" is none of Deployment, StatefulSet, DaemonSet",
            "spec.workloads.names: is empty and would fit nothing; leave it out, or name some",
        ];
        for wanted in wanted {
            assert!(told.contains(&wanted.to_owned()), "{wanted}\n is not in {told:#?}");
        }
        assert!(told.iter().any(|text| text.starts_with("spec.prioritty: is no field here; known are ")), "{told:#?}");
        assert_eq!(told.len(), wanted.len() + 1, "{told:#?}");
        assert_eq!(rest["soak"], "5m");
        assert_eq!(rest["alerts"], json!([{"matchers": ["a=b", ""]}, {}]));
    }

    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-zA-Z:0-9]{0,8}".prop_map(Value::from),
            prop::sample::select(vec!["10m", "auto", "Sat", "18:00", "=~", "Deployment"]).prop_map(Value::from),
        ];
        let keys =
            ["mode", "soak", "alerts", "matchers", "freeze", "days", "start", "checks", "http", "port", "name", "notify", "x"];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            let entry = (prop::sample::select(keys.to_vec()), inner.clone());
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(Value::from),
                prop::collection::vec(entry, 0..5)
                    .prop_map(|entries| entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_left_is_always_read(value in anything()) {
            let (_, rest) = told(value);
            prop_assert!(serde_json::from_value::<Spec>(rest.clone()).is_ok(), "{}", rest);
        }
    }
}
