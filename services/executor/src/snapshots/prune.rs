//! Letting copies go that no version needs any more.
//!
//! Guarantees: a copy goes only when no fact that the ledger still has of any workload in its namespace names what it holds, nothing in the
//! namespace refers to it (workloads and their history, pods), and it is older than the configured time; what can't be read keeps everything.
//! Must not: touch what has not the label and the name of a copy.

use std::collections::BTreeSet;
use std::time::Duration;

use chassis::bus::ReadError;
use chassis::{Bus, Lifecycle};
use contracts::subjects::{self, streams};
use contracts::{DecodeError, LedgerFact, v1};
use jiff::{SignedDuration, Timestamp};
use lastgood_core::configuration::copies::is_copy;
use lastgood_core::configuration::{Kind as Held, original_name, references};
use serde_json::{Value, json};

use super::{FINGERPRINT, SNAPSHOT, Snapshots, api_kind};
use crate::cluster::{ApiError, Kind, place};

/// Subjects of one namespace's ledgers that are looked at; with more, its copies stay.
const SUBJECTS: usize = 500_000;

/// A copy as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// What it is.
    pub kind: Held,
    /// Its name.
    pub name: String,
    /// What it says that it holds.
    pub fingerprint: String,
    /// When it was made.
    pub created: Option<Timestamp>,
}

impl Copy {
    fn of(kind: Held, object: &Value) -> Self {
        let metadata = &object["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            kind,
            name: text(&metadata["name"]),
            fingerprint: text(&metadata["annotations"][FINGERPRINT]),
            created: metadata["creationTimestamp"].as_str().and_then(|at| at.parse().ok()),
        }
    }
}

/// What keeps the copies of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keeping {
    /// Kind, original name and fingerprint of what versions ran with.
    pub versions: BTreeSet<(Held, String, String)>,
    /// What something in the namespace refers to, by kind and name.
    pub referred: BTreeSet<(Held, String)>,
}

impl Keeping {
    fn note_version(&mut self, observed: &v1::VersionObserved) {
        let configuration = observed.version.iter().flat_map(|version| &version.configuration);
        let known = configuration.filter_map(|one| Some((Held::parse(&one.kind)?, one.name.clone(), one.fingerprint.clone())));
        self.versions.extend(known);
    }

    fn note_template(&mut self, template: &Value) {
        self.referred.extend(references(template).into_iter().map(|reference| (reference.kind, reference.name)));
    }
}

/// The copies that may go.
#[must_use]
pub fn prunable<'a>(copies: &'a [Copy], keeping: &Keeping, now: Timestamp, unused_for: Duration) -> Vec<&'a Copy> {
    let age = SignedDuration::try_from(unused_for).unwrap_or(SignedDuration::MAX);
    let may_go = |copy: &&Copy| {
        let needed = (copy.kind, original_name(&copy.name).to_owned(), copy.fingerprint.clone());
        is_copy(&copy.name)
            && copy.created.is_some_and(|created| now.duration_since(created) > age)
            && !keeping.versions.contains(&needed)
            && !keeping.referred.contains(&(copy.kind, copy.name.clone()))
    };
    copies.iter().filter(may_go).collect()
}

