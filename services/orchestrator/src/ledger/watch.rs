//! Watches the workloads (`Kind::WORKLOADS`) and keeps their ledgers.
//!
//! Guarantees: each look reads the workload and what carries its versions live, so that events which come late or out of order can't record
//! an old state as the present one; a look that found nothing new writes nothing; at the end of a version's soak it is looked at again, also
//! if nothing happened, and so it is when the content of what its template refers to changes; a ledger that has grown is compacted. Memory
//! holds a few numbers and names a workload, and nothing of what ConfigMaps and Secrets hold. An outage delays and loses nothing
//! that is still so afterwards. Must not: claim what it did not see.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chassis::bus::{AppendError, ReadError};
use chassis::clock::Clock;
use chassis::incidents::{Incidents, LoadError};
use contracts::LedgerFact;
use contracts::subjects::streams;
use contracts::v1::WorkloadRef;
use futures::stream::{BoxStream, select_all};
use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use lastgood_core::configuration::references;
use lastgood_core::ledger::surplus;
use lastgood_core::policy::Effective;
use lastgood_core::template;
use tokio_util::sync::CancellationToken;

use super::availability::{Counts, is_available, is_caught_up};
use super::carriers::{self, Carrier, by_version};
use super::configured::{Referred, changes};
use super::observe::{last_applied_template, observe, template_owners};
use super::soak::{self, Stand};
use super::wakes::{Key, Wakes};
use super::{LedgerStore, LedgerView, StoreError};
use crate::cluster::{Kind, Lookup, LookupError, Object, Selector};
use crate::configuration::{Reader, Seen};

/// Looks at the same time.
const CONCURRENT: usize = 4;
/// Objects a page of the initial list: what bounds memory.
const PAGE: u32 = 50;
/// The longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The shortest time until a look that nothing but the time calls for: clocks differ, and an alert may go on.
const NOT_BEFORE: SignedDuration = SignedDuration::from_secs(1);
/// The longest: the pods' restarts are looked at this often while a version soaks.
const NOT_AFTER: SignedDuration = SignedDuration::from_mins(5);
/// A ledger of so many facts is compacted, whatever they say.
const FACTS: usize = 300;

/// The policy that is in force for a workload.
pub type Terms = Arc<dyn Fn(Kind, &Object) -> Effective + Send + Sync>;

/// Why the watch ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The stream of events ended by itself.
    #[error("the watch of workloads ended by itself")]
    Ended,
}

/// What one look could not do.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Cluster(#[from] LookupError),
    #[error(transparent)]
    Ledger(#[from] StoreError),
    #[error("the log can't be read")]
    Log(#[from] ReadError),
}

/// What a watch needs.
#[derive(Clone)]
struct Watch {
    cluster: Arc<dyn Lookup>,
    store: LedgerStore,
    incidents: Incidents,
    clock: Arc<dyn Clock>,
    terms: Terms,
    name: Arc<str>,
    /// What was last looked at, by workload, as a hash of all that matters here.
    seen: Arc<Mutex<HashMap<Key, u64>>>,
    wakes: Arc<Wakes>,
    referred: Arc<Referred>,
    reader: Reader,
}

/// Watches until told to stop. `cluster_name` is the name in subjects; `listed` is called once everything there was has been looked at.
pub async fn watch(
    client: Client,
    reader: Reader,
    store: LedgerStore,
    terms: Terms,
    cluster_name: &str,
    stopping: CancellationToken,
    listed: impl Fn() + Send + Sync,
) -> Result<(), WatchError> {
    let (incidents, clock) = (Incidents::new(store.bus().clone()), Arc::clone(store.bus().clock()));
    let (seen, wakes, referred) = (Arc::default(), Arc::default(), Arc::default());
    let name = cluster_name.into();
    let watch =
        Watch { cluster: Arc::clone(&reader.cluster), reader, store, incidents, clock, terms, name, seen, wakes, referred };
    let not_listed = Mutex::new(BTreeSet::from(Kind::WORKLOADS));
    let events = select_all(Kind::WORKLOADS.map(|kind| events(&client, kind)));
    let (watch, stop, listed, not_listed) = (&watch, &stopping, &listed, &not_listed);
    let configured = changes(&client, &watch.referred, watch.reader.reads_secrets())
        .for_each_concurrent(CONCURRENT, |key| watch.look_until_done(key, stop));
    let looks = events.for_each_concurrent(CONCURRENT, |(kind, event)| async move {
        match event {
            Event::Apply(object) | Event::InitApply(object) => watch.look_if_new(kind, object, stop).await,
            Event::Delete(object) => watch.forget(kind, &object),
            Event::InitDone => {
                let mut not_listed = not_listed.lock().unwrap_or_else(PoisonError::into_inner);
                if not_listed.remove(&kind) && not_listed.is_empty() {
                    listed();
                }
            }
            Event::Init => {}
        }
    });
    tokio::select! {
        biased;
        () = stopping.cancelled() => Ok(()),
        () = looks => Err(WatchError::Ended),
        () = configured => Err(WatchError::Ended),
        () = watch.wake(stop) => Ok(()),
    }
}

fn events(client: &Client, kind: Kind) -> BoxStream<'static, (Kind, Event<DynamicObject>)> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind.name()));
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    watcher::watcher(api, watcher::Config::default().page_size(PAGE))
        .default_backoff()
        .inspect_err(move |error| tracing::warn!(%kind, %error, "the watch is interrupted"))
        .filter_map(move |event| async move { Some((kind, event.ok()?)) })
        .boxed()
}

