//! The readable difference of two pod templates: images, environment, resources and everything else, a line each.
//!
//! Guarantees: the same templates give no line; list items that have a name (containers, variables, volumes …) are compared by it;
//! values that look secret are not shown. Must not: decide anything by the result; it is for people.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

const SECRET_WORDS: &[&str] =
    &["PASSWORD", "PASSWD", "SECRET", "TOKEN", "CREDENTIAL", "PRIVATE", "API_KEY", "APIKEY", "ACCESS_KEY"];
const LONGEST_VALUE: usize = 160;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where, e.g. `containers[web].image`.
    pub path: String,
    /// What stood there, as far as it may be shown; `None` for nothing.
    pub from: Option<String>,
    /// What stands there then; `None` for nothing.
    pub to: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match (&self.from, &self.to) {
            (Some(old), Some(new)) => write!(f, "~ {path}: {old} → {new}"),
            (Some(old), None) => write!(f, "- {path}: {old}"),
            (None, Some(new)) => write!(f, "+ {path}: {new}"),
            (None, None) => write!(f, "  {path}"),
        }
    }
}

/// One line a difference, from `from` to `to`: `~ path: old → new`, `- path: old`, `+ path: new`.
#[must_use]
pub fn diff(from: &Value, to: &Value) -> Vec<String> {
    changes(from, to).iter().map(ToString::to_string).collect()
}

/// The differences from `from` to `to`: images first, then environment and resources, then the rest.
#[must_use]
pub fn changes(from: &Value, to: &Value) -> Vec<Change> {
    let (from, to) = (flatten(from), flatten(to));
    let paths: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let value = |flat: &BTreeMap<String, String>, path: &String| flat.get(path).map(|value| shown(path, value));
    let differs = |path: &&String| from.get(*path) != to.get(*path);
    let mut changes: Vec<_> = paths
        .into_iter()
        .filter(differs)
        .map(|path| Change { path: path.clone(), from: value(&from, path), to: value(&to, path) })
        .collect();
    changes.sort_by_key(|change| rank(&change.path));
    changes
}

fn rank(path: &str) -> u8 {
    match path {
        _ if path.ends_with("].image") => 0,
        _ if path.contains("].env[") => 1,
        _ if path.contains("].resources.") => 2,
        _ => 3,
    }
}

fn shown(path: &str, value: &str) -> String {
    if looks_secret(path, value) {
        return "(hidden)".to_owned();
    }
    cut(value)
}

/// A value no longer than a line.
pub(crate) fn cut(value: &str) -> String {
    match value.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

/// Whether a name says that what it names is secret.
pub(crate) fn names_a_secret(text: &str) -> bool {
    let text = text.to_ascii_uppercase().replace('-', "_");
    SECRET_WORDS.iter().any(|word| text.contains(word))
}

/// Whether a value says `…password=…`, or is a URL with a user in it.
pub(crate) fn looks_assigned(value: &str) -> bool {
    let assigned = value.match_indices('=').any(|(at, _)| names_a_secret(&value[..at]));
    let with_user = value.split("://").skip(1).any(|rest| rest.split('/').next().is_some_and(|host| host.contains('@')));
    assigned || with_user
}

/// A variable by its name; anything by what it says.
fn looks_secret(path: &str, value: &str) -> bool {
    (path.contains("].env[") && names_a_secret(path)) || looks_assigned(value)
}

fn flatten(template: &Value) -> BTreeMap<String, String> {
    let mut flat = BTreeMap::new();
    walk(&crate::template::normalise(template), String::new(), &mut flat);
    flat
}

fn walk(value: &Value, path: String, flat: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                // `name` is the item's identity and stands in its path already.
                if !(path.ends_with(']') && key == "name") {
                    let key =
                        key.strip_prefix("spec").filter(|rest| rest.is_empty() && path.is_empty()).map_or(key.as_str(), |_| "");
                    let dot = if path.is_empty() || key.is_empty() { "" } else { "." };
                    walk(value, format!("{path}{dot}{key}"), flat);
                }
            }
            if path.ends_with(']') && map.len() == 1 {
                flat.insert(path, "(present)".to_owned());
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, format!("{path}[{}]", identity(item, index)), flat);
            }
        }
        Value::String(text) => {
            flat.insert(path, text.clone());
        }
        scalar => {
            flat.insert(path, scalar.to_string());
        }
    }
}

fn identity(item: &Value, index: usize) -> String {
    for key in ["name", "mountPath", "containerPort", "topologyKey"] {
        match item.get(key) {
            Some(Value::String(name)) => return name.clone(),
            Some(Value::Number(number)) => return number.to_string(),
            _ => {}
        }
    }
    index.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn images_env_and_resources_are_named_in_this_order() {
        let from = json!({"spec": {"containers": [{"name": "web", "image": "web:v2", "resources": {"limits": {"memory": "64Mi"}},
            "env": [{"name": "MODE", "value": "new"}, {"name": "DB_PASSWORD", "value": "old"}]}]}});
        let to = json!({"spec": {"containers": [{"name": "web", "image": "web:v1", "resources": {"limits": {"memory": "32Mi"}},
            "env": [{"name": "DB_PASSWORD", "value": "older"}]}]}});
        assert_eq!(
            diff(&from, &to),
            [
                "~ containers[web].image: web:v2 → web:v1",
                "~ containers[web].env[DB_PASSWORD].value: (hidden) → (hidden)",
                "- containers[web].env[MODE].value: new",
                "~ containers[web].resources.limits.memory: 64Mi → 32Mi",
            ]
        );
    }

    #[test]
    fn secrets_are_not_shown_wherever_they_stand() {
        for (path, value, hidden) in [
            ("containers[web].env[DB_PASSWORD].value", "x", true),
            ("containers[web].env[DATABASE_URL].value", "postgres://app:pw@db:5432/shop", true),
            ("containers[web].env[HOME_URL].value", "https://shop.example/@sam", false),
            ("containers[web].args[0]", "--api-key=abc", true),
            ("containers[web].args[0]", "--port=80", false),
        ] {
            assert_eq!(shown(path, value) == "(hidden)", hidden, "{path} {value}");
        }
    }

    #[test]
    fn the_same_template_has_no_difference() {
        let one =
            json!({"metadata": {"labels": {"app": "web", "pod-template-hash": "1"}}, "spec": {"containers": [{"name": "a"}]}});
        let two =
            json!({"metadata": {"labels": {"app": "web", "pod-template-hash": "2"}}, "spec": {"containers": [{"name": "a"}]}});
        assert_eq!(diff(&one, &two), Vec::<String>::new());
    }
}
