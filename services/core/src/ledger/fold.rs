//! From facts to what is known.
//!
//! Guarantees: total; a fact about a version that was never observed changes nothing; recording the current version again, with more known
//! of it, keeps its proof; the images of a version are those that proved themselves; a version's soak ends with its time as the current one. Must not: judge.

use contracts::v1::{self, Standing};
use contracts::{LedgerFact, time};
use jiff::Timestamp;

use super::Ledger;
use super::known::{Known, Marked, Soaked, Trouble};
use crate::configuration::id_of;
use crate::image;

/// How many troubles are kept of a version.
const TROUBLES: usize = 10;

/// The ledger after one more fact; `sequence` and `at` are the stream's.
#[must_use]
pub fn evolve(mut ledger: Ledger, sequence: u64, at: Timestamp, fact: &LedgerFact) -> Ledger {
    match fact {
        LedgerFact::VersionObserved(observed) => observe(&mut ledger, sequence, at, observed),
        LedgerFact::VersionKept(kept) => keep(&mut ledger, sequence, at, kept),
        LedgerFact::PauseSwitched(_) => {}
        other => {
            if let Some(known) = subject(other).and_then(|id| ledger.versions.get_mut(id)) {
                learn(known, at, other);
            }
        }
    }
    ledger
}

/// Which version a fact is about.
fn subject(fact: &LedgerFact) -> Option<&str> {
    Some(match fact {
        LedgerFact::VersionAvailable(f) => &f.template_hash,
        LedgerFact::VersionUnavailable(f) => &f.template_hash,
        LedgerFact::VersionTroubled(f) => &f.template_hash,
        LedgerFact::VersionSoaked(f) => &f.template_hash,
        LedgerFact::VersionRolledBackFrom(f) => &f.template_hash,
        LedgerFact::VersionMarked(f) => &f.template_hash,
        LedgerFact::VersionObserved(_) | LedgerFact::VersionKept(_) | LedgerFact::PauseSwitched(_) => return None,
    })
}

fn learn(known: &mut Known, at: Timestamp, fact: &LedgerFact) {
    match fact {
        LedgerFact::VersionAvailable(f) => {
            known.version.fully_available_at.get_or_insert_with(|| time::to_proto(at));
            known.clean_since = Some(at);
            known.clean_restarts = f.restarts;
            known.clean_replicas = f.replicas;
            if known.soaked.is_none() {
                image::learn(&mut known.version.images, &f.images);
            }
        }
        LedgerFact::VersionUnavailable(_) => known.clean_since = None,
        LedgerFact::VersionTroubled(f) => {
            known.clean_since = None;
            remember(&mut known.troubles, trouble(at, f));
        }
        LedgerFact::VersionSoaked(f) => soak(known, at, f),
        LedgerFact::VersionRolledBackFrom(f) => {
            known.rolled_back_from = Some(f.incident.clone());
            known.clean_since = None;
            // What a person said before it went bad again does not speak for it any more.
            known.marked = known.marked.take().filter(|marked| !marked.good);
        }
        LedgerFact::VersionMarked(f) => known.marked = mark(at, f),
        LedgerFact::VersionObserved(_) | LedgerFact::VersionKept(_) | LedgerFact::PauseSwitched(_) => {}
    }
}

fn trouble(at: Timestamp, fact: &v1::VersionTroubled) -> Trouble {
    Trouble { kind: fact.kind.clone(), detail: fact.detail.clone(), incident: fact.incident.clone(), at }
}

/// One that is told again, about the same incident, is the same trouble.
fn remember(troubles: &mut Vec<Trouble>, trouble: Trouble) {
    let same =
        |known: &Trouble| (&known.kind, &known.detail, &known.incident) == (&trouble.kind, &trouble.detail, &trouble.incident);
    troubles.retain(|known| !same(known));
    troubles.push(trouble);
    let surplus = troubles.len().saturating_sub(TROUBLES);
    troubles.drain(..surplus);
}

