//! Keeping the newest versions and letting the oldest go, so that a ledger does not grow with the years.
//!
//! Guarantees: what is kept folds to the same again (`kept`); the current version and the newest good one are among what is kept; of a bad
//! one that goes, it stays known that it is bad, should it ever come again. Must not: delete; the orchestrator replaces the facts.

use std::collections::BTreeSet;
use std::time::Duration;

use contracts::time;
use contracts::v1::{self, Standing as Said};
use jiff::Timestamp;

use super::known::{Known, Trouble};
use super::{Ledger, Standing};

/// How many bad versions are remembered without what they were.
const REMEMBERED: usize = 200;

/// The versions beyond the newest `keep`, by id; empty where there are no more.
#[must_use]
pub fn surplus(ledger: &Ledger, keep: usize, soak: Duration) -> BTreeSet<String> {
    let mut newest = ledger.newest_first();
    newest.retain(|known| !is_bare(known));
    let target = newest
        .iter()
        .find(|known| Some(known.id()) != ledger.current.as_deref() && matches!(known.standing(soak), Standing::Good(_)));
    let target = target.map(|known| known.id().to_owned());
    let needed = |known: &&&Known| {
        let id = Some(known.id());
        ledger.current.as_deref() == id || target.as_deref() == id
    };
    newest.iter().skip(keep).filter(|known| !needed(known)).map(|known| known.id().to_owned()).collect()
}

/// Whether all that is remembered is that it is bad.
fn is_bare(known: &Known) -> bool {
    known.template_json.is_empty() && is_bad(known)
}

fn is_bad(known: &Known) -> bool {
    matches!(known.standing(Duration::ZERO), Standing::Bad(_))
}

/// The facts that a ledger without these versions is, oldest first; `current_since` is since when the current version runs.
#[must_use]
pub fn kept(ledger: &Ledger, without: &BTreeSet<String>, current_since: Option<Timestamp>) -> Vec<v1::VersionKept> {
    let (mut facts, mut remembered) = (Vec::new(), 0);
    for known in ledger.newest_first() {
        let id = known.id();
        let goes = without.contains(id) || is_bare(known);
        if !goes {
            facts.push(one(known, current_since.filter(|_| ledger.current.as_deref() == Some(id))));
        } else if is_bad(known) && remembered < REMEMBERED {
            remembered += 1;
            facts.push(one(&bare(known), None));
        }
    }
    facts.reverse();
    facts
}

/// What has to stay known of a bad version.
fn bare(known: &Known) -> Known {
    Known {
        template_json: Vec::new(),
        last_applied_template_json: Vec::new(),
        managed_fields_json: Vec::new(),
        troubles: Vec::new(),
        ..known.clone()
    }
}

fn one(known: &Known, current_since: Option<Timestamp>) -> v1::VersionKept {
    let hash = known.id().to_owned();
    let observed = v1::VersionObserved {
        version: Some(known.version.clone()),
        workload_uid: known.workload_uid.clone(),
        template_json: known.template_json.clone(),
        last_applied_template_json: known.last_applied_template_json.clone(),
        managed_fields_json: known.managed_fields_json.clone(),
    };
    let marked = known.marked.as_ref().map(|marked| v1::VersionMarked {
        template_hash: hash.clone(),
        standing: if marked.good { Said::Good } else { Said::Bad }.into(),
        who: marked.who.clone(),
        reason: marked.reason.clone(),
    });
    let soaked = known.soaked.map(|soaked| v1::VersionSoaked {
        template_hash: hash.clone(),
        stood: Some(time::duration_to_proto(soaked.stood)),
        replicas: soaked.replicas,
        restarts: soaked.restarts,
        // They are the version's own by now.
        images: Vec::new(),
    });
    let told = |trouble: &Trouble| v1::TroubleKept {
        at: Some(time::to_proto(trouble.at)),
        fact: Some(v1::VersionTroubled {
            template_hash: hash.clone(),
            kind: trouble.kind.clone(),
            detail: trouble.detail.clone(),
            incident: trouble.incident.clone(),
        }),
    };
    v1::VersionKept {
        observed: Some(observed),
        last_current_at: Some(time::to_proto(known.last_current_at)),
        rolled_back_from: known.rolled_back_from.clone().unwrap_or_default(),
        marked,
        marked_at: known.marked.as_ref().map(|marked| time::to_proto(marked.at)),
        soaked,
        soaked_at: known.soaked.map(|soaked| time::to_proto(soaked.at)),
        troubles: known.troubles.iter().map(told).collect(),
        current_since: current_since.map(time::to_proto),
        clean_since: known.clean_since.map(time::to_proto),
        clean_restarts: known.clean_restarts,
        clean_replicas: known.clean_replicas,
    }
}
