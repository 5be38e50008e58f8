//! The readable difference of two versions' configuration: ConfigMaps key by key, Secrets by the beginning of their fingerprints.
//!
//! Guarantees: the same content gives no line; nothing of a Secret is shown, and of a ConfigMap nothing that looks like one; a large
//! difference is cut and says so. Must not: decide anything by the result; it is for people.

use std::collections::BTreeMap;

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::{Kind, Place};
use crate::plan::diff::{cut, looks_assigned, names_a_secret};

/// Lines of one value's difference at most.
const LINES: usize = 20;
/// Lines of one object's difference at most.
const OBJECT_LINES: usize = 60;

/// What an object holds, as far as people may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Which object.
    pub place: Place,
    /// Its fingerprint; empty when it is not known.
    pub fingerprint: String,
    /// A ConfigMap's keys and values, where they could be read; never a Secret's.
    pub keys: Option<BTreeMap<String, String>>,
}

impl Content {
    /// Of an object as it was read, if it was.
    #[must_use]
    pub fn of(kind: Kind, name: &str, fingerprint: &str, object: Option<&Value>) -> Self {
        let keys = object.filter(|_| kind == Kind::ConfigMap).map(keys);
        Self { place: (kind, name.to_owned()), fingerprint: fingerprint.to_owned(), keys }
    }
}

fn keys(object: &Value) -> BTreeMap<String, String> {
    let part = |name: &str| object.get(name).and_then(Value::as_object).into_iter().flatten();
    let text = part("data").map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()));
    let binary = part("binaryData").map(|(key, value)| {
        let value = value.as_str().unwrap_or_default();
        (key.clone(), format!("(binary, {} characters of base64)", value.len()))
    });
    text.chain(binary).collect()
}

/// One line a difference (`~`, `-`, `+`), indented lines for what changed within a long value.
#[must_use]
pub fn diff(from: &[Content], to: &[Content]) -> Vec<String> {
    let map = |side: &[Content]| side.iter().map(|one| (one.place.clone(), one.clone())).collect::<BTreeMap<_, _>>();
    let (from, to) = (map(from), map(to));
    let mut lines = Vec::new();
    for (place, old) in &from {
        match to.get(place) {
            Some(new) => lines.extend(changed(old, new)),
            None => lines.push(format!("- {} {}", place.0, place.1)),
        }
    }
    lines.extend(to.keys().filter(|place| !from.contains_key(*place)).map(|(kind, name)| format!("+ {kind} {name}")));
    lines
}

fn changed(old: &Content, new: &Content) -> Vec<String> {
    if old.fingerprint == new.fingerprint {
        return Vec::new();
    }
    let (kind, name) = &old.place;
    let mut lines = match (&old.keys, &new.keys) {
        (Some(old), Some(new)) => key_by_key(&format!("{kind} {name}"), old, new),
        _ => vec![format!("~ {kind} {name}: content {} → {}", short(&old.fingerprint), short(&new.fingerprint))],
    };
    if lines.len() > OBJECT_LINES {
        let more = lines.len() - OBJECT_LINES;
        lines.truncate(OBJECT_LINES);
        lines.push(format!("  … {more} more lines of {kind} {name}"));
    }
    lines
}

fn short(fingerprint: &str) -> &str {
    if fingerprint.is_empty() { "(not known)" } else { fingerprint.get(..10).unwrap_or(fingerprint) }
}

fn key_by_key(object: &str, old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, before) in old {
        match new.get(key) {
            Some(after) if after == before => {}
            Some(after) if [before, after].iter().any(|text| text.trim_end().contains('\n')) => {
                lines.push(format!("~ {object}[{key}]:"));
                lines.extend(line_by_line(key, before, after));
            }
            Some(after) => lines.push(format!("~ {object}[{key}]: {} → {}", shown(key, before), shown(key, after))),
            None => lines.push(format!("- {object}[{key}]: {}", shown(key, before))),
        }
    }
    let added = new.iter().filter(|(key, _)| !old.contains_key(*key));
    lines.extend(added.map(|(key, after)| format!("+ {object}[{key}]: {}", shown(key, after))));
    lines
}

