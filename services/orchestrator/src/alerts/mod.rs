//! The handler of alert notifications: each alert gets its disposition, each workload its incident.
//!
//! `mod` reads what is known of each fingerprint and sorts the alerts by what they mean; `route` finds their workloads; `settle` opens and
//! joins incidents; `minor` does the rest (ends, repeats, dismissals); `repeated` notes what fires on for days; `batches`
//! bounds the appends of all of them. Guarantees: handling a
//! notification again adds nothing; a notification of ten thousand alerts takes reads in proportion, a bounded number at a time, and few
//! large appends. Must not: dismiss anything because something is away.

mod batches;
mod minor;
mod repeated;
mod route;
mod settle;

use std::collections::BTreeMap;

use async_trait::async_trait;
use chassis::bus::{Delivery, HandleError, Handler};
use contracts::OccurrenceFact;
use contracts::subjects::{self, streams};
use contracts::v1::{self, WorkloadRef};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use crate::correlate::Workload;
use crate::decision::Engine;
use crate::occurrences::{Known, Meaning, REPEATED, meaning};

pub(crate) use batches::{TRIES, contended};
pub use settle::restored_by;

/// Reads of fingerprints at the same time.
const READS: usize = 64;
/// Workloads looked up or settled at the same time.
const WORKLOADS: usize = 8;

/// Handles `lastgood.alert.>`.
pub struct AlertHandler {
    engine: Engine,
}

/// An alert with what is known of its fingerprint.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) alert: v1::Alert,
    pub(crate) known: Known,
}

/// A notification under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Note<'a> {
    pub(crate) source: &'a str,
    pub(crate) heard_at: Timestamp,
}

/// What is to be done about a notification's alerts.
#[derive(Debug, Default)]
struct Sorted {
    new: Vec<Heard>,
    ended: Vec<Heard>,
    unseen: Vec<Heard>,
    repeats: Vec<Heard>,
    anew: Vec<Heard>,
    /// Repeats that have to be noted.
    stale: Vec<Heard>,
}

impl AlertHandler {
    /// With this engine.
    #[must_use]
    pub const fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[async_trait]
impl Handler for AlertHandler {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let notification: v1::AlertNotification = delivery.decode()?;
        let note = Note { source: &notification.source, heard_at: delivery.stored.at };
        if notification.truncated_alerts > 0 {
            tracing::warn!(source = note.source, left_out = notification.truncated_alerts, "the source left alerts out");
        }
        let mut sorted = self.engine.sort(note, distinct(notification.alerts)).await?;
        // An incident that can't be read, or that a newer binary wrote on, keeps no alert of another one waiting.
        let (anew, mut failures) = Box::pin(self.engine.repeats(note, sorted.repeats)).await;
        sorted.new.extend(anew);
        match self.engine.end_unheard(note, sorted.anew).await {
            Ok(anew) => sorted.new.extend(anew),
            Err(error) => failures.push(error),
        }
        failures.extend(self.engine.note_repeats(note, sorted.stale).await.err());
        failures.extend(self.engine.ends(note, sorted.ended).await);
        failures.extend(self.engine.unseen(note, sorted.unseen).await.err());
        failures.extend(self.engine.route(note, sorted.new).await.err());
        worst(failures)
    }

    /// Notifications of one group keep their order; groups do not wait for each other.
    fn key(&self, delivery: &Delivery) -> String {
        match delivery.decode::<v1::AlertNotification>() {
            Ok(notification) => format!("{}/{}", notification.source, notification.group_key),
            Err(_) => delivery.default_key(),
        }
    }
}

/// One alert a fingerprint: the last one of the notification. A fingerprint that can't be a subject's token is passed over, loudly.
fn distinct(alerts: Vec<v1::Alert>) -> Vec<v1::Alert> {
    let mut by_fingerprint = BTreeMap::new();
    for alert in alerts {
        if subjects::is_token(&alert.fingerprint) {
            by_fingerprint.insert(alert.fingerprint.clone(), alert);
        } else {
            tracing::error!(fingerprint = alert.fingerprint, "an alert's fingerprint can't be used; it is passed over");
            metrics::counter!("lastgood_alerts_unusable_total").increment(1);
        }
    }
    by_fingerprint.into_values().collect()
}

