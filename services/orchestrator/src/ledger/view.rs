//! A workload's ledger, folded, with what a decision needs besides core's fold: which version runs and since when.
//!
//! Guarantees: recording the current version again, with more known of it, doesn't make it younger. Must not: read anything.

use contracts::v1::RollbackStarted;
use contracts::{LedgerFact, v1};
use jiff::Timestamp;
use lastgood_core::configuration::id_of;
use lastgood_core::ledger::{Known, Ledger, evolve};

/// The fold of a workload's ledger facts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LedgerView {
    /// Core's fold.
    pub ledger: Ledger,
    /// The last fact's sequence: what an append expects.
    pub sequence: u64,
    /// How many facts it was folded from.
    pub facts: usize,
    current: Option<(String, Timestamp)>,
}

impl LedgerView {
    /// With one more fact; `sequence` and `at` are the stream's.
    #[must_use]
    pub fn with(mut self, sequence: u64, at: Timestamp, fact: &LedgerFact) -> Self {
        match fact {
            LedgerFact::VersionObserved(observed) => self.note_current(at, observed),
            LedgerFact::VersionKept(kept) => self.note_kept(kept),
            _ => {}
        }
        Self { ledger: evolve(self.ledger, sequence, at, fact), sequence, facts: self.facts + 1, current: self.current }
    }

    /// As it will be once these facts are stored, which `at` is close to. For what is decided meanwhile: sequences and times are not the
    /// stream's own, and must not be told of or expected.
    #[must_use]
    pub fn foreseeing(self, facts: &[LedgerFact], at: Timestamp) -> Self {
        facts.iter().fold(self, |view, fact| {
            let sequence = view.sequence + 1;
            view.with(sequence, at, fact)
        })
    }

    fn note_current(&mut self, at: Timestamp, observed: &v1::VersionObserved) {
        let Some(version) = &observed.version else { return };
        let id = id_of(version).to_owned();
        if self.current_hash() == Some(&id) {
            return;
        }
        // A version seen for the first time began when its ReplicaSet did; one that came back began when it was seen to.
        let new = !self.ledger.versions.contains_key(&id);
        let begun = contracts::time::from_proto(version.first_seen.as_ref()).filter(|begun| new && *begun < at).unwrap_or(at);
        self.current = Some((id, begun));
    }

    fn note_kept(&mut self, kept: &v1::VersionKept) {
        let version = kept.observed.as_ref().and_then(|observed| observed.version.as_ref());
        let since = contracts::time::from_proto(kept.current_since.as_ref());
        if let (Some(version), Some(since)) = (version, since) {
            self.current = Some((id_of(version).to_owned(), since));
        }
    }

    /// With a rollback that its own mark may lag behind: what the log says was begun must never be gone back to.
    #[must_use]
    pub fn knowing_of(mut self, incident: &str, started: &RollbackStarted) -> Self {
        let Some(known) = self.ledger.versions.get_mut(rolled_back_from(started)) else { return self };
        if known.rolled_back_from.as_deref() != Some(incident) {
            // What a person said before that speaks for it no more.
            known.marked = known.marked.take().filter(|marked| !marked.good);
            known.rolled_back_from = Some(incident.to_owned());
        }
        self
    }

    /// The versions that have this template, each with another configuration.
    pub fn of_template(&self, hash: &str) -> impl Iterator<Item = &Known> {
        self.ledger.versions.values().filter(move |known| known.version.template_hash == hash)
    }

    /// Whether the configuration of what runs with this template was edited after that time, as far as was seen: since then another version
    /// of the very template was current.
    #[must_use]
    pub fn edited_since(&self, template_hash: &str, at: Timestamp) -> bool {
        let current = self.current_hash().and_then(|id| self.known(id));
        current.filter(|current| current.version.template_hash == template_hash).is_some_and(|current| {
            self.of_template(template_hash).any(|other| other.id() != current.id() && other.last_current_at > at)
        })
    }

    /// The id of the version that ran when the ledger was last written.
    #[must_use]
    pub fn current_hash(&self) -> Option<&String> {
        self.current.as_ref().map(|(hash, _)| hash)
    }

    /// Since when this version runs; `None` where it is not the one that the ledger holds for current.
    #[must_use]
    pub fn current_since(&self, hash: &str) -> Option<Timestamp> {
        self.current.as_ref().filter(|(current, _)| current == hash).map(|(_, since)| *since)
    }

    /// What is known of a version.
    #[must_use]
    pub fn known(&self, hash: &str) -> Option<&Known> {
        self.ledger.versions.get(hash)
    }
}

/// The id of the version that an attempt rolls back from.
pub(super) fn rolled_back_from(started: &RollbackStarted) -> &str {
    if started.version.is_empty() { &started.template_hash } else { &started.version }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn observed(hash: &str, first_seen: i64) -> LedgerFact {
        let version = v1::Version {
            template_hash: hash.into(),
            first_seen: Some(contracts::time::to_proto(at(first_seen))),
            ..v1::Version::default()
        };
        v1::VersionObserved { version: Some(version), ..v1::VersionObserved::default() }.into()
    }

    #[test]
    fn a_rollback_that_is_not_marked_yet_is_known_all_the_same() {
        let available = v1::VersionAvailable { template_hash: "bad".into(), replicas: 1, restarts: 0, images: Vec::new() }.into();
        let view = LedgerView::default().with(1, at(1), &observed("bad", 0)).with(2, at(2), &available);
        let started = RollbackStarted { template_hash: "bad".into(), ..RollbackStarted::default() };
        let view = view.knowing_of("inc_1", &started);
        assert_eq!(view.known("bad").unwrap().rolled_back_from.as_deref(), Some("inc_1"));
        let elsewhere = RollbackStarted { template_hash: "never seen".into(), ..RollbackStarted::default() };
        assert_eq!(view.clone().knowing_of("inc_2", &elsewhere), view);
    }

    #[test]
    fn an_edit_of_the_configuration_is_told_from_a_rollout() {
        let version = |template: &str, id: &str| -> LedgerFact {
            let version = v1::Version { template_hash: template.into(), id: id.into(), ..v1::Version::default() };
            v1::VersionObserved { version: Some(version), ..v1::VersionObserved::default() }.into()
        };
        let restored = LedgerView::default().with(1, at(0), &version("bad", "")).with(2, at(100), &version("good", "one"));
        assert!(!restored.edited_since("good", at(99)), "only the rollback itself");
        let edited = restored.with(3, at(200), &version("good", "two"));
        assert!(edited.edited_since("good", at(99)));
        assert!(!edited.edited_since("good", at(150)), "the edit came before");
        assert!(!edited.edited_since("bad", at(99)), "another template runs");
    }

    #[test]
    fn a_version_runs_since_it_became_current() {
        let view = LedgerView::default().with(1, at(0), &observed("a", -50)).with(2, at(100), &observed("b", 98));
        assert_eq!(view.current_since("b"), Some(at(98)));
        assert_eq!(view.current_since("a"), None);
        let again = view.with(3, at(150), &observed("b", 98));
        assert_eq!(again.current_since("b"), Some(at(98)));
        let undone = again.with(4, at(200), &observed("a", -50));
        assert_eq!((undone.current_since("a"), undone.sequence), (Some(at(200)), 4));
    }
}
