//! The watches: workloads, what carries their versions, and pods, cut down to what `view` keeps as they arrive (`raw`).
//!
//! Guarantees: a watch that breaks is taken up again with a backoff and a relist. Must not: write, or hold more than a page of whole
//! objects.

use std::fmt::Debug;

use futures::stream::{BoxStream, Stream, StreamExt, select_all};
use kube::core::NamespaceResourceScope;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::raw::{RawControllerRevision, RawDaemonSet, RawDeployment, RawPod, RawReplicaSet, RawStatefulSet, Slim};
use super::view::{Change, Pod, Revision, Workload};

/// Whole objects held while listing.
const PAGE: u32 = 100;

/// A change of anything that is watched; of what comes by several watches with the number of the watch.
#[derive(Debug)]
pub(super) enum Any {
    Workload(usize, Change<Workload>),
    Revision(usize, Change<Revision>),
    Pod(Change<Pod>),
}

/// How many watches workloads come by.
pub(super) const WORKLOADS: usize = 3;
/// How many watches revisions come by.
pub(super) const REVISIONS: usize = 2;

/// All changes, each with the index of its scope: one a namespace, or a single one for all namespaces where none is given.
pub(super) fn changes(client: &Client, namespaces: &[String]) -> BoxStream<'static, (usize, Any)> {
    let scopes: Vec<Option<&str>> =
        if namespaces.is_empty() { vec![None] } else { namespaces.iter().map(|name| Some(name.as_str())).collect() };
    let streams = scopes.into_iter().enumerate().flat_map(|(scope, namespace)| {
        [
            watch::<RawDeployment, Workload>(client, namespace).map(move |change| (scope, Any::Workload(0, change))).boxed(),
            watch::<RawStatefulSet, Workload>(client, namespace).map(move |change| (scope, Any::Workload(1, change))).boxed(),
            watch::<RawDaemonSet, Workload>(client, namespace).map(move |change| (scope, Any::Workload(2, change))).boxed(),
            watch::<RawReplicaSet, Revision>(client, namespace).map(move |change| (scope, Any::Revision(0, change))).boxed(),
            watch::<RawControllerRevision, Revision>(client, namespace)
                .map(move |change| (scope, Any::Revision(1, change)))
                .boxed(),
            watch::<RawPod, Pod>(client, namespace).map(move |change| (scope, Any::Pod(change))).boxed(),
        ]
    });
    select_all(streams).boxed()
}

fn watch<K, T>(client: &Client, namespace: Option<&str>) -> impl Stream<Item = Change<T>> + Send + 'static
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Slim<T> + Clone + DeserializeOwned + Debug + Send + 'static,
    T: Send + 'static,
{
    let api: Api<K> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let config = watcher::Config::default().any_semantic().page_size(PAGE);
    watcher(api, config).default_backoff().filter_map(async |event| match event {
        Ok(event) => Some(change(event)),
        Err(error) => {
            tracing::warn!(kind = %K::kind(&()), error = &error as &dyn std::error::Error, "the watch broke; it is taken up again");
            metrics::counter!("lastgood_detector_watch_errors_total", "kind" => K::kind(&()).into_owned()).increment(1);
            None
        }
    })
}

fn change<K: Resource + Slim<T>, T>(event: watcher::Event<K>) -> Change<T> {
    match event {
        watcher::Event::Init => Change::Begin,
        watcher::Event::InitApply(object) => Change::Listed(object.slim()),
        watcher::Event::InitDone => Change::Complete,
        watcher::Event::Apply(object) => {
            let key = object.key();
            object.slim().map_or(Change::Gone(key), Change::Changed)
        }
        watcher::Event::Delete(object) => Change::Gone(object.key()),
    }
}
