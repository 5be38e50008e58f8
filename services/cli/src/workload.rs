//! Which workload a command is about: `[NAMESPACE/]KIND/NAME`, with kubectl's `-n`.
//!
//! Guarantees: what is taken can be a subject's tokens, so that no name reaches beyond its own workload; a namespace that is said twice must be
//! the same. Must not: ask a cluster whether it is there.

use std::str::FromStr;

use chassis::config::Kubernetes;
use contracts::v1::WorkloadRef;
use kube::config::{Kubeconfig, KubeconfigError};

use crate::exit::Failure;

/// The kinds, and how kubectl lets people write them.
const KINDS: [(&str, &[&str]); 3] = [
    ("Deployment", &["deployment", "deployments", "deploy", "deployment.apps", "deployments.apps"]),
    ("StatefulSet", &["statefulset", "statefulsets", "sts", "statefulset.apps", "statefulsets.apps"]),
    ("DaemonSet", &["daemonset", "daemonsets", "ds", "daemonset.apps", "daemonsets.apps"]),
];
/// Characters of a Kubernetes name.
const LONGEST: usize = 253;

/// A workload as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    namespace: Option<String>,
    kind: &'static str,
    name: String,
}

/// Why a text names no workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAWorkload {
    /// Not two or three parts.
    #[error("a workload is written [NAMESPACE/]KIND/NAME, for instance deployment/web or shop/deployment/web")]
    Form,
    /// An unknown kind.
    #[error("`{0}` is no kind of workload: it is deployment, statefulset or daemonset")]
    Kind(String),
    /// Something that Kubernetes takes for no name.
    #[error("`{0}` can't be a name: small letters, digits, `-` and `.`, a letter or digit first and last")]
    Name(String),
}

impl FromStr for Written {
    type Err = NotAWorkload;

    fn from_str(text: &str) -> Result<Self, NotAWorkload> {
        let parts: Vec<_> = text.split('/').collect();
        let (namespace, kind, name) = match parts[..] {
            [kind, name] => (None, kind, name),
            [namespace, kind, name] => (Some(namespace_name(namespace)?), kind, name),
            _ => return Err(NotAWorkload::Form),
        };
        let written = kind.to_ascii_lowercase();
        let known = KINDS.iter().find(|(_, ways)| ways.contains(&written.as_str()));
        let (kind, _) = known.ok_or_else(|| NotAWorkload::Kind(kind.to_owned()))?;
        if !is_name(name) {
            return Err(NotAWorkload::Name(name.to_owned()));
        }
        Ok(Self { namespace, kind, name: name.to_owned() })
    }
}

/// A namespace's name.
pub fn namespace_name(text: &str) -> Result<String, NotAWorkload> {
    if is_name(text) && !text.contains('.') { Ok(text.to_owned()) } else { Err(NotAWorkload::Name(text.to_owned())) }
}

/// Whether Kubernetes takes it for a name (a DNS subdomain, RFC 1123).
fn is_name(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= LONGEST && bytes.iter().all(|b| inside(*b)) && edge(bytes.first()) && edge(bytes.last())
}

/// The arguments that name a workload.
#[derive(Debug, Clone, clap::Args)]
pub struct Target {
    /// The workload, [NAMESPACE/]KIND/NAME: deployment/web, shop/deploy/web, sts/db.
    #[arg(value_name = "WORKLOAD")]
    workload: Written,
    #[command(flatten)]
    namespace: Namespace,
}

/// `-n`.
#[derive(Debug, Clone, clap::Args)]
pub struct Namespace {
    /// The namespace; without it the kubeconfig's, as kubectl has it.
    #[arg(long, short, value_name = "NAMESPACE", value_parser = namespace_name)]
    namespace: Option<String>,
}

impl Target {
    /// The workload in the cluster that the configuration names.
    pub fn resolve(&self, kubernetes: &Kubernetes) -> Result<WorkloadRef, Failure> {
        self.workload.resolve(self.namespace.namespace.as_deref(), kubernetes)
    }
}

impl Written {
    /// The workload, with the namespace that `-n` says.
    pub fn resolve(&self, given: Option<&str>, kubernetes: &Kubernetes) -> Result<WorkloadRef, Failure> {
        let namespace = match (self.namespace.as_deref(), given) {
            (Some(written), Some(given)) if written != given => {
                return Err(Failure::Usage(format!("two namespaces are named: {written} in the workload, {given} by -n")));
            }
            (Some(namespace), _) | (None, Some(namespace)) => namespace.to_owned(),
            (None, None) => usual_namespace(kubernetes)?,
        };
        Ok(WorkloadRef { cluster: kubernetes.cluster.clone(), namespace, kind: self.kind.to_owned(), name: self.name.clone() })
    }
}