impl Engine {
    /// What is known of a fingerprint.
    pub(crate) async fn known(&self, fingerprint: &str) -> Result<Known, HandleError> {
        let filter = subjects::occurrence_filter(fingerprint);
        let Some(last) = self.bus.last(streams::INCIDENTS, &filter).await? else { return Ok(Known::default()) };
        let fact = OccurrenceFact::decode(last.event_type(), &last.data)?;
        if !matches!(fact, OccurrenceFact::OccurrenceResolved(_) | OccurrenceFact::OccurrenceRepeated(_)) {
            return Ok(Known::default().with(last.sequence, last.at, &fact));
        }
        // Where it went stands before that: the last of each other kind, in their order.
        let mut before = Vec::new();
        let matters = |event_type: &&&str| **event_type != fact.event_type() && **event_type != REPEATED;
        for event_type in OccurrenceFact::EVENT_TYPES.iter().filter(matters) {
            before.extend(self.bus.last(streams::INCIDENTS, &subjects::occurrence(fingerprint, event_type)).await?);
        }
        before.sort_by_key(|stored| stored.sequence);
        let mut known = Known::default();
        for stored in before.iter().filter(|stored| stored.sequence < last.sequence) {
            known = known.with(stored.sequence, stored.at, &OccurrenceFact::decode(stored.event_type(), &stored.data)?);
        }
        Ok(known.with(last.sequence, last.at, &fact))
    }

    /// Reads what is known of each alert, in the given order.
    pub(crate) async fn hear(&self, alerts: Vec<v1::Alert>) -> Result<Vec<Heard>, HandleError> {
        let reads = alerts.into_iter().map(|alert| async move {
            let known = self.known(&alert.fingerprint).await?;
            Ok::<_, HandleError>(Heard { alert, known })
        });
        stream::iter(reads).buffered(READS).try_collect().await
    }

    async fn sort(&self, note: Note<'_>, alerts: Vec<v1::Alert>) -> Result<Sorted, HandleError> {
        let mut sorted = Sorted::default();
        for heard in self.hear(alerts).await? {
            let meaning = meaning(&heard.known, &heard.alert, note.heard_at);
            if matches!(meaning, Meaning::Repeat(_)) && self.nearly_forgotten(note, &heard) {
                sorted.stale.push(heard.clone());
            }
            match meaning {
                Meaning::New => sorted.new.push(heard),
                Meaning::Ended(..) => sorted.ended.push(heard),
                Meaning::EndedUnseen(_) => sorted.unseen.push(heard),
                Meaning::Repeat(Some(_)) => sorted.repeats.push(heard),
                Meaning::Anew => sorted.anew.push(heard),
                Meaning::Repeat(None) | Meaning::Nothing => {}
            }
        }
        Ok(sorted)
    }

    /// A found workload's reference.
    pub(crate) fn reference(&self, workload: &Workload) -> WorkloadRef {
        self.workload_ref(workload.kind, workload.object.namespace(), workload.object.name())
    }
}

/// What the message as a whole comes to when a part of it failed: one workload's trouble keeps no other from being settled.
fn worst(mut failures: Vec<HandleError>) -> Result<(), HandleError> {
    let rank = |error: &HandleError| match error {
        HandleError::Fatal { .. } => 0,
        HandleError::RetryAfter { outage: true, .. } => 1,
        HandleError::RetryAfter { outage: false, .. } => 2,
        HandleError::LeaveAlone { .. } => 3,
        HandleError::DeadLetter { .. } => 4,
    };
    failures.sort_by_key(rank);
    failures.into_iter().next().map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_goes_before_what_would_end_in_a_dead_letter() {
        assert!(worst(Vec::new()).is_ok());
        let failures = vec![HandleError::dead("a"), HandleError::outage("b"), HandleError::retry(std::time::Duration::ZERO, "c")];
        assert!(matches!(worst(failures), Err(HandleError::RetryAfter { outage: true, .. })));
    }

    #[test]
    fn a_fingerprint_counts_once_and_only_if_it_can_be_a_token() {
        let alert = |fingerprint: &str| v1::Alert { fingerprint: fingerprint.into(), ..v1::Alert::default() };
        let kept = distinct(vec![alert("b"), alert("a"), alert("b"), alert("no.token"), alert("")]);
        assert_eq!(kept.iter().map(|alert| alert.fingerprint.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }
}
