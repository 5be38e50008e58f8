//! Reading what a template refers to, as it is now.
//!
//! Guarantees: an object that is not there, one that we may not read and an outage are told apart; of a Secret nothing is left but its
//! fingerprint. Must not: cache; a decision wants what is true now.

use std::sync::Arc;

use contracts::v1;
use jiff::Timestamp;
use lastgood_core::configuration::restore::{Now, Rules};
use lastgood_core::configuration::{self as config, Key, Read, Reference, original_name, references};
use lastgood_core::policy::RestoreConfigMaps;
use serde_json::Value;

use crate::cluster::{Kind, Lookup, LookupError, Object};

/// Reads configuration; cheap to clone.
#[derive(Clone)]
pub struct Reader {
    /// The cluster.
    pub cluster: Arc<dyn Lookup>,
    key: Option<Key>,
}

/// One referenced object as it was read.
#[derive(Debug, Clone)]
pub struct Seen {
    /// How the template refers to it.
    pub reference: Reference,
    /// What a version's record says of it.
    pub recorded: v1::Configuration,
    /// When it was last written, as far as it tells.
    pub written_at: Option<Timestamp>,
    /// All of it; never a Secret.
    pub object: Option<Object>,
}

impl Seen {
    /// What it is now, where the template refers to it by the name that its owner gave.
    #[must_use]
    pub fn now(&self) -> Option<Now> {
        let own = original_name(&self.reference.name) == self.reference.name;
        own.then(|| now(&self.recorded))
    }
}

fn now(recorded: &v1::Configuration) -> Now {
    match (recorded.absent, recorded.fingerprint.is_empty()) {
        (true, _) => Now::Absent,
        (false, true) => Now::Unread,
        (false, false) => Now::Has(recorded.fingerprint.clone()),
    }
}

impl Reader {
    /// On this cluster; without a key Secrets are not read at all.
    #[must_use]
    pub fn new(cluster: Arc<dyn Lookup>, key: Option<Key>) -> Self {
        Self { cluster, key }
    }

    /// Whether Secrets are read.
    #[must_use]
    pub const fn reads_secrets(&self) -> bool {
        self.key.is_some()
    }

    /// What this template refers to, in order of kind and name.
    pub async fn running(&self, namespace: &str, template: &Value, rules: Rules) -> Result<Vec<Seen>, LookupError> {
        let reads = references(template).into_iter().map(|reference| self.see(namespace, reference, rules));
        futures::future::try_join_all(reads).await
    }

    /// One object by its name.
    pub async fn named(&self, namespace: &str, kind: config::Kind, name: &str) -> Result<(Now, Option<Object>), LookupError> {
        let reference = Reference { kind, name: name.to_owned(), optional: true, at_start: false };
        let rules = Rules { config_maps: RestoreConfigMaps::Never, secrets: false, keep: false };
        let seen = self.see(namespace, reference, rules).await?;
        Ok((now(&seen.recorded), seen.object))
    }

    async fn see(&self, namespace: &str, reference: Reference, rules: Rules) -> Result<Seen, LookupError> {
        let kind = match reference.kind {
            config::Kind::ConfigMap => Kind::ConfigMap,
            config::Kind::Secret => Kind::Secret,
        };
        let unread = kind == Kind::Secret && self.key.is_none();
        let answer = if unread { Ok(None) } else { self.cluster.get(kind, namespace, &reference.name).await };
        let (object, unread) = match answer {
            Ok(object) => (object, unread),
            Err(error) if error.is_forbidden() => {
                tracing::warn!(namespace, %kind, name = reference.name, "the roles don't allow to read it; it counts by its name");
                metrics::counter!("lastgood_configuration_unread_total", "kind" => kind.name()).increment(1);
                (None, true)
            }
            Err(error) => return Err(error),
        };
        let read = match &object {
            Some(object) => Read::Object(object.json()),
            None if unread => Read::Unread,
            None => Read::Absent,
        };
        let mut recorded = config::recorded(&reference, read, self.key.as_ref());
        recorded.keep = rules.keeps(reference.kind);
        let written_at = object.as_ref().and_then(written_at);
        let object = object.filter(|_| kind != Kind::Secret);
        Ok(Seen { reference, recorded, written_at, object })
    }
}

/// The last write that `managedFields` tell, or the creation.
fn written_at(object: &Object) -> Option<Timestamp> {
    let entries = object.at("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    let times = entries.filter_map(|entry| entry.get("time")?.as_str()?.parse().ok());
    times.max().or_else(|| object.created())
}

#[cfg(test)]
mod tests {
    use lastgood_core::policy::{Effective, Mode};
    use serde_json::json;

    use super::*;
    use crate::cluster::fake::FakeCluster;

    fn template() -> Value {
        json!({"spec": {"containers": [{"name": "web", "envFrom": [{"configMapRef": {"name": "web"}},
            {"configMapRef": {"name": "maybe", "optional": true}}, {"secretRef": {"name": "db"}}]}]}})
    }

    fn cluster() -> Arc<dyn Lookup> {
        let metadata = |name: &str| {
            json!({"namespace": "shop", "name": name, "creationTimestamp": "2026-11-21T10:00:00Z",
                "managedFields": [{"manager": "kubectl", "time": "2026-11-21T11:00:00Z"}]})
        };
        let cluster = FakeCluster::default()
            .with(Kind::ConfigMap, json!({"metadata": metadata("web"), "data": {"mode": "old"}}))
            .with(Kind::Secret, json!({"metadata": metadata("db"), "data": {"password": "aHVudGVyMg=="}}));
        Arc::new(cluster)
    }

    #[tokio::test]
    async fn what_is_there_what_is_not_and_what_is_not_read_are_told_apart() {
        let rules = Rules::from(&Effective { mode: Mode::Auto, ..Effective::default() });
        let seen = Reader::new(cluster(), None).running("shop", &template(), rules).await.unwrap();
        let told: Vec<_> = seen.iter().map(|one| (one.reference.name.as_str(), one.now().unwrap())).collect();
        assert_eq!(told[0], ("maybe", Now::Absent));
        assert!(matches!(&told[1], ("web", Now::Has(_))));
        assert_eq!(told[2], ("db", Now::Unread));
        assert!(seen[1].recorded.keep && !seen[2].recorded.keep);
        assert_eq!(seen[1].written_at, Some("2026-11-21T11:00:00Z".parse().unwrap()));
    }

    #[tokio::test]
    async fn of_a_secret_nothing_is_left_but_the_fingerprint() {
        let reader = Reader::new(cluster(), Some(Key::new(b"a key of the installation")));
        let seen = reader.running("shop", &template(), Rules::from(&Effective::default())).await.unwrap();
        assert!(matches!(seen[2].now(), Some(Now::Has(_))));
        let all = format!("{seen:?}");
        assert!(!all.contains("hunter2") && !all.contains("aHVudGVyMg"), "{all}");
    }

    #[tokio::test]
    async fn an_outage_is_no_absence() {
        let away = Reader::new(Arc::new(FakeCluster { away: true, ..FakeCluster::default() }), None);
        assert!(away.running("shop", &template(), Rules::from(&Effective::default())).await.is_err());
    }
}
