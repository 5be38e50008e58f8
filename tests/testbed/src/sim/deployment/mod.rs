//! The Deployment controller: rollouts from one ReplicaSet to another, as the real one does them.
//!
//! Each call brings one Deployment one step further; every step changes something that wakes the controller again.

mod maths;
mod revision;
mod status;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use self::maths::Limits;
use super::events;
use super::json::{Json as _, annotate, annotation, controller_uid};
use super::store::Store;

pub(super) const COMPONENT: &str = "deployment-controller";
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";

/// A Deployment with its ReplicaSets as they are now.
pub(super) struct Rollout<'s> {
    pub(super) store: &'s Store,
    pub(super) deployment: Arc<Value>,
    /// The ReplicaSet of the present template, if it exists.
    pub(super) new: Option<Arc<Value>>,
    /// All others, oldest first.
    pub(super) old: Vec<Arc<Value>>,
}

/// Brings a Deployment one step further; says when to look again at the latest.
pub(crate) fn reconcile(store: &Store, namespace: &str, name: &str) -> Option<Duration> {
    let deployment = store.get("deployments.apps", namespace, name)?;
    if !deployment.at("/metadata/deletionTimestamp").is_null() {
        return None;
    }
    let mut rollout = Rollout::load(store, deployment);
    status::note_pausing(&rollout);
    rollout.reload();
    if rollout.deployment.flag("/spec/paused") {
        rollout.scale_with_deployment();
        rollout.reload();
        return status::write(&rollout, false);
    }
    if rollout.was_scaled() {
        rollout.scale_with_deployment();
        rollout.reload();
        return status::write(&rollout, false);
    }
    if rollout.deployment.text("/spec/strategy/type") == "Recreate" {
        rollout.recreate();
    } else {
        rollout.roll();
    }
    rollout.reload();
    let again = status::write(&rollout, true);
    rollout.reload();
    if status::complete(&rollout.deployment) {
        revision::clean_up(&rollout);
    }
    again
}

impl<'s> Rollout<'s> {
    fn load(store: &'s Store, deployment: Arc<Value>) -> Self {
        let mut rollout = Self { store, deployment, new: None, old: Vec::new() };
        rollout.sort_sets();
        rollout
    }

    /// Reads everything again after writing.
    pub(super) fn reload(&mut self) {
        let (namespace, name) = self.place();
        if let Some(deployment) = self.store.get("deployments.apps", &namespace, &name) {
            self.deployment = deployment;
        }
        self.sort_sets();
    }

    fn sort_sets(&mut self) {
        let namespace = self.deployment.text("/metadata/namespace");
        let (_, mut sets) = self.store.list("replicasets.apps", Some(namespace));
        let uid = self.deployment.text("/metadata/uid");
        sets.retain(|set| controller_uid(set) == uid && set.at("/metadata/deletionTimestamp").is_null());
        // UUIDs of version 7 sort by time.
        sets.sort_by(|a, b| a.text("/metadata/uid").cmp(b.text("/metadata/uid")));
        let template = self.deployment.at("/spec/template");
        let new = sets.iter().position(|set| revision::same_template(set, template));
        self.new = new.map(|index| sets.remove(index));
        self.old = sets;
    }

    /// Namespace and name.
    pub(super) fn place(&self) -> (String, String) {
        let text = |pointer| self.deployment.text(pointer).to_owned();
        (text("/metadata/namespace"), text("/metadata/name"))
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.old.iter().chain(&self.new)
    }

    /// How many pods all ReplicaSets want together.
    pub(super) fn wanted(&self) -> i64 {
        self.all().map(|set| set.int("/spec/replicas")).sum()
    }

    pub(super) fn limits(&self) -> Limits {
        Limits::of(&self.deployment)
    }

