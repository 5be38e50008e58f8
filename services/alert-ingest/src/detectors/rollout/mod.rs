//! The detector of rollouts that fail by themselves: `ProgressDeadlineExceeded` (of a StatefulSet or DaemonSet, which knows no such thing: pods
//! that never get ready), crash loops and images that can't be pulled, of the newest revision of every workload it may see.
//!
//! `watch` keeps `view`, `judge` says what is wrong with one workload, `tracker` what begins and ends, `history` what was told before a
//! restart. Guarantees: one occurrence a (workload, template, reason), whatever else changes its generation; what can't be stored is kept
//! and tried again; what ended while this was down is ended at the start; what goes on is told again every `repeat`.
//! Must not: end anything before everything was listed once, or write to the cluster.

pub mod alerts;
pub mod history;
pub mod judge;
mod raw;
mod scope;
pub mod tracker;
pub mod view;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chassis::clock::Clock;
use contracts::v1::{Alert, AlertNotification, AlertStatus};
use futures::StreamExt;
use jiff::Timestamp;
use kube::Client;
use tokio_util::sync::CancellationToken;

pub use alerts::SOURCE;
use history::{CHANGES, COMPLETE, History};
use judge::Patience;
use scope::Scope;
use tracker::{Settings, Tracker};
use view::{Kind, Pod, Revision};

use crate::config;
use crate::parts;
use crate::store::{Store, store_within};

/// Up to this many firing alerts are all told with each change, as Alertmanager tells a group.
const GROUP: usize = 100;
/// How long after a failure the store is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long one try may take.
const STORE: Duration = Duration::from_secs(5);
/// The same notification within this long is one message.
const WINDOW: Duration = Duration::from_mins(1);
/// The labels that name a workload.
const WORKLOAD_LABELS: [&str; 3] = [Kind::Deployment.label(), Kind::StatefulSet.label(), Kind::DaemonSet.label()];
/// Changes taken at once before anything is judged.
const CHUNK: usize = 256;

/// What the detector needs.
pub struct Rollouts {
    /// Where alerts go.
    pub store: Arc<dyn Store>,
    /// What was told before.
    pub history: Arc<dyn History>,
    /// The cluster.
    pub client: Client,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The cluster's name.
    pub cluster: String,
    /// The label for it, where one is configured.
    pub cluster_label: Option<String>,
    /// The section `detector`.
    pub config: config::Detector,
}

struct Running {
    parts: Rollouts,
    group: String,
    scopes: Vec<Scope>,
    tracker: Tracker,
    restored: bool,
    /// To judge at the next opportunity.
    dirty: BTreeSet<String>,
    /// To judge again at a time, by workload.
    rechecks: BTreeMap<String, Timestamp>,
    /// Not stored yet, the newest of each fingerprint.
    outbox: BTreeMap<String, Alert>,
    repeat_at: Timestamp,
    retry_at: Option<Timestamp>,
}

impl Rollouts {
    /// Watches until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut changes = watch::changes(&self.client, &self.config.namespaces).ready_chunks(CHUNK);
        let mut running = Running::new(self);
        loop {
            let pause = running.pause();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                chunk = changes.next() => match chunk {
                    Some(chunk) => running.apply(chunk),
                    None => return,
                },
                () = tokio::time::sleep(pause) => {}
            }
            running.step().await;
        }
    }
}

impl Running {
    fn new(parts: Rollouts) -> Self {
        let namespaces = &parts.config.namespaces;
        let scopes = (0..namespaces.len().max(1)).map(|_| Scope::default()).collect();
        let mut group = format!("rollout/{}", parts.cluster);
        if !namespaces.is_empty() {
            group = format!("{group}/{}", namespaces.join(","));
        }
        let (cluster, cluster_label) = (parts.cluster.clone(), parts.cluster_label.clone());
        let tracker = Tracker::new(Settings { cluster, cluster_label, grace: parts.config.grace });
        let repeat_at = later(parts.clock.now(), parts.config.repeat);
        Self {
            parts,
            group,
            scopes,
            tracker,
            restored: false,
            dirty: BTreeSet::new(),
            rechecks: BTreeMap::new(),
            outbox: BTreeMap::new(),
            repeat_at,
            retry_at: None,
        }
    }

    fn apply(&mut self, changes: Vec<(usize, watch::Any)>) {
        for (scope, change) in changes {
            let touched = self.scopes[scope].apply(change);
            self.dirty.extend(touched);
        }
    }

    /// How long nothing is to be done when nothing changes.
    fn pause(&self) -> Duration {
        let times = self.rechecks.values().copied().chain(self.retry_at).chain([self.repeat_at]);
        let next = times.min().unwrap_or(self.repeat_at);
        // A clock that goes wrong must not make this spin or sleep for ever.
        let left = Duration::try_from(next.duration_since(self.parts.clock.now())).unwrap_or_default();
        left.clamp(Duration::from_millis(5), Duration::from_mins(1))
    }

