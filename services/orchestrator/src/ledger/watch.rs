//! Watches the workloads (`Kind::WORKLOADS`) and has their ledgers kept, each by looks (`look`).
//!
//! Guarantees: at the end of a version's soak its workload is looked at again, also if nothing happened; so it is when the content of what its
//! template refers to changes, and when the policies come to say something else of it. Memory holds a few numbers and names a workload,
//! nothing of what ConfigMaps and Secrets hold, and nothing of workloads that are gone. An outage delays and loses nothing that is still so
//! afterwards. Must not: claim what it did not see.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chassis::bus::AppendError;
use chassis::clock::Clock;
use chassis::incidents::{Incidents, LoadError};
use contracts::LedgerFact;
use contracts::subjects::streams;
use contracts::v1::WorkloadRef;
use futures::StreamExt;
use futures::stream::{self, Stream, select_all};
use kube::Client;
use kube::api::DynamicObject;
use kube::runtime::watcher::Event;
use lastgood_core::policy::Effective;
use lastgood_core::template;
use tokio::sync::watch as signal;
use tokio_util::sync::CancellationToken;

use super::availability::is_available;
use super::busy::Busy;
use super::carriers::{Carrier, by_version};
use super::configured::{Referred, changes};
use super::digest::digest;
use super::events::events;
use super::look::LookError;
use super::marks::Marks;
use super::soak::{self, Stand};
use super::wakes::{Key, Wakes};
use super::{LedgerStore, LedgerView, StoreError};
use crate::cluster::{Kind, Lookup, Object, Selector};
use crate::configuration::Reader;

/// Looks at the same time, for each of what calls for them: events, changed configuration, the time.
const CONCURRENT: usize = 4;
/// The longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What is in force for a workload as it is now.
pub type InForce = dyn Fn(Kind, &Object) -> Effective + Send + Sync;

/// The policies, as the ledger asks for them.
#[derive(Clone)]
pub struct Terms {
    /// What is in force for each workload.
    pub of: Arc<InForce>,
    /// Changes whenever that may be something else for some workload.
    pub changes: signal::Receiver<u64>,
}

/// Why the watch ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The stream of events ended by itself.
    #[error("the watch of workloads ended by itself")]
    Ended,
}

/// What a watch needs.
#[derive(Clone)]
pub(super) struct Watch {
    pub(super) cluster: Arc<dyn Lookup>,
    pub(super) store: LedgerStore,
    pub(super) incidents: Incidents,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) terms: Terms,
    pub(super) name: Arc<str>,
    pub(super) marks: Arc<Marks>,
    pub(super) busy: Arc<Busy>,
    pub(super) wakes: Arc<Wakes>,
    pub(super) referred: Arc<Referred>,
    pub(super) reader: Reader,
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
    let (marks, wakes, referred, busy) = (Arc::default(), Arc::default(), Arc::default(), Arc::default());
    let name = cluster_name.into();
    let watch = Watch {
        cluster: Arc::clone(&reader.cluster),
        reader,
        store,
        incidents,
        clock,
        terms,
        name,
        marks,
        busy,
        wakes,
        referred,
    };
    let not_listed = Mutex::new(BTreeSet::from(Kind::WORKLOADS));
    let (watch, stop, listed, not_listed) = (&watch, &stopping, &listed, &not_listed);
    // In the events' order, which looks at the same time do not keep.
    let events = select_all(Kind::WORKLOADS.map(|kind| events(&client, kind, watch.terms.changes.clone())))
        .inspect(|(kind, event)| watch.note_list(*kind, event));
    let configured = changes(&client, &watch.referred, watch.reader.reads_secrets())
        .for_each_concurrent(CONCURRENT, |key| watch.look_until_done(key, stop));
    let looks = events.for_each_concurrent(CONCURRENT, |(kind, event)| async move {
        match event {
            Event::Apply(object) | Event::InitApply(object) => watch.look_if_new(kind, object, stop).await,
            Event::Delete(object) => watch.forget(&key(kind, &object)),
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
        () = watch.due(stop).for_each_concurrent(CONCURRENT, |key| watch.look_until_done(key, stop)) => Ok(()),
    }
}

fn key(kind: Kind, object: &DynamicObject) -> Key {
    let (namespace, name) = (object.metadata.namespace.clone(), object.metadata.name.clone());
    Arc::new((kind, namespace.unwrap_or_default(), name.unwrap_or_default()))
}

impl Watch {
    fn forget(&self, key: &Key) {
        self.wakes.set(key, None);
        self.referred.set(key, Vec::new());
        self.marks.set(key, None);
    }

    /// Notes what a list holds, and forgets what it holds no more: whatever was deleted while nobody watched is told of by nobody.
    fn note_list(&self, kind: Kind, event: &Event<DynamicObject>) {
        match event {
            Event::Init => self.marks.list_begins(kind),
            Event::InitApply(object) => self.marks.listed(&key(kind, object)),
            Event::InitDone => {
                for gone in self.marks.list_ends(kind) {
                    self.forget(&gone);
                }
            }
            Event::Apply(_) | Event::Delete(_) => {}
        }
    }

    /// What is to be looked at because of the time, as it comes, until told to stop.
    fn due<'a>(&'a self, stopping: &'a CancellationToken) -> impl Stream<Item = Key> + 'a {
        stream::unfold((), move |()| async move {
            while !stopping.is_cancelled() {
                if let Some(key) = self.wakes.take(self.clock.now()) {
                    return Some((key, ()));
                }
                let left = self.wakes.first().map(|at| at.duration_since(self.clock.now()));
                let left = left.map_or(Duration::from_hours(1), |left| Duration::try_from(left).unwrap_or_default());
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = self.wakes.changed() => {}
                    () = tokio::time::sleep(left) => {}
                }
            }
            None
        })
    }

    async fn look_if_new(&self, kind: Kind, object: DynamicObject, stopping: &CancellationToken) {
        let key = self.marks.known(key(kind, &object));
        let Ok(object) = serde_json::to_value(object).map(Object::new) else { return };
        if self.marks.is(&key, digest(kind, &object, &(self.terms.of)(kind, &object))) {
            return;
        }
        drop(object);
        self.look_until_done(key, stopping).await;
    }

    /// Looks until it succeeded once, by this look or by the one that follows the one that is under way.
    async fn look_until_done(&self, key: Key, stopping: &CancellationToken) {
        if !self.busy.begins(&key) {
            return;
        }
        loop {
            self.look_at(&key, stopping).await;
            if !self.busy.follows(&key) {
                return;
            }
        }
    }

    async fn look_at(&self, key: &Key, stopping: &CancellationToken) {
        let mut pause = Duration::from_millis(100);
        while !stopping.is_cancelled() {
            match self.look(key).await {
                Ok(Some(digest)) => return self.marks.set(key, Some(digest)),
                Ok(None) => return self.forget(key),
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

    /// How the current version stands, where that is still to be seen.
    pub(super) async fn prove(
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
}
