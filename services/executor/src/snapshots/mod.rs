//! The copies of configuration that a version can come back with: made while it runs (`keeper`), looked for before a rollback begins,
//! and let go when no version needs them any more (`prune`).
//!
//! Guarantees: a copy is immutable, stands in the namespace of what it copies, is named by what it holds and is never changed; it is made of
//! an object only while that holds what was recorded; what does not hold what its name says is not used. Must not: write to anybody's own
//! ConfigMap or Secret, or say what a Secret holds.

mod keeper;
mod prune;

use lastgood_core::configuration::fingerprint::fingerprint;
use lastgood_core::configuration::{Key, Kind as Held, copy_name};
use serde_json::{Map, Value, json};

pub use prune::{Copy, Keeping, prunable};

use crate::cluster::{ApiError, Cluster, Kind};

/// The label of every copy.
pub const SNAPSHOT: &str = "lastgood.dev/snapshot";
/// The label and the annotation that say of what it is a copy; the label's value is cut to what a label can hold.
pub const OF: &str = "lastgood.dev/of";
/// The annotation with the whole fingerprint.
pub const FINGERPRINT: &str = "lastgood.dev/fingerprint";
/// The longest value of a label.
const LABEL: usize = 63;

/// Makes copies and finds them; cheap to clone.
#[derive(Debug, Clone)]
pub struct Snapshots {
    cluster: Cluster,
    key: Option<Key>,
}

/// What there is of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It was there.
    There,
    /// It was made.
    Made,
    /// The object doesn't hold any more what was recorded; why, for people.
    Missed(String),
    /// There can't be one; why, for people.
    Impossible(String),
}

impl Kept {
    /// Why there is none, for people.
    #[must_use]
    pub fn lack(&self) -> Option<&str> {
        match self {
            Self::There | Self::Made => None,
            Self::Missed(why) | Self::Impossible(why) => Some(why),
        }
    }

    const fn word(&self) -> &'static str {
        match self {
            Self::There => "there",
            Self::Made => "made",
            Self::Missed(_) => "missed",
            Self::Impossible(_) => "impossible",
        }
    }
}

/// How the API calls it here.
const fn api_kind(kind: Held) -> Kind {
    match kind {
        Held::ConfigMap => Kind::ConfigMap,
        Held::Secret => Kind::Secret,
    }
}

impl Snapshots {
    /// On this cluster; without a key there are no copies of Secrets.
    #[must_use]
    pub const fn new(cluster: Cluster, key: Option<Key>) -> Self {
        Self { cluster, key }
    }

    /// Sees to it that there is a copy of this object as it was recorded.
    pub async fn keep(&self, namespace: &str, kind: Held, name: &str, recorded: &str) -> Result<Kept, ApiError> {
        if kind == Held::Secret && self.key.is_none() {
            return Ok(Kept::Impossible("this executor has no kubernetes.fingerprint_key".to_owned()));
        }
        let Some(copy) = copy_name(name, recorded) else {
            return Ok(Kept::Impossible(format!("{kind} {name} has too long a name for a copy")));
        };
        let kept = match self.find(namespace, kind, &copy, recorded).await? {
            Some(found) => found,
            None => self.make(namespace, kind, (name, &copy), recorded).await?,
        };
        metrics::counter!("lastgood_snapshots_total", "kind" => kind.name(), "result" => kept.word()).increment(1);
        Ok(kept)
    }

    /// What is there under the copy's name.
    async fn find(&self, namespace: &str, kind: Held, copy: &str, recorded: &str) -> Result<Option<Kept>, ApiError> {
        let found = self.cluster.get(api_kind(kind), namespace, copy).await?;
        Ok(found.map(|object| match fingerprint(kind, &object, self.key.as_ref()) {
            Some(holds) if holds == recorded => Kept::There,
            _ => Kept::Impossible(format!("{kind} {copy} holds something else than it should")),
        }))
    }

    async fn make(&self, namespace: &str, kind: Held, (name, copy): (&str, &str), recorded: &str) -> Result<Kept, ApiError> {
        let Some(live) = self.cluster.get(api_kind(kind), namespace, name).await? else {
            return Ok(Kept::Missed(format!("{kind} {name} is not there any more, and there is no copy of it")));
        };
        if fingerprint(kind, &live, self.key.as_ref()).as_deref() != Some(recorded) {
            return Ok(Kept::Missed(format!("{kind} {name} has changed since, and there is no copy of what it held")));
        }
        // A controller fills and removes those, copies too.
        if live["type"] == "kubernetes.io/service-account-token" {
            return Ok(Kept::Impossible(format!("{kind} {name} is a service account's token, which is not copied")));
        }
        match self.cluster.create(api_kind(kind), namespace, &copy_of(kind, &live, copy, recorded)).await {
            Ok(_) => Ok(Kept::Made),
            // Another replica was faster.
            Err(ApiError::Conflict(_)) => Ok(self
                .find(namespace, kind, copy, recorded)
                .await?
                .unwrap_or_else(|| Kept::Missed(format!("{kind} {copy} was there for a moment only")))),
            Err(error) => Err(error),
        }
    }
}

/// The copy to create.
fn copy_of(kind: Held, live: &Value, copy: &str, recorded: &str) -> Value {
    let name = live["metadata"]["name"].as_str().unwrap_or_default();
    let mut object = json!({
        "apiVersion": "v1",
        "kind": kind.name(),
        "metadata": {
            "name": copy,
            "namespace": live["metadata"]["namespace"],
            "labels": {SNAPSHOT: "true", OF: label(name)},
            "annotations": {OF: name, FINGERPRINT: recorded},
        },
        "immutable": true,
    });
    if let Some(fields) = object.as_object_mut() {
        let same = ["data", "binaryData", "type"].into_iter().filter(|key| !live[*key].is_null());
        fields.extend(same.map(|key| (key.to_owned(), live[key].clone())).collect::<Map<_, _>>());
    }
    object
}

/// As much of a name as a label's value can hold.
fn label(name: &str) -> &str {
    let cut = name.char_indices().map(|(at, _)| at).take_while(|at| *at <= LABEL).last().unwrap_or_default();
    let cut = if name.len() <= LABEL { name } else { &name[..cut] };
    cut.trim_end_matches(|c: char| !c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_holds_the_same_and_nothing_of_the_original_is_on_it() {
        let live = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": {"k": "dg=="},
            "metadata": {"name": "db", "namespace": "shop", "uid": "u", "resourceVersion": "7", "labels": {"app": "web"},
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{\"stringData\": \"v\"}"},
                "ownerReferences": [{"name": "owner"}], "finalizers": ["f"]}});
        let copy = copy_of(Held::Secret, &live, "db-lastgood-0123456789", "0123456789abcdef");
        assert_eq!(
            copy,
            json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": {"k": "dg=="}, "immutable": true,
                "metadata": {"name": "db-lastgood-0123456789", "namespace": "shop",
                    "labels": {SNAPSHOT: "true", OF: "db"}, "annotations": {OF: "db", FINGERPRINT: "0123456789abcdef"}}})
        );
        let key = Key::new(b"a key of the installation");
        assert_eq!(fingerprint(Held::Secret, &copy, Some(&key)), fingerprint(Held::Secret, &live, Some(&key)));
    }

    #[test]
    fn a_labels_value_is_one_whatever_the_name() {
        assert_eq!(label("web"), "web");
        assert_eq!(label(&"a".repeat(63)), "a".repeat(63));
        assert_eq!(label(&format!("{}.b", "a".repeat(62))), "a".repeat(62));
        assert_eq!(label(&"a".repeat(200)).len(), 63);
    }
}
