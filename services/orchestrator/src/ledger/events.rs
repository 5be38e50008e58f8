//! The events of one kind of workload.
//!
//! Guarantees: they never end; whenever the policies come to say something else, all of the kind is listed once more, so that each workload can
//! be held against what is in force for it now. That costs a list by pages, however many policies changed meanwhile, and no memory. Must
//! not: judge what has changed; who hears an event knows what it saw before.

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tokio::sync::watch as signal;

use crate::cluster::Kind;

/// Objects a page of a list: what bounds memory.
const PAGE: u32 = 50;

type Events = BoxStream<'static, watcher::Result<Event<DynamicObject>>>;

/// The workloads of this kind, as they are and as they change; all of them anew with each of `changes`.
pub(super) fn events(
    client: &Client,
    kind: Kind,
    changes: signal::Receiver<u64>,
) -> BoxStream<'static, (Kind, Event<DynamicObject>)> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind.name()));
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let first = listing(&api);
    let step = move |(mut events, mut changes): (Events, signal::Receiver<u64>)| {
        let api = api.clone();
        async move {
            loop {
                tokio::select! {
                    biased;
                    // Nobody can change them any more, otherwise.
                    Ok(()) = changes.changed() => events = listing(&api),
                    event = events.next() => match event? {
                        Ok(event) => return Some(((kind, event), (events, changes))),
                        Err(error) => tracing::warn!(%kind, %error, "the watch is interrupted"),
                    },
                }
            }
        }
    };
    stream::unfold((first, changes), step).boxed()
}

fn listing(api: &Api<DynamicObject>) -> Events {
    watcher::watcher(api.clone(), watcher::Config::default().page_size(PAGE)).default_backoff().boxed()
}