fn line_by_line(key: &str, before: &str, after: &str) -> Vec<String> {
    let difference = TextDiff::from_lines(before, after);
    let lines = difference.iter_all_changes().filter_map(|change| {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => return None,
        };
        Some(format!("    {sign} {}", shown(key, change.value().trim_end())))
    });
    let mut lines: Vec<_> = lines.collect();
    if lines.len() > LINES {
        let more = lines.len() - LINES;
        lines.truncate(LINES);
        lines.push(format!("    … {more} more"));
    }
    lines
}

fn shown(key: &str, value: &str) -> String {
    let hidden =
        names_a_secret(key) || looks_assigned(value) || value.split_once(':').is_some_and(|(name, _)| names_a_secret(name));
    if hidden { "(hidden)".to_owned() } else { cut(&value.trim_end().replace('\n', "⏎")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config_map(data: &Value) -> Content {
        let object = json!({"data": data});
        let fingerprint = super::super::fingerprint::fingerprint(Kind::ConfigMap, &object, None).unwrap();
        Content::of(Kind::ConfigMap, "web", &fingerprint, Some(&object))
    }

    #[test]
    fn config_maps_are_told_key_by_key() {
        let from = config_map(&json!({"mode": "new", "gone": "x", "same": "s", "app.yaml": "a: 1\nb: 2\nc: 3\n"}));
        let to = config_map(&json!({"mode": "old", "same": "s", "app.yaml": "a: 1\nb: 7\nc: 3\n", "back": "y"}));
        assert_eq!(
            diff(std::slice::from_ref(&from), &[to]),
            [
                "~ ConfigMap web[app.yaml]:",
                "    - b: 2",
                "    + b: 7",
                "- ConfigMap web[gone]: x",
                "~ ConfigMap web[mode]: new → old",
                "+ ConfigMap web[back]: y",
            ]
        );
        assert!(diff(std::slice::from_ref(&from), std::slice::from_ref(&from)).is_empty());
    }

    #[test]
    fn nothing_of_a_secret_is_shown() {
        let secret = |fingerprint: &str| {
            Content::of(Kind::Secret, "db", fingerprint, Some(&json!({"data": {"password": "aHVudGVyMg=="}})))
        };
        assert_eq!(secret("0").keys, None);
        let told = diff(&[secret("0123456789abcdef")], &[secret("fedcba9876543210")]);
        assert_eq!(told, ["~ Secret db: content 0123456789 → fedcba9876"]);
        let from =
            config_map(&json!({"db_password": "hunter2", "url": "?token=hunter2", "app.yaml": "a: 1\npassword: hunter2\n"}));
        let to = config_map(&json!({"db_password": "hunter3", "url": "?token=hunter3", "app.yaml": "a: 1\npassword: hunter3\n"}));
        let told = diff(&[from], &[to]).join("\n");
        assert!(!told.contains("hunter") && told.contains("(hidden)"), "{told}");
    }

    #[test]
    fn much_is_cut_and_says_so() {
        let many = |word: &str| (0..100).map(|n| format!("{word} {n}\n")).collect::<Vec<_>>().concat();
        let told = diff(&[config_map(&json!({"k": many("a")}))], &[config_map(&json!({"k": many("b")}))]);
        assert_eq!(told.len(), LINES + 2);
        assert!(told.last().unwrap().contains("180 more"), "{told:?}");
        let keys = |word: &str| json!((0..100).map(|n| (format!("k{n}"), json!(word))).collect::<serde_json::Map<_, _>>());
        let told = diff(&[config_map(&keys("a"))], &[config_map(&keys("b"))]);
        assert_eq!(told.len(), OBJECT_LINES + 1);
    }

    #[test]
    fn what_came_and_what_went() {
        let gone = Content::of(Kind::ConfigMap, "old", "", None);
        assert_eq!(diff(&[gone], &[Content::of(Kind::Secret, "new", "", None)]), ["- ConfigMap old", "+ Secret new"]);
    }
}
