//! What a ConfigMap or a Secret holds, as a short text that can be compared and tells nothing.
//!
//! Guarantees: the same data gives the same fingerprint whatever the order of its keys and whatever else is on the object; a Secret's is
//! made with a key of the installation (HMAC-SHA256), because the bare hash of a short password can be guessed. Must not: fingerprint a
//! Secret without a key; it counts by its name alone then.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Kind;
use crate::template::canonical;

/// The installation's key for the fingerprints of Secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

impl Key {
    /// Of these bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The fingerprint of an object's data, hex; `None` for a Secret without a key.
#[must_use]
pub fn fingerprint(kind: Kind, object: &Value, key: Option<&Key>) -> Option<String> {
    let part = |name: &str| object.get(name).filter(|part| part.as_object().is_some_and(|map| !map.is_empty()));
    let content = canonical(&json!([kind.name(), part("data"), part("binaryData")]));
    match (kind, key) {
        (Kind::ConfigMap, _) => Some(hex::encode(Sha256::digest(content.as_bytes()))),
        (Kind::Secret, Some(key)) => {
            let mut mac = Hmac::<Sha256>::new_from_slice(&key.0).ok()?;
            mac.update(content.as_bytes());
            Some(hex::encode(mac.finalize().into_bytes()))
        }
        (Kind::Secret, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(data: &Value) -> String {
        fingerprint(Kind::ConfigMap, &json!({"data": data}), None).unwrap()
    }

    #[test]
    fn only_the_data_counts_and_all_of_it() {
        let one = fingerprint(Kind::ConfigMap, &json!({"metadata": {"name": "a"}, "data": {"k": "v"}, "binaryData": {}}), None);
        assert_eq!(one, Some(of(&json!({"k": "v"}))));
        assert_ne!(of(&json!({"k": "v"})), of(&json!({"k": "w"})));
        let binary = fingerprint(Kind::ConfigMap, &json!({"binaryData": {"k": "dg=="}}), None).unwrap();
        assert_ne!(binary, of(&json!({"k": "dg=="})));
        assert_eq!(of(&json!({})), fingerprint(Kind::ConfigMap, &json!({}), None).unwrap());
    }

    #[test]
    fn a_secret_needs_the_key_and_each_key_tells_another_story() {
        let secret = json!({"data": {"password": "aHVudGVyMg=="}});
        let with = |key: &str| fingerprint(Kind::Secret, &secret, Some(&Key::new(key.as_bytes())));
        assert_eq!(fingerprint(Kind::Secret, &secret, None), None);
        assert_eq!(with("one"), with("one"));
        assert_ne!(with("one"), with("two"));
        let bare = hex::encode(Sha256::digest(canonical(&json!(["Secret", secret["data"], null])).as_bytes()));
        assert_ne!(with("one"), Some(bare), "no bare hash");
        assert_eq!(format!("{:?}", Key::new(b"hunter2")), "[redacted]");
    }

    proptest! {
        #[test]
        fn the_order_of_keys_is_no_content(pairs in prop::collection::btree_map("[a-z.]{1,6}", ".{0,12}", 0..6)) {
            let forward: serde_json::Map<_, _> = pairs.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
            let backward: serde_json::Map<_, _> = pairs.iter().rev().map(|(k, v)| (k.clone(), json!(v))).collect();
            prop_assert_eq!(of(&Value::Object(forward)), of(&Value::Object(backward)));
        }

        #[test]
        fn what_differs_anywhere_differs(
            one in prop::collection::btree_map("[a-c]{1,2}", "[a-c\":,]{0,4}", 0..4),
            two in prop::collection::btree_map("[a-c]{1,2}", "[a-c\":,]{0,4}", 0..4),
        ) {
            prop_assert_eq!(of(&json!(one)) == of(&json!(two)), one == two);
        }
    }
}