    async fn step(&mut self) {
        let now = self.parts.clock.now();
        if !self.scopes.iter().all(Scope::is_complete) || self.retry_at.is_some_and(|at| at > now) && !self.restored {
            return;
        }
        if !self.restored && !self.restore(now).await {
            return;
        }
        let due: Vec<String> = self.rechecks.extract_if(.., |_, at| *at <= now).map(|(uid, _)| uid).collect();
        self.dirty.extend(due);
        for uid in std::mem::take(&mut self.dirty) {
            self.judge(&uid, now);
        }
        let repeat = self.repeat_at <= now;
        if repeat {
            self.repeat_at = later(now, self.parts.config.repeat);
        }
        let may_try = self.retry_at.is_none_or(|at| at <= now);
        if may_try && (!self.outbox.is_empty() || repeat && self.tracker.firing().next().is_some()) {
            self.flush(repeat, now).await;
        }
    }

    /// Takes over what was told before, once everything was listed; then all of it is judged.
    async fn restore(&mut self, now: Timestamp) -> bool {
        match history::firing(&*self.parts.history, &self.group).await {
            Ok(told) => {
                tracing::info!(firing = told.len(), group = %self.group, "the detector takes over what it told before");
                self.tracker.restore(told);
                self.dirty.extend(self.tracker.workloads());
                self.dirty.extend(self.scopes.iter().flat_map(|scope| scope.workloads().cloned()));
                (self.restored, self.retry_at) = (true, None);
            }
            Err(error) => {
                tracing::warn!(%error, "the detector can't know yet what it told before");
                self.retry_at = Some(later(now, RETRY));
            }
        }
        self.restored
    }

    fn judge(&mut self, uid: &str, now: Timestamp) {
        self.rechecks.remove(uid);
        let found = self.scopes.iter().find_map(|scope| Some((scope, scope.workload(uid)?)));
        let news = if let Some((scope, workload)) = found {
            let revisions: Vec<&Revision> = scope.revisions(uid);
            let of_template = revisions.iter().filter(|revision| revision.template_hash == workload.template_hash);
            let pods: Vec<&Pod> = of_template.flat_map(|revision| scope.pods(&revision.uid)).collect();
            let patience = Patience { settle: self.parts.config.settle, progress: self.parts.config.progress };
            let judgement = judge::judge(workload, &revisions, &pods, now, patience);
            let (news, recheck) = self.tracker.observe(workload, &judgement, now);
            self.rechecks.extend(recheck.map(|at| (uid.to_owned(), at)));
            news
        } else {
            self.tracker.gone(uid, now)
        };
        for alert in news {
            let labels = &alert.labels;
            tracing::info!(status = alert.status().as_str_name(), alert = ?labels.get("alertname"), namespace = ?labels.get("namespace"),
                workload = ?WORKLOAD_LABELS.iter().find_map(|label| labels.get(*label)), fingerprint = %alert.fingerprint, "a rollout's state changed");
            self.outbox.insert(alert.fingerprint.clone(), alert);
        }
    }

    /// Tells what is in the outbox, and everything that fires where that is little or due.
    async fn flush(&mut self, repeat: bool, now: Timestamp) {
        let complete = repeat || self.tracker.firing().nth(GROUP).is_none();
        let mut alerts = self.outbox.clone();
        if complete {
            for alert in self.tracker.firing() {
                alerts.entry(alert.fingerprint.clone()).or_insert_with(|| alert.clone());
            }
        }
        let notification = AlertNotification {
            source: SOURCE.to_owned(),
            receiver: if complete { COMPLETE } else { CHANGES }.to_owned(),
            group_key: self.group.clone(),
            alerts: alerts.into_values().collect(),
            part: 1,
            parts: 1,
            ..AlertNotification::default()
        };
        let stored = match parts::split(notification, now, WINDOW) {
            Ok(parts) => store_within(&*self.parts.store, parts, STORE).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match stored {
            Ok(()) => {
                for alert in std::mem::take(&mut self.outbox).into_values() {
                    let status = if alert.status() == AlertStatus::Firing { "firing" } else { "resolved" };
                    metrics::counter!("lastgood_detector_alerts_total", "status" => status).increment(1);
                }
                self.retry_at = None;
            }
            Err(error) => {
                tracing::warn!(%error, waiting = self.outbox.len(), "what the detector found is not stored yet");
                self.retry_at = Some(later(now, RETRY));
                if repeat {
                    self.repeat_at = later(now, RETRY);
                }
            }
        }
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}