fn soak(known: &mut Known, at: Timestamp, fact: &v1::VersionSoaked) {
    let stood = time::duration_from_proto(fact.stood.as_ref()).unwrap_or_default();
    if known.soaked.is_none_or(|before| before.stood <= stood) {
        known.soaked = Some(Soaked { stood, replicas: fact.replicas, restarts: fact.restarts, at });
        // What has proved itself, whatever its tags led to before.
        image::learn(&mut known.version.images, &fact.images);
    }
}

fn mark(at: Timestamp, fact: &v1::VersionMarked) -> Option<Marked> {
    let good = match fact.standing() {
        Standing::Good => true,
        Standing::Bad => false,
        Standing::ByEvidence | Standing::Unspecified => return None,
    };
    Some(Marked { good, who: fact.who.clone(), reason: fact.reason.clone(), at })
}

fn observe(ledger: &mut Ledger, sequence: u64, at: Timestamp, observed: &v1::VersionObserved) {
    let Some(version) = &observed.version else { return };
    let id = id_of(version).to_owned();
    let again = ledger.current.as_ref() == Some(&id);
    if !again {
        for known in ledger.versions.values_mut() {
            known.clean_since = None;
        }
        ledger.current = Some(id.clone());
    }
    let before = ledger.versions.get(&id).cloned().unwrap_or_default();
    let mut version = version.clone();
    version.fully_available_at = before.version.fully_available_at;
    image::learn(&mut version.images, &before.version.images);
    version.in_place = if again { before.version.in_place } else { version.in_place };
    version.first_seen = before.version.first_seen.or(version.first_seen).or_else(|| Some(time::to_proto(at)));
    let kept = |new: &Vec<u8>, old: &Vec<u8>| if new.is_empty() { old.clone() } else { new.clone() };
    let known = Known {
        workload_uid: observed.workload_uid.clone(),
        template_json: kept(&observed.template_json, &before.template_json),
        last_applied_template_json: kept(&observed.last_applied_template_json, &before.last_applied_template_json),
        managed_fields_json: kept(&observed.managed_fields_json, &before.managed_fields_json),
        last_current: sequence,
        last_current_at: at,
        version,
        ..before
    };
    ledger.versions.insert(id, known);
}

/// A version as it was known when the ledger was compacted; whatever was known of it before is in there.
fn keep(ledger: &mut Ledger, sequence: u64, at: Timestamp, kept: &v1::VersionKept) {
    let Some(observed) = &kept.observed else { return };
    let Some(version) = &observed.version else { return };
    let marked_at = time::from_proto(kept.marked_at.as_ref()).unwrap_or(at);
    let mut known = Known {
        version: version.clone(),
        workload_uid: observed.workload_uid.clone(),
        template_json: observed.template_json.clone(),
        last_applied_template_json: observed.last_applied_template_json.clone(),
        managed_fields_json: observed.managed_fields_json.clone(),
        last_current: sequence,
        last_current_at: time::from_proto(kept.last_current_at.as_ref()).unwrap_or(at),
        rolled_back_from: Some(kept.rolled_back_from.clone()).filter(|incident| !incident.is_empty()),
        clean_since: time::from_proto(kept.clean_since.as_ref()),
        clean_restarts: kept.clean_restarts,
        clean_replicas: kept.clean_replicas,
        marked: kept.marked.as_ref().and_then(|fact| mark(marked_at, fact)),
        ..Known::default()
    };
    if let Some(fact) = &kept.soaked {
        soak(&mut known, time::from_proto(kept.soaked_at.as_ref()).unwrap_or(at), fact);
    }
    for told in &kept.troubles {
        let when = time::from_proto(told.at.as_ref()).unwrap_or(at);
        known.troubles.extend(told.fact.as_ref().map(|fact| trouble(when, fact)));
    }
    if kept.current_since.is_some() {
        ledger.current = Some(id_of(version).to_owned());
    }
    ledger.versions.insert(id_of(version).to_owned(), known);
}
