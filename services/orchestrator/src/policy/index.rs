//! The policies that are known, and what is in force for a workload by them.
//!
//! Guarantees: pure; the answer depends on what was put in, not on when; before it is known which policies there are, there is no answer,
//! because one that is not known yet may forbid what the others allow. Must not: read anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use lastgood_core::policy::document::{CLUSTER_KIND, KIND};
use lastgood_core::policy::{Budgets, Effective, Id, Limits, MassFailure, Origin, Policy, Workload, combine};

use crate::cluster::{Kind, Object, strings};
use crate::config::Settings;

/// The policies, and what the configuration says where they say nothing.
#[derive(Debug, Clone)]
pub struct Index {
    policies: BTreeMap<Id, Arc<Policy>>,
    /// The kinds of which it is not known yet what there is.
    unread: BTreeSet<&'static str>,
    defaults: Effective,
    limits: Limits,
}

/// It is not known yet which policies there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {kinds} resources could not be read yet; what they say may forbid what is to be done")]
pub struct Unread {
    /// Of which kinds.
    pub kinds: String,
}

/// What the configuration says of a policy's fields.
#[must_use]
pub fn defaults(settings: &Settings) -> Effective {
    let (brake, budgets) = (&settings.mass_failure, &settings.budgets);
    Effective {
        window: settings.window,
        soak: settings.soak,
        cooldown: settings.cooldown,
        keep_versions: settings.keep_versions,
        mass_failure: MassFailure { workloads: brake.workloads, window: brake.window },
        budgets: Budgets {
            workload_per_hour: budgets.workload_per_hour,
            namespace_concurrent: budgets.namespace_concurrent,
            cluster_concurrent: budgets.cluster_concurrent,
        },
        ..Effective::default()
    }
}

/// What a document can't know of the configuration.
#[must_use]
pub const fn limits(settings: &Settings) -> Limits {
    Limits { looks_back: settings.archive.after, verify: settings.deadlines.verify }
}

impl Index {
    /// Without any policy.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self { policies: BTreeMap::new(), unread: BTreeSet::new(), defaults: defaults(settings), limits: limits(settings) }
    }

    /// Custom resources are to be heard of: until both kinds were read, nothing is in force.
    #[must_use]
    pub fn awaiting_resources(mut self) -> Self {
        self.unread = BTreeSet::from([KIND, CLUSTER_KIND]);
        self
    }

    /// What documents are held against.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether it is known which custom resources there are.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.unread.is_empty()
    }

    /// Whether each workload has the same in force by both, whatever else is known of the policies.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        (&self.policies, &self.unread, &self.defaults) == (&other.policies, &other.unread, &other.defaults)
    }

    /// With one more policy, or another version of one.
    pub fn put(&mut self, policy: Policy) {
        self.policies.insert(policy.id.clone(), Arc::new(policy));
    }

    /// Without this one.
    pub fn remove(&mut self, id: &Id) {
        self.policies.remove(id);
    }

    /// With exactly these custom resources of a kind, which is known by that.
    pub fn replace(&mut self, kind: &'static str, policies: Vec<Policy>) {
        self.policies.retain(|id, _| id.origin != Origin::Cluster || id.kind() != kind);
        for policy in policies {
            self.put(policy);
        }
        self.unread.remove(kind);
    }

    /// All of them, in their ids' order.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policies.values().map(Arc::as_ref)
    }

    /// What is in force for a workload as it is now.
    pub fn effective(&self, kind: Kind, workload: &Object, now: Timestamp) -> Result<Effective, Unread> {
        let (labels, annotations) = (workload.labels(), strings(workload.at("/metadata/annotations")));
        let workload = Workload {
            namespace: workload.namespace(),
            kind: kind.name(),
            name: workload.name(),
            labels: &labels,
            annotations: &annotations,
        };
        self.effective_for(&workload, now)
    }

    /// The same, by what of a workload decides it.
    pub fn effective_for(&self, workload: &Workload<'_>, now: Timestamp) -> Result<Effective, Unread> {
        if !self.unread.is_empty() {
            let kinds = self.unread.iter().copied().collect::<Vec<_>>().join(" and ");
            return Err(Unread { kinds });
        }
        Ok(combine(self.policies(), workload, &self.defaults, now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lastgood_core::policy::{Mode, read};
    use serde_json::{Value, json};

    use super::*;

    fn policy(name: &str, spec: &Value) -> Policy {
        let document = json!({"apiVersion": "lastgood.dev/v1alpha1", "kind": "RollbackPolicy",
            "metadata": {"name": name, "namespace": "shop"}, "spec": spec});
        read(&document, Origin::Cluster, &Limits::default()).unwrap()
    }

    fn web(annotations: &Value) -> Object {
        Object::new(json!({"metadata": {"namespace": "shop", "name": "web", "annotations": annotations}}))
    }

    fn mode(index: &Index, annotations: &Value) -> Result<Mode, Unread> {
        index.effective(Kind::Deployment, &web(annotations), Timestamp::UNIX_EPOCH).map(|effective| effective.mode)
    }

    #[test]
    fn nothing_is_in_force_before_both_kinds_were_read() {
        let mut index = Index::new(&Settings::default()).awaiting_resources();
        let auto = json!({"lastgood.dev/mode": "auto"});
        assert!(mode(&index, &auto).is_err());
        index.replace(KIND, vec![policy("all", &json!({"mode": "observe"}))]);
        assert!(mode(&index, &auto).unwrap_err().to_string().starts_with("the ClusterRollbackPolicy resources"));
        index.replace(CLUSTER_KIND, Vec::new());
        assert_eq!(mode(&index, &auto), Ok(Mode::Auto));
        assert_eq!(mode(&index, &json!({})), Ok(Mode::Observe));
    }

    #[test]
    fn the_configuration_speaks_where_no_policy_does() {
        let settings = Settings { cooldown: Duration::from_mins(7), ..Settings::default() };
        let mut index = Index::new(&settings);
        index.put(policy("all", &json!({"changeWindow": "5m"})));
        let effective = index.effective(Kind::Deployment, &web(&json!({})), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((effective.cooldown, effective.window), (Duration::from_mins(7), Duration::from_mins(5)));
    }

    #[test]
    fn a_resource_that_is_gone_is_forgotten_and_a_file_stays() {
        let mut index = Index::new(&Settings::default());
        let mut file = policy("file", &json!({"mode": "auto"}));
        file.id.origin = Origin::File;
        index.put(file);
        index.replace(KIND, vec![policy("all", &json!({"priority": 1, "mode": "observe"}))]);
        assert_eq!(mode(&index, &json!({})), Ok(Mode::Observe));
        index.replace(KIND, Vec::new());
        assert_eq!(mode(&index, &json!({})), Ok(Mode::Auto));
    }
}
