//! Watches: the log of the store as a stream of JSON lines.
//!
//! Guarantees: every matching change after the asked-for version comes once and in order; a watch that has fallen out of
//! the log ends with a `410` error event. A stream ends at its timeout, or when the cluster becomes unavailable.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::{self, Body, Form};
use super::verbs::Target;
use crate::sim::Shared;
use crate::sim::error::ApiError;
use crate::sim::head::Head;
use crate::sim::json::Json as _;
use crate::sim::kinds::Kind;
use crate::sim::selector::Selection;
use crate::sim::store::{Change, Op};

/// How long a watch lasts that doesn't say how long.
const LONGEST: Duration = Duration::from_mins(30);
/// How often a watch that wants bookmarks gets one.
const BOOKMARKS: Duration = Duration::from_secs(10);

struct Watch {
    shared: Arc<Shared>,
    head: Arc<Head>,
    kind: Arc<Kind>,
    namespace: Option<String>,
    name: String,
    selection: Selection,
    form: Form,
    cursor: u64,
    ready: VecDeque<Bytes>,
    bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
    over: bool,
}

/// Starts a watch of a collection, or of the one object called `name`.
pub(super) fn watch(target: &Target<'_>, name: &str) -> Result<Response<Body>, ApiError> {
    let call = target.call;
    let shared = Arc::clone(target.shared);
    let timeout = call.parameter("timeoutSeconds").parse().map_or(LONGEST, Duration::from_secs);
    let from = call.parameter("resourceVersion");
    let parsed: u64 = if from.is_empty() {
        0
    } else {
        let invalid = |_| ApiError::bad_request(format!("invalid resource version {from:?}"));
        from.parse().map_err(invalid)?
    };
    let mut watch = Watch {
        head: shared.store.head(),
        kind: Arc::clone(&target.kind),
        namespace: target.namespace().map(str::to_owned),
        name: name.to_owned(),
        selection: call.selection()?,
        form: Form::of(call),
        cursor: parsed,
        ready: VecDeque::new(),
        bookmarks: call.truth("allowWatchBookmarks"),
        next_bookmark: Instant::now() + BOOKMARKS,
        end: Instant::now() + timeout,
        over: false,
        shared,
    };
    let initial = call.truth("sendInitialEvents");
    if initial || parsed == 0 {
        watch.present(initial);
    }
    let stream = futures::stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((Ok(Frame::data(line)), watch))
    });
    Ok(answer::with_body(200, "application/json", StreamBody::new(stream).boxed()))
}

impl Watch {
    /// Sends what is there now as if it had just been added.
    fn present(&mut self, marked: bool) {
        let (version, objects) = self.shared.store.list(&self.kind.id, self.namespace.as_deref());
        self.cursor = version;
        for object in &objects {
            if self.selects(object) {
                self.push("ADDED", &self.form.object(&self.kind, object));
            }
        }
        if marked && self.bookmarks {
            self.bookmark(true);
        }
    }

    fn selects(&self, object: &Value) -> bool {
        (self.name.is_empty() || object.text("/metadata/name") == self.name) && self.selection.matches(object)
    }

    fn push(&mut self, kind: &str, object: &Value) {
        let mut line = format!("{{\"type\":\"{kind}\",\"object\":").into_bytes();
        serde_json::to_writer(&mut line, object).expect("a value can always be written to memory");
        line.extend_from_slice(b"}\n");
        self.ready.push_back(line.into());
    }

    fn bookmark(&mut self, end_of_initial: bool) {
        let mut metadata = json!({"creationTimestamp": null, "resourceVersion": self.cursor.to_string()});
        if end_of_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": self.kind.name, "apiVersion": self.kind.api_version(), "metadata": metadata});
        let object = match self.form {
            Form::Whole => object,
            form => form.object(&self.kind, &Arc::new(object)).into_owned(),
        };
        self.push("BOOKMARK", &object);
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.over {
                return None;
            }
            // Read before catching up, so that a change in between wakes us again.
            let seen = self.head.now();
            self.catch_up();
            if !self.ready.is_empty() || self.over {
                continue;
            }
            tokio::select! {
                biased;
                () = self.head.beyond(seen) => {}
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark = Instant::now() + BOOKMARKS;
                    self.bookmark(false);
                }
                () = tokio::time::sleep_until(self.end) => return None,
            }
        }
    }

    fn catch_up(&mut self) {
        match self.shared.store.changes(self.cursor) {
            Ok(changes) => {
                for change in changes {
                    self.cursor = change.version;
                    self.tell(&change);
                }
            }
            Err(expired) => {
                self.push("ERROR", &expired.status());
                self.over = true;
            }
        }
    }

    fn tell(&mut self, change: &Change) {
        let object = &change.object;
        let here = change.kind.id == self.kind.id
            && self.namespace.as_deref().is_none_or(|namespace| namespace == object.text("/metadata/namespace"));
        if !here {
            return;
        }
        let selected = self.selects(object);
        // A selector can let an object come and go without its being created or deleted.
        let before = change.old.as_ref().map_or(change.op == Op::Deleted && selected, |old| self.selects(old));
        let kind = match (before, selected && change.op != Op::Deleted) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return,
        };
        self.push(kind, &self.form.object(&self.kind, object));
    }
}