impl Watch {
    fn forget(&self, kind: Kind, object: &DynamicObject) {
        let (namespace, name) = (object.metadata.namespace.clone(), object.metadata.name.clone());
        let key = (kind, namespace.unwrap_or_default(), name.unwrap_or_default());
        self.wakes.set(&key, None);
        self.referred.set(&key, Vec::new());
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    /// Looks at what is due, until told to stop.
    async fn wake(&self, stopping: &CancellationToken) {
        while !stopping.is_cancelled() {
            if let Some(key) = self.wakes.take(self.clock.now()) {
                self.look_until_done(key, stopping).await;
                continue;
            }
            let left = self.wakes.first().map(|at| at.duration_since(self.clock.now()));
            let left = left.map_or(Duration::from_hours(1), |left| Duration::try_from(left).unwrap_or_default());
            tokio::select! {
                () = stopping.cancelled() => {}
                () = self.wakes.changed() => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    async fn look_if_new(&self, kind: Kind, object: DynamicObject, stopping: &CancellationToken) {
        let Ok(object) = serde_json::to_value(object).map(Object::new) else { return };
        let key = (kind, object.namespace().to_owned(), object.name().to_owned());
        let known = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if known == Some(digest(kind, &object)) {
            return;
        }
        drop(object);
        self.look_until_done(key, stopping).await;
    }

    /// Looks until it succeeded once.
    async fn look_until_done(&self, key: Key, stopping: &CancellationToken) {
        let mut pause = Duration::from_millis(100);
        while !stopping.is_cancelled() {
            match self.look(&key).await {
                Ok(digest) => {
                    let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                    match digest {
                        Some(digest) => seen.insert(key, digest),
                        None => seen.remove(&key),
                    };
                    return;
                }
                Err(LookError::Ledger(StoreError::Append(AppendError::Lost))) => {}
                // A newer binary's fact: it looks too, and knows more.
                Err(LookError::Ledger(StoreError::Fold(error))) => {
                    tracing::error!(kind = %key.0, namespace = key.1, name = key.2, %error, "this workload's ledger is left alone");
                    return;
                }
                // Too large to store, for instance. Trying on would keep one of the few hands from all other workloads.
                Err(LookError::Ledger(StoreError::Append(AppendError::Refused(reason)))) => {
                    tracing::error!(kind = %key.0, namespace = key.1, name = key.2, reason, "this workload's version can't be recorded");
                    metrics::counter!("lastgood_ledger_refused_total").increment(1);
                    return;
                }
                Err(error) => {
                    tracing::warn!(kind = %key.0, namespace = key.1, name = key.2, error = &error as &dyn std::error::Error, "can't look now");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// One look; the digest of what was looked at, or `None` where it is gone.
    async fn look(&self, key: &Key) -> Result<Option<u64>, LookError> {
        let (kind, namespace, name) = (key.0, key.1.as_str(), key.2.as_str());
        let Some(object) = self.cluster.get(kind, namespace, name).await? else { return Ok(None) };
        let terms = (self.terms)(kind, &object);
        if !terms.ledger {
            self.wakes.set(key, None);
            self.referred.set(key, Vec::new());
            return Ok(Some(digest(kind, &object)));
        }
        let workload = WorkloadRef {
            cluster: self.name.to_string(),
            namespace: namespace.to_owned(),
            kind: kind.name().to_owned(),
            name: name.to_owned(),
        };
        let carriers = carriers::list(self.cluster.as_ref(), kind, &object).await?;
        let view = self.store.load(&workload).await?;
        let seen = self.configuration(key, &object, &terms).await?;
        let mut facts = observe(&view, &object, &carriers, &seen);
        let mut view = self.store.add(&workload, view, &facts).await?;
        let proof = self.prove(&workload, (kind, &object), &carriers, &view, terms.soak).await?;
        if !proof.is_empty() {
            view = self.store.add(&workload, view, &proof).await?;
            facts.extend(proof);
        }
        for fact in &facts {
            metrics::counter!("lastgood_ledger_facts_total", "type" => fact.event_type()).increment(1);
            tracing::debug!(%kind, namespace, name, fact = fact.event_type(), "ledger");
        }
        self.wakes.set(key, self.next_look(&view, terms.soak));
        let goes = surplus(&view.ledger, terms.keep_versions, terms.soak);
        if goes.len() > terms.keep_versions / 4 || view.facts > FACTS {
            self.store.compact(&workload, &view, &goes).await?;
        }
        Ok(Some(digest(kind, &object)))
    }

    /// What the template refers to, as it is now. Noted before it is read, so that what changes from then on wakes another look.
    async fn configuration(&self, key: &Key, deployment: &Object, terms: &Effective) -> Result<Vec<Seen>, LookError> {
        let Some(template) = deployment.template() else { return Ok(Vec::new()) };
        self.referred.set(key, references(template).into_iter().map(|reference| (reference.kind, reference.name)).collect());
        Ok(self.reader.running(deployment.namespace(), template, terms.into()).await?)
    }

    /// How the current version stands, where that is still to be seen.
    async fn prove(
        &self,
        workload: &WorkloadRef,
        (kind, object): (Kind, &Object),
        carriers: &[Carrier],
        view: &LedgerView,
        soak: Duration,
    ) -> Result<Vec<LedgerFact>, LookError> {
        // What was observed just now, of this very template.
        let hash = object.template().map(template::hash).unwrap_or_default();
        let Some(known) = view.current_hash().and_then(|id| view.known(id)).filter(|known| known.version.template_hash == hash)
        else {
            return Ok(Vec::new());
        };
        let nothing_to_see = known.clean_since.is_none() && !is_available(kind, object);
        if soak::is_proved(known, soak) || nothing_to_see {
            return Ok(Vec::new());
        }
        let pods = self.pods(object, carriers, &hash).await?;
        let (now, _) = self.store.bus().server_time(streams::LEDGER).await?;
        let mut stand = Stand::of(kind, object, &pods, self.is_quiet(workload).await?, now);
        stand.available &= soak::took_up(known, view.current_since(known.id()), &pods);
        Ok(soak::prove(known, &stand, soak))
    }

    /// The pods of one version.
    async fn pods(&self, object: &Object, carriers: &[Carrier], hash: &str) -> Result<Vec<Object>, LookError> {
        let carriers = by_version(object, carriers);
        let Some(carrier) = carriers.get(hash) else { return Ok(Vec::new()) };
        let selector = object.selector().unwrap_or_else(Selector::everything);
        let mut pods = self.cluster.list(Kind::Pod, object.namespace(), &selector).await?;
        pods.retain(|pod| carrier.has(pod));
        Ok(pods)
    }

    /// Whether no incident of the workload is open and none of its alerts goes on.
    async fn is_quiet(&self, workload: &WorkloadRef) -> Result<bool, LookError> {
        match self.incidents.latest(workload).await {
            Ok(latest) => Ok(latest.is_none_or(|(_, loaded)| !loaded.incident.is_open() && loaded.incident.is_quiet())),
            Err(LoadError::Read(outage)) => Err(outage.into()),
            // One that can't be read proves nothing; it is given up, or a newer binary looks after it.
            Err(error) => {
                tracing::warn!(namespace = workload.namespace, name = workload.name, %error, "the workload's incident can't be read");
                Ok(false)
            }
        }
    }

    /// When the current version has to be looked at again, whatever happens.
    fn next_look(&self, view: &LedgerView, soak: Duration) -> Option<Timestamp> {
        let known = view.known(view.current_hash()?)?;
        let unread = known.version.in_place;
        if soak::is_proved(known, soak) || (known.version.fully_available_at.is_none() && !unread) {
            return None;
        }
        let now = self.clock.now();
        let soon = now.saturating_add(NOT_BEFORE).unwrap_or(Timestamp::MAX);
        let late = now.saturating_add(NOT_AFTER).unwrap_or(Timestamp::MAX);
        // Without a soak under way an alert may be what it waits for; or pods that restart, which need not show in the workload's status: they
        // are looked for the more rarely, the longer nobody has restarted them.
        let waits = view
            .current_since(known.id())
            .filter(|_| unread)
            .map_or(late, |since| now.saturating_add(now.duration_since(since) / 4).unwrap_or(late));
        Some(soak::due(known, soak).unwrap_or(waits).clamp(soon, late))
    }
}

/// A hash of everything about a workload that a look's result can depend on; status counts only as "available" and "caught up".
fn digest(kind: Kind, workload: &Object) -> u64 {
    let mut hasher = DefaultHasher::new();
    workload.uid().hash(&mut hasher);
    workload.template().map(template::hash).hash(&mut hasher);
    last_applied_template(workload).hash(&mut hasher);
    for (manager, operation, fields) in workload.at("/metadata/managedFields").map(template_owners).unwrap_or_default() {
        (manager, operation, fields.to_string()).hash(&mut hasher);
    }
    // Whoever opts in has copies of the configuration kept from then on.
    workload.annotation(crate::effective::MODE).hash(&mut hasher);
    is_available(kind, workload).hash(&mut hasher);
    is_caught_up(workload).hash(&mut hasher);
    // A resumed rollout makes its ReplicaSet later than the template says.
    workload.at("/spec/paused").and_then(serde_json::Value::as_bool).hash(&mut hasher);
    Counts::of(kind, workload).updated.min(1).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_and_a_read_of_the_same_object_are_the_same() {
        let read = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "uid": "u", "generation": 2,
                "managedFields": [{"manager": "kubectl", "operation": "Update", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
                    "time": "2026-11-21T10:00:00Z", "fieldsV1": {"f:spec": {"f:template": {"f:spec": {".": {}}}}}}]},
            "spec": {"template": {"spec": {"containers": [{"name": "web", "image": "a"}]}}}, "status": {"observedGeneration": 2}});
        let event: DynamicObject = serde_json::from_value(read.clone()).unwrap();
        let digest = |value| digest(Kind::Deployment, &Object::new(value));
        assert_eq!(digest(serde_json::to_value(event).unwrap()), digest(read));
    }

    #[test]
    fn counts_that_prove_nothing_do_not_wake_a_look() {
        let with = |replicas: i64, available: i64| {
            let object = json!({"metadata": {"uid": "u", "generation": 1}, "spec": {"replicas": 3, "template": {}},
                "status": {"observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas, "availableReplicas": available}});
            digest(Kind::Deployment, &Object::new(object))
        };
        assert_eq!(with(2, 1), with(3, 2));
        assert_ne!(with(3, 2), with(3, 3));
    }
}