/// Why a round of pruning ended early.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ApiError),
    /// The ledger.
    #[error("the ledger can't be read")]
    Ledger(#[from] ReadError),
    /// A newer binary's fact, or a damaged one.
    #[error("the ledger can't be read in full")]
    Fold(#[from] DecodeError),
    /// More than is looked at.
    #[error("there are too many ledgers in namespace {0}")]
    TooMany(String),
}

impl Snapshots {
    /// Prunes from time to time until told to stop.
    pub fn start_pruning(self, bus: &Bus, life: &Lifecycle, cluster: &str, every: Duration, unused_for: Duration) {
        let (bus, cluster, stopping) = (bus.clone(), cluster.to_owned(), life.stopping());
        life.spawn("pruning of copies", async move {
            while tokio::time::timeout(every, stopping.cancelled()).await.is_err() {
                if let Err(error) = self.prune(&bus, &cluster, unused_for).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "copies that are not needed are left for now");
                }
            }
            Ok::<_, std::convert::Infallible>(())
        });
    }

    /// One round; how many copies went.
    pub async fn prune(&self, bus: &Bus, cluster: &str, unused_for: Duration) -> Result<usize, PruneError> {
        let mut found: Vec<(String, Copy)> = Vec::new();
        for kind in Held::ALL.into_iter().filter(|kind| *kind != Held::Secret || self.key.is_some()) {
            let listed = self.cluster.list_everywhere(api_kind(kind), &format!("{SNAPSHOT}=true")).await;
            match ApiError::optional(listed)? {
                Ok(objects) => found.extend(objects.iter().map(|object| (place(object).0.to_owned(), Copy::of(kind, object)))),
                Err(why) => tracing::debug!(%kind, why, "copies can't be listed"),
            }
        }
        let namespaces: BTreeSet<String> = found.iter().map(|(namespace, _)| namespace.clone()).collect();
        let mut gone = 0;
        for namespace in namespaces {
            let copies: Vec<Copy> = found.iter().filter(|(of, _)| *of == namespace).map(|(_, copy)| copy.clone()).collect();
            gone += self.prune_namespace(bus, cluster, &namespace, &copies, unused_for).await?;
        }
        Ok(gone)
    }

    async fn prune_namespace(
        &self,
        bus: &Bus,
        cluster: &str,
        namespace: &str,
        copies: &[Copy],
        unused_for: Duration,
    ) -> Result<usize, PruneError> {
        let now = bus.clock().now();
        let mut keeping = self.referred(namespace).await?;
        if prunable(copies, &keeping, now, unused_for).is_empty() {
            return Ok(0);
        }
        let filter = subjects::namespace_ledger_filter(cluster, namespace);
        let subjects = bus.subjects_since(streams::LEDGER, &filter, Timestamp::UNIX_EPOCH, SUBJECTS).await?;
        if subjects.len() >= SUBJECTS {
            return Err(PruneError::TooMany(namespace.to_owned()));
        }
        let workloads = subjects.iter().filter_map(|(subject, _)| subjects::parse_ledger(subject).ok());
        let ledgers: BTreeSet<String> = workloads.map(|(workload, _)| subjects::ledger_filter(&workload)).collect();
        for ledger in ledgers {
            for message in bus.read_whole(streams::LEDGER, &ledger).await? {
                match LedgerFact::decode(message.event_type(), &message.data)? {
                    LedgerFact::VersionObserved(observed) => keeping.note_version(&observed),
                    LedgerFact::VersionKept(kept) => kept.observed.iter().for_each(|observed| keeping.note_version(observed)),
                    _ => {}
                }
            }
        }
        let go = prunable(copies, &keeping, now, unused_for);
        for copy in &go {
            self.cluster.delete(api_kind(copy.kind), namespace, &copy.name).await?;
            tracing::info!(namespace, kind = %copy.kind, name = copy.name, "no version needs this copy any more");
            metrics::counter!("lastgood_snapshots_pruned_total", "kind" => copy.kind.name()).increment(1);
        }
        Ok(go.len())
    }

    async fn referred(&self, namespace: &str) -> Result<Keeping, ApiError> {
        let mut keeping = Keeping::default();
        let workloads = [Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet];
        for kind in workloads.into_iter().chain([Kind::ReplicaSet, Kind::ControllerRevision, Kind::Pod]) {
            for object in self.cluster.list(kind, namespace, "").await? {
                match kind {
                    Kind::ControllerRevision => keeping.note_template(&object["data"]["spec"]["template"]),
                    Kind::Pod => keeping.note_template(&json!({"spec": object["spec"]})),
                    _ => keeping.note_template(&object["spec"]["template"]),
                }
            }
        }
        Ok(keeping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 3600 * hour).unwrap()
    }

    fn copy(name: &str, fingerprint: &str, hour: i64) -> Copy {
        Copy { kind: Held::ConfigMap, name: name.into(), fingerprint: fingerprint.into(), created: Some(at(hour)) }
    }

    #[test]
    fn only_what_nobody_needs_goes() {
        let fingerprint = |digit: &str| digit.repeat(64);
        let name = |digit: &str| format!("web-lastgood-{}", digit.repeat(10));
        let copies = [
            copy(&name("1"), &fingerprint("1"), 0),
            copy(&name("2"), &fingerprint("2"), 0),
            copy(&name("3"), &fingerprint("3"), 0),
            copy(&name("4"), &fingerprint("4"), 9),
            copy("somebodys-own", &fingerprint("5"), 0),
            Copy { created: None, ..copy(&name("6"), &fingerprint("6"), 0) },
        ];
        let mut keeping = Keeping::default();
        let configuration = v1::Configuration {
            kind: "ConfigMap".into(),
            name: "web".into(),
            fingerprint: fingerprint("1"),
            ..v1::Configuration::default()
        };
        let version = v1::Version { configuration: vec![configuration], ..v1::Version::default() };
        keeping.note_version(&v1::VersionObserved { version: Some(version), ..v1::VersionObserved::default() });
        keeping.note_template(&json!({"spec": {"volumes": [{"name": "v", "configMap": {"name": name("2")}}]}}));
        let gone: Vec<_> = prunable(&copies, &keeping, at(10), Duration::from_hours(2)).into_iter().map(|c| &c.name).collect();
        assert_eq!(gone, [&name("3")]);
    }
}
