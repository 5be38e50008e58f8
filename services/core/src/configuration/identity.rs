//! A version's identity: its template, with the names that its owner gave, and the content of what the template refers to.
//!
//! Guarantees: a version that runs through copies is the version that it was; one whose configuration nobody could fingerprint, or that
//! has none, is identified by its template's hash alone. Must not: count what was not read: a Secret without a key, an object that the
//! roles keep from us.

use contracts::v1;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::fingerprint::{Key, fingerprint};
use super::{Reference, original_name, without_copies};
use crate::template::{self, canonical};

/// What reading a referenced object came to.
#[derive(Debug, Clone, Copy)]
pub enum Read<'a> {
    /// It is this.
    Object(&'a Value),
    /// There is none.
    Absent,
    /// We may not read it, or have no key for its fingerprint: it counts by its name alone.
    Unread,
}

/// What a version's record says of a referenced object.
#[must_use]
pub fn recorded(reference: &Reference, read: Read<'_>, key: Option<&Key>) -> v1::Configuration {
    let fingerprint = match read {
        Read::Object(object) => fingerprint(reference.kind, object, key).unwrap_or_default(),
        Read::Absent | Read::Unread => String::new(),
    };
    v1::Configuration {
        kind: reference.kind.name().to_owned(),
        name: original_name(&reference.name).to_owned(),
        fingerprint,
        absent: matches!(read, Read::Absent),
        keep: false,
    }
}

/// The id of the version that runs with this template and this configuration.
#[must_use]
pub fn version_id(template: &Value, configuration: &[v1::Configuration]) -> String {
    let hash = template::hash(&without_copies(template));
    let counts = |one: &&v1::Configuration| one.absent || !one.fingerprint.is_empty();
    let mut counted: Vec<_> = configuration.iter().filter(counts).map(|one| (&one.kind, &one.name, &one.fingerprint)).collect();
    if counted.is_empty() {
        return hash;
    }
    counted.sort();
    counted.dedup();
    hex::encode(Sha256::digest(canonical(&json!([hash, counted])).as_bytes()))
}

/// A version's id; versions that were recorded before there were ids are named by their template.
#[must_use]
pub fn id_of(version: &v1::Version) -> &str {
    if version.id.is_empty() { &version.template_hash } else { &version.id }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::{Kind, copy_name, point_to_copies, references};

    fn template() -> Value {
        json!({"spec": {"containers": [{"name": "web", "image": "web:v1", "envFrom": [{"configMapRef": {"name": "web"}},
            {"secretRef": {"name": "db"}}]}]}})
    }

    fn read(template: &Value, data: &Value) -> Vec<v1::Configuration> {
        let object = json!({"data": data});
        references(template).iter().map(|reference| recorded(reference, Read::Object(&object), None)).collect()
    }

    #[test]
    fn content_makes_a_version_and_a_copy_of_it_the_same_one() {
        let one = read(&template(), &json!({"k": "1"}));
        let two = read(&template(), &json!({"k": "2"}));
        let id = version_id(&template(), &one);
        assert_ne!(id, version_id(&template(), &two));
        assert_ne!(id, template::hash(&template()));
        let copy = copy_name("web", &one[0].fingerprint).unwrap();
        let pointed = point_to_copies(&template(), &[((Kind::ConfigMap, "web".to_owned()), copy)].into());
        assert_ne!(template::hash(&pointed), template::hash(&template()));
        assert_eq!(version_id(&pointed, &read(&pointed, &json!({"k": "1"}))), id, "restored, it is the version that it was");
    }

    #[test]
    fn what_was_not_read_counts_by_its_name_alone() {
        let unread: Vec<_> = references(&template()).iter().map(|r| recorded(r, Read::Unread, None)).collect();
        assert_eq!(version_id(&template(), &unread), template::hash(&template()));
        assert_eq!(version_id(&template(), &[]), template::hash(&template()));
        let absent: Vec<_> = references(&template()).iter().map(|r| recorded(r, Read::Absent, None)).collect();
        assert_ne!(
            version_id(&template(), &absent),
            version_id(&template(), &unread),
            "an optional object that comes is a change"
        );
    }

    #[test]
    fn old_records_are_named_by_their_template() {
        assert_eq!(id_of(&v1::Version { template_hash: "t".into(), ..v1::Version::default() }), "t");
        assert_eq!(id_of(&v1::Version { template_hash: "t".into(), id: "i".into(), ..v1::Version::default() }), "i");
    }
}
