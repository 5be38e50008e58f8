//! What the orchestrator reads of a cluster: objects as the API server gave them, and how to look them up.
//!
//! Guarantees: an object that is not there is `None`, anything that could not be seen is an error and never "not there"; templates keep
//! every field that the API server sent, also those that this binary doesn't know. Must not: write to a cluster.

mod live;
mod object;
mod selector;

pub use live::LiveCluster;
pub(crate) use object::strings;
pub use object::{Object, Owner};
pub use selector::Selector;

/// The kinds that are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the Kubernetes kinds of the same names")]
pub enum Kind {
    Deployment,
    StatefulSet,
    DaemonSet,
    ReplicaSet,
    ControllerRevision,
    Pod,
    Service,
    ConfigMap,
    Secret,
}

impl Kind {
    /// The kinds that versions are recorded of and put back.
    pub const WORKLOADS: [Self; 3] = [Self::Deployment, Self::StatefulSet, Self::DaemonSet];

    /// The API's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::ReplicaSet => "ReplicaSet",
            Self::ControllerRevision => "ControllerRevision",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }

    /// The path's start and the resource's plural.
    pub(crate) const fn resource(self) -> (&'static str, &'static str) {
        match self {
            Self::Deployment => ("/apis/apps/v1", "deployments"),
            Self::StatefulSet => ("/apis/apps/v1", "statefulsets"),
            Self::DaemonSet => ("/apis/apps/v1", "daemonsets"),
            Self::ReplicaSet => ("/apis/apps/v1", "replicasets"),
            Self::ControllerRevision => ("/apis/apps/v1", "controllerrevisions"),
            Self::Pod => ("/api/v1", "pods"),
            Self::Service => ("/api/v1", "services"),
            Self::ConfigMap => ("/api/v1", "configmaps"),
            Self::Secret => ("/api/v1", "secrets"),
        }
    }

    /// The workload kinds by any of the names that people write.
    #[must_use]
    pub fn parse_workload(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "deployment" | "deployments" | "deploy" | "deployment.apps" => Some(Self::Deployment),
            "statefulset" | "statefulsets" | "sts" | "statefulset.apps" => Some(Self::StatefulSet),
            "daemonset" | "daemonsets" | "ds" | "daemonset.apps" => Some(Self::DaemonSet),
            _ => None,
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The API server could not be asked, or would not say: nothing is known, so nothing may be concluded.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what} from the cluster")]
pub struct LookupError {
    /// What was asked for.
    pub what: String,
    /// What came instead.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl LookupError {
    /// Whether the API server said that our roles don't allow it: that it will say again.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self.source.downcast_ref(), Some(kube::Error::Api(status)) if status.code == 403)
    }
}

/// Reads of one cluster.
#[async_trait::async_trait]
pub trait Lookup: Send + Sync {
    /// One object; `None` where the API server says that it doesn't exist.
    async fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<Object>, LookupError>;

    /// The objects of a namespace that a selector picks; an empty selector picks all.
    async fn list(&self, kind: Kind, namespace: &str, selector: &Selector) -> Result<Vec<Object>, LookupError>;
}

#[cfg(test)]
pub(crate) mod fake {
    //! A cluster in memory, for tests of what is decided from reads.
    use serde_json::{Value, json};

    use super::*;

    #[derive(Default)]
    pub(crate) struct FakeCluster {
        pub(crate) objects: Vec<(Kind, Object)>,
        pub(crate) away: bool,
    }

    impl FakeCluster {
        pub(crate) fn with(mut self, kind: Kind, value: Value) -> Self {
            self.objects.push((kind, Object::new(value)));
            self
        }

        /// A Deployment with one ReplicaSet `<name>-abc` and one pod `<name>-abc-x1`.
        pub(crate) fn with_web(self, namespace: &str, name: &str, container: &str) -> Self {
            self.with(Kind::Deployment, deployment(namespace, name, container))
                .with(
                    Kind::ReplicaSet,
                    json!({"metadata": {"namespace": namespace, "name": format!("{name}-abc"), "uid": format!("rs-{name}"),
                    "labels": {"app": name}, "ownerReferences": [owner("Deployment", name)]}}),
                )
                .with(
                    Kind::Pod,
                    json!({"metadata": {"namespace": namespace, "name": format!("{name}-abc-x1"), "labels": {"app": name},
                    "ownerReferences": [owner("ReplicaSet", &format!("{name}-abc"))]}}),
                )
        }
    }

    pub(crate) fn owner(kind: &str, name: &str) -> Value {
        json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": format!("uid-{name}"), "controller": true})
    }

    pub(crate) fn deployment(namespace: &str, name: &str, container: &str) -> Value {
        json!({"metadata": {"namespace": namespace, "name": name, "uid": format!("uid-{name}"), "generation": 3},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": container, "image": "web:v2"}]}}},
            "status": {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}})
    }

    #[async_trait::async_trait]
    impl Lookup for FakeCluster {
        async fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<Object>, LookupError> {
            if self.away {
                return Err(LookupError { what: name.to_owned(), source: "the API server is away".into() });
            }
            let is_it = |(k, o): &&(Kind, Object)| *k == kind && o.namespace() == namespace && o.name() == name;
            Ok(self.objects.iter().find(is_it).map(|(_, o)| o.clone()))
        }

        async fn list(&self, kind: Kind, namespace: &str, selector: &Selector) -> Result<Vec<Object>, LookupError> {
            if self.away {
                return Err(LookupError { what: kind.to_string(), source: "the API server is away".into() });
            }
            let is_one = |(k, o): &&(Kind, Object)| *k == kind && o.namespace() == namespace && selector.matches(&o.labels());
            Ok(self.objects.iter().filter(is_one).map(|(_, o)| o.clone()).collect())
        }
    }
}
