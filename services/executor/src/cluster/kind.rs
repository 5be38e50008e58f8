//! The kinds of objects that are read and written, and where the API has them.
//!
//! Guarantees: only those three are workloads that can be put back. Must not: ask a server.

use kube::core::request::Request;

/// A kind of object in one namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// `apps/v1` Deployments.
    #[default]
    Deployment,
    /// `apps/v1` StatefulSets.
    StatefulSet,
    /// `apps/v1` DaemonSets.
    DaemonSet,
    /// `apps/v1` ReplicaSets.
    ReplicaSet,
    /// `apps/v1` ControllerRevisions.
    ControllerRevision,
    /// Pods.
    Pod,
    /// Services.
    Service,
    /// Core Endpoints.
    Endpoints,
    /// `discovery.k8s.io/v1` EndpointSlices.
    EndpointSlice,
    /// Core Events.
    Event,
    /// `ConfigMaps`.
    ConfigMap,
    /// Secrets.
    Secret,
}

impl Kind {
    const fn parts(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Deployment => ("apps", "v1", "Deployment", "deployments"),
            Self::StatefulSet => ("apps", "v1", "StatefulSet", "statefulsets"),
            Self::DaemonSet => ("apps", "v1", "DaemonSet", "daemonsets"),
            Self::ReplicaSet => ("apps", "v1", "ReplicaSet", "replicasets"),
            Self::ControllerRevision => ("apps", "v1", "ControllerRevision", "controllerrevisions"),
            Self::Pod => ("", "v1", "Pod", "pods"),
            Self::Service => ("", "v1", "Service", "services"),
            Self::Endpoints => ("", "v1", "Endpoints", "endpoints"),
            Self::EndpointSlice => ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
            Self::Event => ("", "v1", "Event", "events"),
            Self::ConfigMap => ("", "v1", "ConfigMap", "configmaps"),
            Self::Secret => ("", "v1", "Secret", "secrets"),
        }
    }

    /// The kind of workload that facts call so; `None` where it is none that can be put back.
    #[must_use]
    pub fn workload(name: &str) -> Option<Self> {
        [Self::Deployment, Self::StatefulSet, Self::DaemonSet].into_iter().find(|kind| kind.name() == name)
    }

    /// The API's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.parts().2
    }

    /// The kind of object that carries the versions of a workload of this kind.
    #[must_use]
    pub const fn carrier(self) -> Self {
        match self {
            Self::StatefulSet | Self::DaemonSet => Self::ControllerRevision,
            _ => Self::ReplicaSet,
        }
    }

    /// How watches know it.
    #[must_use]
    pub fn resource(self) -> kube::api::ApiResource {
        let (group, version, kind, plural) = self.parts();
        kube::api::ApiResource::from_gvk_with_plural(&kube::api::GroupVersionKind::gvk(group, version, kind), plural)
    }

    /// Requests about objects of this kind.
    pub(super) fn request(self, namespace: &str) -> Request {
        let (_, _, _, plural) = self.parts();
        Request::new(format!("{}/namespaces/{namespace}/{plural}", self.root()))
    }

    /// Requests about objects of this kind in all namespaces.
    pub(super) fn request_everywhere(self) -> Request {
        let (_, _, _, plural) = self.parts();
        Request::new(format!("{}/{plural}", self.root()))
    }

    fn root(self) -> String {
        let (group, version, _, _) = self.parts();
        if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
    }
}
