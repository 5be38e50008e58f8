//! Hears of the custom resources, and keeps the index.
//!
//! Guarantees: a resource that can't be read as a policy governs as one that is invalid; where there are no custom resource definitions there
//! are no policies (said once, and looked for again); anything else that can't be seen is an outage, and then what was known before holds.
//! Must not: write.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use lastgood_core::policy::document::{CLUSTER_KIND, GROUP, KIND, VERSION};
use lastgood_core::policy::{Id, Limits, Origin, Policy, Selection, read};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Policies;

/// Objects a page of the initial list.
const PAGE: u32 = 100;

/// Why the watch ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The stream of events ended by itself.
    #[error("the watch of {0} ended by itself")]
    Ended(&'static str),
}

/// A custom resource as it was last seen, as far as its status needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// `metadata.generation`.
    pub generation: i64,
    /// `status`.
    pub status: Value,
}

/// The custom resources as they were last seen; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Resources(Arc<Mutex<BTreeMap<Id, Seen>>>);

impl Resources {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> BTreeMap<Id, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, how: impl FnOnce(&mut BTreeMap<Id, Seen>)) {
        how(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The API's word for a kind of policy.
#[must_use]
pub fn resource(kind: &str) -> ApiResource {
    let plural = if kind == KIND { "rollbackpolicies" } else { "clusterrollbackpolicies" };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, kind), plural)
}

/// Watches both kinds until told to stop. `known` is called once each was read, or found not to be defined.
pub async fn watch(
    client: Client,
    policies: Policies,
    resources: Resources,
    stopping: CancellationToken,
    known: impl Fn() + Send + Sync,
) -> Result<(), WatchError> {
    let one = |kind: &'static str| Watch {
        kind,
        policies: policies.clone(),
        resources: resources.clone(),
        listed: Vec::new(),
        told: false,
    };
    let (mut own, mut whole) = (one(KIND), one(CLUSTER_KIND));
    let tell = || {
        if policies.now().is_read() {
            known();
        }
    };
    tokio::select! {
        biased;
        () = stopping.cancelled() => Ok(()),
        () = own.run(&client, &tell) => Err(WatchError::Ended(KIND)),
        () = whole.run(&client, &tell) => Err(WatchError::Ended(CLUSTER_KIND)),
    }
}

struct Watch {
    kind: &'static str,
    policies: Policies,
    resources: Resources,
    /// What a list that is under way held so far.
    listed: Vec<(Policy, Seen)>,
    /// Whether it was said that the kind is not defined, or can't be read.
    told: bool,
}

impl Watch {
    async fn run(&mut self, client: &Client, known: &(impl Fn() + Sync)) {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource(self.kind));
        let events = watcher::watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff();
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.hear(event),
                Err(error) if is_undefined(&error) => self.undefined(),
                Err(error) => self.unseen(&error),
            }
            known();
        }
    }

    fn hear(&mut self, event: Event<DynamicObject>) {
        let limits = *self.policies.now().limits();
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(object) => self.listed.extend(understand(self.kind, object, &limits)),
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                self.told = false;
                self.replace(listed);
            }
            Event::Apply(object) => {
                if let Some((policy, seen)) = understand(self.kind, object, &limits) {
                    self.resources.change(|all| drop(all.insert(policy.id.clone(), seen)));
                    self.policies.change(|index| index.put(policy));
                }
            }
            Event::Delete(object) => {
                if let Some((policy, _)) = understand(self.kind, object, &limits) {
                    tracing::info!(policy = %policy.id, "a policy is gone");
                    self.resources.change(|all| drop(all.remove(&policy.id)));
                    self.policies.change(|index| index.remove(&policy.id));
                }
            }
        }
    }

    fn replace(&self, listed: Vec<(Policy, Seen)>) {
        self.resources.change(|all| {
            all.retain(|id, _| id.kind() != self.kind);
            all.extend(listed.iter().map(|(policy, seen)| (policy.id.clone(), seen.clone())));
        });
        self.policies.change(|index| index.replace(self.kind, listed.into_iter().map(|(policy, _)| policy).collect()));
    }

    fn undefined(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::info!(kind = self.kind, "no such custom resources are defined (charts/manifests/crds.yaml); there are none");
            self.replace(Vec::new());
        }
    }

    fn unseen(&mut self, error: &watcher::Error) {
        let refused = matches!(status(error), Some(401 | 403));
        if refused && !std::mem::replace(&mut self.told, true) {
            tracing::error!(kind = self.kind, %error, "policies can't be read: charts/manifests/rbac.yaml allows it");
        } else {
            tracing::warn!(kind = self.kind, %error, "the watch of policies is interrupted");
        }
    }
}