    /// Whether the Deployment's replicas changed since its ReplicaSets were last scaled.
    fn was_scaled(&self) -> bool {
        let replicas = self.deployment.int("/spec/replicas").to_string();
        self.all()
            .filter(|set| set.int("/spec/replicas") > 0)
            .any(|set| !annotation(set, DESIRED).is_empty() && annotation(set, DESIRED) != replicas)
    }

    /// Spreads a change of the Deployment's replicas over its ReplicaSets.
    fn scale_with_deployment(&mut self) {
        let limits = self.limits();
        let active: Vec<_> = self.all().filter(|s| s.int("/spec/replicas") > 0).cloned().collect();
        if active.len() <= 1 {
            let only = active.into_iter().next().or_else(|| self.new.clone());
            let only = only.or_else(|| self.old.last().cloned());
            if let Some(set) = only {
                self.scale(&set, limits.replicas);
            }
            return;
        }
        if self.deployment.text("/spec/strategy/type") == "Recreate" {
            return;
        }
        let sizes: Vec<_> = active.iter().map(|set| set.int("/spec/replicas")).collect();
        let target = if limits.replicas > 0 { limits.replicas + limits.surge } else { 0 };
        for (set, size) in active.iter().zip(maths::spread(&sizes, target)) {
            self.scale(set, size);
        }
    }

    /// Scales one ReplicaSet and keeps its notes about the Deployment up to date.
    pub(super) fn scale(&self, set: &Value, replicas: i64) {
        let limits = self.limits();
        let (namespace, name) = (set.text("/metadata/namespace"), set.text("/metadata/name"));
        let before = set.int("/spec/replicas");
        self.store.edit("replicasets.apps", (namespace, name), |set| {
            set.put("/spec/replicas", replicas);
            annotate(set, DESIRED, &limits.replicas.to_string());
            annotate(set, MAXIMUM, &(limits.replicas + limits.surge).to_string());
        });
        if before != replicas {
            let direction = if replicas > before { "up" } else { "down" };
            let message = format!("Scaled {direction} replica set {name} from {before} to {replicas}");
            events::emit(self.store, &self.deployment, COMPONENT, "ScalingReplicaSet", &message);
        }
    }

    fn recreate(&mut self) {
        for set in self.old.clone() {
            if set.int("/spec/replicas") > 0 {
                self.scale(&set, 0);
            }
        }
        if self.old_pods_left() {
            return;
        }
        let replicas = self.deployment.int("/spec/replicas");
        revision::ensure_new(self, replicas);
        self.reload();
        if let Some(new) = self.new.clone()
            && new.int("/spec/replicas") != replicas
        {
            self.scale(&new, replicas);
        }
    }

    /// Whether a pod of an old ReplicaSet still exists, be it terminating.
    fn old_pods_left(&self) -> bool {
        let (_, pods) = self.store.list("pods", Some(self.deployment.text("/metadata/namespace")));
        pods.iter().any(|pod| {
            let owner = controller_uid(pod);
            self.old.iter().any(|set| set.text("/metadata/uid") == owner)
        })
    }

    fn roll(&mut self) {
        let limits = self.limits();
        revision::ensure_new(self, limits.room(0, self.wanted()));
        self.reload();
        let Some(new) = self.new.clone() else { return };
        let size = new.int("/spec/replicas");
        let wanted = limits.new_size(size, self.wanted());
        if wanted != size {
            // Either up or down in one step; the real controller also writes once and looks again.
            self.scale(&new, wanted);
            return;
        }
        let old: Vec<_> = self.old.iter().filter(|s| s.int("/spec/replicas") > 0).cloned().collect();
        let counts: Vec<_> = old.iter().map(|s| (s.int("/spec/replicas"), s.int("/status/availableReplicas"))).collect();
        let new = (size, new.int("/status/availableReplicas"));
        for (set, size) in old.iter().zip(limits.old_sizes(&counts, new)) {
            if set.int("/spec/replicas") != size {
                self.scale(set, size);
            }
        }
    }
}
