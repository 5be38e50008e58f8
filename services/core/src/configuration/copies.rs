//! The copies' names, and templates that point to them.
//!
//! Guarantees: `without_copies` undoes `point_to_copies`, to the letter, by the names alone: no map has to be kept with the template, which
//! the owner's next apply would leave behind. Must not: give a copy a name from which the original's can't be read.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Place;
use super::references::walk;

/// What stands between the original's name and the fingerprint's beginning. A name of this form is lastgood's.
const MARK: &str = "-lastgood-";
/// How much of the fingerprint the name has.
const DIGITS: usize = 10;
/// The longest name that Kubernetes takes.
const LONGEST: usize = 253;

/// The name of the copy; `None` where the original's name is so long that no copy of it can be named.
#[must_use]
pub fn copy_name(name: &str, fingerprint: &str) -> Option<String> {
    let digits = fingerprint.get(..DIGITS)?;
    let copy = format!("{name}{MARK}{digits}");
    (copy.len() <= LONGEST).then_some(copy)
}

/// The name of which this is a copy's; a name that is no copy's is its own.
#[must_use]
pub fn original_name(name: &str) -> &str {
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    match name.rsplit_once(MARK) {
        Some((original, digits)) if !original.is_empty() && digits.len() == DIGITS && digits.bytes().all(is_hex) => original,
        _ => name,
    }
}

/// Whether this is the name of a copy.
#[must_use]
pub fn is_copy(name: &str) -> bool {
    original_name(name) != name
}

/// The template with these objects' names replaced by their copies'.
#[must_use]
pub fn point_to_copies(template: &Value, copies: &BTreeMap<Place, String>) -> Value {
    let mut template = template.clone();
    walk(&mut template, &mut |found| {
        if let Some(copy) = copies.get(&(found.kind, found.name.clone())) {
            found.name.clone_from(copy);
        }
    });
    template
}

/// The template with the originals' names, as its owner wrote it.
#[must_use]
pub fn without_copies(template: &Value) -> Value {
    let mut template = template.clone();
    walk(&mut template, &mut |found| {
        let original = original_name(found.name).len();
        found.name.truncate(original);
    });
    template
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::configuration::{Kind, references};

    #[test]
    fn a_copys_name_tells_the_originals() {
        let name = copy_name("web-config", "0123456789abcdef").unwrap();
        assert_eq!(name, "web-config-lastgood-0123456789");
        assert_eq!(original_name(&name), "web-config");
        for own in ["web", "web-lastgood-", "web-lastgood-012345678", "web-lastgood-012345678X", "-lastgood-0123456789"] {
            assert!(!is_copy(own), "{own}");
        }
        assert_eq!(copy_name(&"a".repeat(LONGEST - 19), "0123456789"), None);
        assert_eq!(copy_name("web", "012"), None, "no fingerprint");
    }

    fn name() -> impl Strategy<Value = String> {
        "[a-z]([a-z0-9.-]{0,12}[a-z0-9])?".prop_filter("no copy's", |name| !is_copy(name))
    }

    fn template() -> impl Strategy<Value = Value> {
        prop::collection::vec((0..6_u8, name(), any::<bool>()), 0..8).prop_map(|places| {
            let mut template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "env": [],
                "envFrom": []}], "initContainers": [{"name": "i", "env": []}], "volumes": []}});
            for (index, (form, name, optional)) in places.into_iter().enumerate() {
                let (at, item) = match form {
                    0 => ("/spec/containers/0/env", json!({"name": index.to_string(), "valueFrom": {"configMapKeyRef": {"name": name, "key": "k", "optional": optional}}})),
                    1 => ("/spec/initContainers/0/env", json!({"name": index.to_string(), "valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}})),
                    2 => ("/spec/containers/0/envFrom", json!({"configMapRef": {"name": name, "optional": optional}})),
                    3 => ("/spec/volumes", json!({"name": index.to_string(), "secret": {"secretName": name}})),
                    4 => ("/spec/volumes", json!({"name": index.to_string(), "configMap": {"name": name}})),
                    _ => ("/spec/volumes", json!({"name": index.to_string(), "projected": {"sources": [{"configMap": {"name": name}}]}})),
                };
                template.pointer_mut(at).and_then(Value::as_array_mut).unwrap().push(item);
            }
            template
        })
    }

    proptest! {
        #[test]
        fn the_names_come_back_to_the_letter(template in template(), fingerprint in "[0-9a-f]{64}", some in any::<u32>()) {
            let all = references(&template);
            let chosen = all.iter().enumerate().filter(|(index, _)| some & (1 << (index % 32)) != 0);
            let copies: BTreeMap<_, _> = chosen
                .map(|(_, r)| ((r.kind, r.name.clone()), copy_name(&r.name, &fingerprint).unwrap()))
                .collect();
            let pointed = point_to_copies(&template, &copies);
            prop_assert_eq!(pointed == template, copies.is_empty());
            for (index, reference) in references(&pointed).iter().enumerate() {
                let original = (reference.kind, original_name(&reference.name).to_owned());
                prop_assert_eq!(is_copy(&reference.name), copies.contains_key(&original), "{}", index);
            }
            prop_assert_eq!(without_copies(&pointed), template);
        }

        #[test]
        fn a_name_and_its_copys_are_told_apart(name in name(), fingerprint in "[0-9a-f]{10,64}") {
            let copy = copy_name(&name, &fingerprint).unwrap();
            prop_assert!(is_copy(&copy));
            prop_assert_eq!(original_name(&copy), name.as_str());
        }
    }

    #[test]
    fn another_kind_of_the_same_name_is_left_alone() {
        let template =
            json!({"spec": {"containers": [{"envFrom": [{"configMapRef": {"name": "web"}}, {"secretRef": {"name": "web"}}]}]}});
        let copies = [((Kind::ConfigMap, "web".to_owned()), "copy".to_owned())].into();
        let from = &point_to_copies(&template, &copies)["spec"]["containers"][0]["envFrom"];
        assert_eq!(*from, json!([{"configMapRef": {"name": "copy"}}, {"secretRef": {"name": "web"}}]));
    }
}