/// A resource as a policy. One that isn't even that is invalid, and governs all that it could be about.
pub(super) fn understand(kind: &str, object: DynamicObject, limits: &Limits) -> Option<(Policy, Seen)> {
    let (namespace, name) = (object.metadata.namespace.clone(), object.metadata.name.clone()?);
    let generation = object.metadata.generation.unwrap_or_default();
    let mut document = serde_json::to_value(object).ok()?;
    // A list's elements don't say what they are.
    document["apiVersion"] = format!("{GROUP}/{VERSION}").into();
    document["kind"] = kind.into();
    let seen = Seen { generation, status: document.get("status").cloned().unwrap_or_default() };
    let policy = read(&document, Origin::Cluster, limits).unwrap_or_else(|problems| Policy {
        id: Id { namespace, name, origin: Origin::Cluster },
        priority: 0,
        selection: Selection::default(),
        says: Err(problems),
    });
    if let Err(problems) = &policy.says {
        let first = problems.first().map(ToString::to_string);
        tracing::warn!(policy = %policy.id, problems = problems.len(), first, "an invalid policy: what it is about is only observed");
    }
    Some((policy, seen))
}

fn status(error: &watcher::Error) -> Option<u16> {
    let error = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error,
        watcher::Error::WatchError(status) => return Some(status.code),
        watcher::Error::NoResourceVersion => return None,
    };
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Whether the API server does not know such a resource.
fn is_undefined(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(_)) && status(error) == Some(404)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Settings;
    use crate::policy::Index;

    fn object(namespace: Option<&str>, name: &str, spec: &Value) -> DynamicObject {
        serde_json::from_value(
            json!({"metadata": {"name": name, "namespace": namespace, "generation": 3}, "spec": spec, "status": {"governs": 1}}),
        )
        .unwrap()
    }

    fn watch() -> Watch {
        let policies = Policies::new(Index::new(&Settings::default()).awaiting_resources());
        Watch { kind: KIND, policies, resources: Resources::default(), listed: Vec::new(), told: false }
    }

    fn names(watch: &Watch) -> Vec<String> {
        watch.policies.now().policies().map(|policy| policy.id.to_string()).collect()
    }

    #[test]
    fn a_list_replaces_and_events_change() {
        let mut watch = watch();
        let web = || object(Some("shop"), "web", &json!({"mode": "auto"}));
        for event in
            [Event::Init, Event::InitApply(web()), Event::InitApply(object(Some("shop"), "old", &json!({}))), Event::InitDone]
        {
            watch.hear(event);
        }
        assert_eq!(names(&watch), ["RollbackPolicy shop/old", "RollbackPolicy shop/web"]);
        watch.hear(Event::Delete(object(Some("shop"), "old", &json!({}))));
        watch.hear(Event::Apply(object(Some("shop"), "api", &json!({"mode": "x"}))));
        assert_eq!(names(&watch), ["RollbackPolicy shop/api", "RollbackPolicy shop/web"]);
        let seen = watch.resources.all();
        assert_eq!(seen.values().next(), Some(&Seen { generation: 3, status: json!({"governs": 1}) }));
        for event in [Event::Init, Event::InitApply(web()), Event::InitDone] {
            watch.hear(event);
        }
        assert_eq!(names(&watch), ["RollbackPolicy shop/web"]);
        watch.undefined();
        assert!(names(&watch).is_empty() && watch.resources.all().is_empty());
    }

    #[test]
    fn what_is_no_policy_governs_as_an_invalid_one() {
        let (policy, _) = understand(KIND, object(None, "homeless", &json!({})), &Limits::default()).unwrap();
        assert!(policy.says.is_err());
    }
}
