//! One look at a workload: what is there now, held against its ledger, and what that adds.
//!
//! Guarantees: the ledger is read before the workload, and the workload and what carries its versions live, so that neither an event that
//! comes late nor another replica can make an old state be recorded as the present one: whoever recorded a newer one meanwhile has moved the
//! ledger on, and the append is refused. What one look adds is stored at once or not at all; a look that found nothing new writes nothing. A
//! ledger that has grown is compacted. Must not: keep anything of the workload.

use std::time::Duration;

use chassis::bus::ReadError;
use contracts::LedgerFact;
use contracts::v1::WorkloadRef;
use jiff::{SignedDuration, Timestamp};
use lastgood_core::configuration::references;
use lastgood_core::ledger::surplus;
use lastgood_core::policy::Effective;

use super::carriers;
use super::digest::digest;
use super::observe::observe;
use super::soak;
use super::wakes::Key;
use super::watch::Watch;
use super::{LedgerView, StoreError};
use crate::cluster::{LookupError, Object};
use crate::configuration::Seen;

/// The shortest time until a look that nothing but the time calls for: clocks differ, and an alert may go on.
const NOT_BEFORE: SignedDuration = SignedDuration::from_secs(1);
/// The longest: the pods' restarts are looked at this often while a version soaks.
const NOT_AFTER: SignedDuration = SignedDuration::from_mins(5);
/// A ledger of so many facts is compacted, whatever they say.
const FACTS: usize = 300;

/// What one look could not do.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookError {
    #[error(transparent)]
    Cluster(#[from] LookupError),
    #[error(transparent)]
    Ledger(#[from] StoreError),
    #[error("the log can't be read")]
    Log(#[from] ReadError),
}

impl Watch {
    /// One look; the digest of what was looked at, or `None` where it is gone.
    pub(super) async fn look(&self, key: &Key) -> Result<Option<u64>, LookError> {
        let (kind, namespace, name) = (key.0, key.1.as_str(), key.2.as_str());
        let workload = self.workload(key);
        let view = self.store.load(&workload).await?;
        let Some(object) = self.cluster.get(kind, namespace, name).await? else { return Ok(None) };
        let terms = (self.terms.of)(kind, &object);
        let digest = digest(kind, &object, &terms);
        if !terms.ledger {
            self.wakes.set(key, None);
            self.referred.set(key, Vec::new());
            return Ok(Some(digest));
        }
        let (carriers, seen) = futures::try_join!(
            async { carriers::list(self.cluster.as_ref(), kind, &object).await.map_err(LookError::from) },
            self.configuration(key, &object, &terms)
        )?;
        let expected = view.sequence;
        let mut facts = observe(&view, &object, &carriers, &seen);
        let view = view.foreseeing(&facts, self.clock.now());
        // Since when an edit runs is told by the stream, and only once it is there: what pods started before it have not read it.
        let just_edited = facts.iter().any(is_edit);
        let proof =
            if just_edited { Vec::new() } else { self.prove(&workload, (kind, &object), &carriers, &view, terms.soak).await? };
        let view = view.foreseeing(&proof, self.clock.now());
        facts.extend(proof);
        self.store.append_after(&workload, expected, &facts).await?;
        tell(key, &facts);
        self.wakes.set(key, self.next_look(&view, terms.soak));
        if is_grown(&view, &terms) {
            self.compact(&workload, &terms).await?;
        }
        Ok(Some(digest))
    }

    fn workload(&self, key: &Key) -> WorkloadRef {
        WorkloadRef {
            cluster: self.name.to_string(),
            namespace: key.1.clone(),
            kind: key.0.name().to_owned(),
            name: key.2.clone(),
        }
    }

    /// What the template refers to, as it is now. Noted before it is read, so that what changes from then on wakes another look.
    async fn configuration(&self, key: &Key, workload: &Object, terms: &Effective) -> Result<Vec<Seen>, LookError> {
        let Some(template) = workload.template() else { return Ok(Vec::new()) };
        self.referred.set(key, references(template).into_iter().map(|reference| (reference.kind, reference.name)).collect());
        Ok(self.reader.running(workload.namespace(), template, terms.into()).await?)
    }

    /// Read again: what is kept is told with the stream's own times.
    async fn compact(&self, workload: &WorkloadRef, terms: &Effective) -> Result<(), LookError> {
        let view = self.store.load(workload).await?;
        let goes = surplus(&view.ledger, terms.keep_versions, terms.soak);
        Ok(self.store.compact(workload, &view, &goes).await?)
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

/// Whether it records an edit that running pods may not have read.
fn is_edit(fact: &LedgerFact) -> bool {
    let LedgerFact::VersionObserved(observed) = fact else { return false };
    observed.version.as_ref().is_some_and(|version| version.in_place)
}

fn is_grown(view: &LedgerView, terms: &Effective) -> bool {
    let keep = terms.keep_versions;
    // Counted first: to find out which would go costs more, and is asked after each look.
    let many = view.ledger.versions.len() > keep && surplus(&view.ledger, keep, terms.soak).len() > keep / 4;
    many || view.facts > FACTS
}

fn tell(key: &Key, facts: &[LedgerFact]) {
    for fact in facts {
        metrics::counter!("lastgood_ledger_facts_total", "type" => fact.event_type()).increment(1);
        tracing::debug!(kind = %key.0, namespace = key.1, name = key.2, fact = fact.event_type(), "ledger");
    }
}
