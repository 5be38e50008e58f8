//! The ledger: what is known of each version of a workload, and which one to go back to.
//!
//! Guarantees: a version counts as proved only when it was seen fully available; one that was rolled back from is never chosen.
//! Must not: take a revision number for an identity (an undo renumbers them).

use std::collections::BTreeMap;

use contracts::{LedgerFact, v1};
use jiff::Timestamp;

/// What is known of one version.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// What was recorded when it last became current, with `fully_available_at` where that was seen.
    pub version: v1::Version,
    /// The pod template, JSON.
    pub template_json: Vec<u8>,
    /// spec.template of last-applied-configuration while it ran, JSON; empty when unknown.
    pub last_applied_template_json: Vec<u8>,
    /// metadata.managedFields while it ran, JSON; empty when unknown.
    pub managed_fields_json: Vec<u8>,
    /// The sequence at which it was last seen to become current: what "newest" means.
    pub last_current: u64,
    /// When that was.
    pub last_current_at: Timestamp,
    /// The incident that rolled back from it.
    pub rolled_back_from: Option<String>,
}

/// The fold of a workload's ledger facts, by template hash.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ledger {
    /// Every version that was seen.
    pub versions: BTreeMap<String, Known>,
}

/// Which version to go back to.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice<'a> {
    /// This one, and why.
    Chosen(&'a Known, String),
    /// None; what was looked at and why each was refused.
    Missing(Vec<String>),
}

/// The ledger after one more fact; `sequence` and `at` are the stream's.
#[must_use]
pub fn evolve(mut ledger: Ledger, sequence: u64, at: Timestamp, fact: &LedgerFact) -> Ledger {
    match fact {
        LedgerFact::VersionObserved(observed) => observe(&mut ledger, sequence, at, observed),
        LedgerFact::VersionAvailable(available) => {
            if let Some(known) = ledger.versions.get_mut(&available.template_hash) {
                known.version.fully_available_at.get_or_insert_with(|| contracts::time::to_proto(at));
            }
        }
        LedgerFact::VersionRolledBackFrom(bad) => {
            if let Some(known) = ledger.versions.get_mut(&bad.template_hash) {
                known.rolled_back_from = Some(bad.incident.clone());
            }
        }
        LedgerFact::PauseSwitched(_) => {}
    }
    ledger
}

fn observe(ledger: &mut Ledger, sequence: u64, at: Timestamp, observed: &v1::VersionObserved) {
    let Some(version) = &observed.version else { return };
    let before = ledger.versions.get(&version.template_hash);
    let mut version = version.clone();
    if let Some(before) = before {
        version.fully_available_at = before.version.fully_available_at;
        version.first_seen = before.version.first_seen;
    } else {
        version.first_seen.get_or_insert_with(|| contracts::time::to_proto(at));
    }
    let kept = |new: &Vec<u8>, old: Option<&Vec<u8>>| if new.is_empty() { old.cloned().unwrap_or_default() } else { new.clone() };
    let known = Known {
        template_json: kept(&observed.template_json, before.map(|b| &b.template_json)),
        last_applied_template_json: kept(&observed.last_applied_template_json, before.map(|b| &b.last_applied_template_json)),
        managed_fields_json: kept(&observed.managed_fields_json, before.map(|b| &b.managed_fields_json)),
        rolled_back_from: before.and_then(|b| b.rolled_back_from.clone()),
        last_current: sequence,
        last_current_at: at,
        version,
    };
    ledger.versions.insert(known.version.template_hash.clone(), known);
}

impl Ledger {
    /// The newest version that has proved itself and is not the current one.
    #[must_use]
    pub fn choose(&self, current_hash: &str) -> Choice<'_> {
        let mut newest_first: Vec<_> =
            self.versions.values().filter(|known| known.version.template_hash != current_hash).collect();
        newest_first.sort_by_key(|known| std::cmp::Reverse(known.last_current));
        let mut refused = Vec::new();
        for known in newest_first {
            match refusal(known) {
                Some(why) => refused.push(format!("{}: {why}", describe(&known.version))),
                None => return Choice::Chosen(known, evidence(known)),
            }
        }
        if refused.is_empty() {
            refused.push("no other version of this workload was ever seen".to_owned());
        }
        Choice::Missing(refused)
    }
}

fn refusal(known: &Known) -> Option<String> {
    if let Some(incident) = &known.rolled_back_from {
        return Some(format!("was rolled back from by {incident}"));
    }
    if known.version.fully_available_at.is_none() {
        return Some("was never seen fully available".to_owned());
    }
    known.template_json.is_empty().then(|| "its pod template was not recorded".to_owned())
}

fn evidence(known: &Known) -> String {
    let since = contracts::time::from_proto(known.version.fully_available_at.as_ref());
    since.map_or_else(String::new, |at| format!("seen fully available at {at:.0}"))
}

/// A version for people: its images, and the beginning of its hash.
#[must_use]
pub fn describe(version: &v1::Version) -> String {
    let images: Vec<_> = version.images.iter().map(|image| image.image.as_str()).collect();
    let hash: String = version.template_hash.chars().take(10).collect();
    format!("{} ({hash})", images.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(hash: &str) -> LedgerFact {
        v1::VersionObserved {
            version: Some(v1::Version { template_hash: hash.into(), ..Default::default() }),
            template_json: b"{}".to_vec(),
            ..Default::default()
        }
        .into()
    }

    fn available(hash: &str) -> LedgerFact {
        v1::VersionAvailable { template_hash: hash.into(), replicas: 1 }.into()
    }

    fn bad(hash: &str) -> LedgerFact {
        v1::VersionRolledBackFrom { template_hash: hash.into(), incident: "inc_1".into() }.into()
    }

    fn fold(facts: &[LedgerFact]) -> Ledger {
        (1..).zip(facts).fold(Ledger::default(), |ledger, (sequence, fact)| evolve(ledger, sequence, Timestamp::UNIX_EPOCH, fact))
    }

    fn chosen(facts: &[LedgerFact], current: &str) -> Option<String> {
        match fold(facts).choose(current) {
            Choice::Chosen(known, _) => Some(known.version.template_hash.clone()),
            Choice::Missing(_) => None,
        }
    }

    #[test]
    fn the_newest_proved_version_is_chosen() {
        let facts = [observed("a"), available("a"), observed("b"), available("b"), observed("c")];
        assert_eq!(chosen(&facts, "c").as_deref(), Some("b"));
        assert_eq!(chosen(&facts, "b").as_deref(), Some("a"));
    }

    #[test]
    fn a_version_that_was_rolled_back_from_is_passed_over() {
        let facts = [observed("a"), available("a"), observed("b"), available("b"), bad("b"), observed("a"), observed("c")];
        assert_eq!(chosen(&facts, "c").as_deref(), Some("a"));
    }

    #[test]
    fn an_unproved_version_is_no_target_and_the_reason_is_told() {
        let ledger = fold(&[observed("a"), observed("b")]);
        let Choice::Missing(refused) = ledger.choose("b") else { panic!("nothing proved itself") };
        assert_eq!(refused, [" (a): was never seen fully available"]);
    }

    #[test]
    fn becoming_current_again_makes_it_the_newest_and_keeps_its_proof() {
        let facts = [observed("a"), available("a"), observed("b"), available("b"), observed("a"), observed("c")];
        assert_eq!(chosen(&facts, "c").as_deref(), Some("a"));
    }
}