/// The namespace of the kubeconfig's context; `default` without one, as kubectl has it.
fn usual_namespace(kubernetes: &Kubernetes) -> Result<String, Failure> {
    let read = match &kubernetes.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let kubeconfig = match read {
        // Nobody said that there is one.
        Err(KubeconfigError::ReadConfig(..) | KubeconfigError::FindPath) if kubernetes.kubeconfig.is_none() => {
            return Ok("default".to_owned());
        }
        read => read.map_err(|error| Failure::Kubeconfig(Box::new(error)))?,
    };
    let current = kubernetes.context.as_ref().or(kubeconfig.current_context.as_ref());
    let context = kubeconfig.contexts.iter().find(|context| Some(&context.name) == current);
    let namespace = context.and_then(|context| context.context.as_ref()?.namespace.clone());
    let namespace = namespace.filter(|namespace| !namespace.is_empty()).unwrap_or_else(|| "default".to_owned());
    namespace_name(&namespace).map_err(|error| Failure::Impossible(format!("the kubeconfig's namespace: {error}")))
}

/// A workload as commands write it: `deployment/web -n shop`, to be pasted back.
#[must_use]
pub fn pasteable(workload: &WorkloadRef) -> String {
    format!("{}/{} -n {}", workload.kind.to_ascii_lowercase(), workload.name, workload.namespace)
}

/// The same for programs.
#[must_use]
pub fn json(workload: &WorkloadRef) -> serde_json::Value {
    serde_json::json!({
        "cluster": workload.cluster,
        "namespace": workload.namespace,
        "kind": workload.kind,
        "name": workload.name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str, given: Option<&str>) -> Result<String, Failure> {
        let written: Written = text.parse().map_err(|error: NotAWorkload| Failure::Usage(error.to_string()))?;
        let workload = written.resolve(given, &Kubernetes::default())?;
        Ok(format!("{} {} {}", workload.namespace, workload.kind, workload.name))
    }

    #[test]
    fn a_workload_is_written_as_kubectl_writes_it() {
        for (text, given, meant) in [
            ("shop/deployment/web", None, "shop Deployment web"),
            ("deploy/web", Some("shop"), "shop Deployment web"),
            ("shop/sts/db-0.x", Some("shop"), "shop StatefulSet db-0.x"),
            ("daemonsets.apps/agent", Some("shop"), "shop DaemonSet agent"),
            ("Deployment/web", Some("shop"), "shop Deployment web"),
        ] {
            assert_eq!(resolved(text, given).unwrap(), meant);
        }
    }

    #[test]
    fn what_could_reach_beyond_one_workload_is_refused() {
        for text in [
            "web",
            "a/b/c/d",
            "pod/web",
            "deploy/",
            "deploy/*",
            "deploy/>",
            "deploy/we b",
            "deploy/WEB",
            "*/deploy/web",
            "a.b/deploy/web",
        ] {
            assert_eq!(resolved(text, Some("shop")).unwrap_err().code(), crate::exit::WRONG_USE, "{text}");
        }
        let long = format!("deploy/{}", "a".repeat(LONGEST + 1));
        assert!(resolved(&long, Some("shop")).is_err());
        let two = resolved("shop/deploy/web", Some("test")).unwrap_err();
        assert!(two.to_string().contains("shop") && two.to_string().contains("test"), "{two}");
    }

    #[test]
    fn the_kubeconfig_says_the_namespace() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        let text = "apiVersion: v1\nkind: Config\ncurrent-context: one\ncontexts:\n- {name: one, context: {cluster: c, user: u, namespace: shop}}\n\
                    - {name: two, context: {cluster: c, user: u}}\n";
        std::fs::write(&path, text).unwrap();
        let kubernetes = |context: Option<&str>| Kubernetes {
            kubeconfig: Some(path.clone()),
            context: context.map(str::to_owned),
            ..Kubernetes::default()
        };
        assert_eq!(usual_namespace(&kubernetes(None)).unwrap(), "shop");
        assert_eq!(usual_namespace(&kubernetes(Some("two"))).unwrap(), "default");
        let missing = Kubernetes { kubeconfig: Some(dir.path().join("none")), ..Kubernetes::default() };
        assert!(matches!(usual_namespace(&missing), Err(Failure::Kubeconfig(_))));
    }
}
