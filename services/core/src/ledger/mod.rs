//! The ledger: what is known of each version of a workload, and which one to go back to.
//!
//! `known` is what is kept of a version, `fold` takes facts to it, `standing` says what a version is worth, `keep` lets the oldest go.
//! Guarantees: a version counts as proved only when it was seen to stay fully available, without trouble, for as long as the policy asks
//! for, or when a person said so; one that was rolled back from is never chosen, until a person says otherwise. Must not: take a revision
//! number for an identity (an undo renumbers them).

mod fold;
mod keep;
mod known;
mod standing;

use std::collections::BTreeMap;
use std::time::Duration;

use contracts::v1;

use crate::configuration::id_of;

pub use fold::evolve;
pub use keep::{kept, surplus};
pub use known::{Known, Marked, Soaked, Trouble};
pub use standing::Standing;

/// The fold of a workload's ledger facts, by the versions' ids.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ledger {
    /// Every version that was seen.
    pub versions: BTreeMap<String, Known>,
    /// The version that ran when the ledger was last written.
    pub current: Option<String>,
}

/// Which version to go back to.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice<'a> {
    /// This one, and why.
    Chosen(&'a Known, String),
    /// None; what was looked at and why each was refused.
    Missing(Vec<String>),
}

impl Ledger {
    /// The newest good version that is not the current one; `soak` is how long a version has to have stood.
    #[must_use]
    pub fn choose(&self, current: &str, soak: Duration) -> Choice<'_> {
        self.choose_where(current, soak, |_| None)
    }

    /// The same of those for which there is no reason not to go back to them.
    #[must_use]
    pub fn choose_where(&self, current: &str, soak: Duration, unfit: impl Fn(&Known) -> Option<String>) -> Choice<'_> {
        let mut refused = Vec::new();
        for known in self.newest_first().into_iter().filter(|known| known.id() != current) {
            match known.standing(soak) {
                _ if known.template_json.is_empty() => {
                    refused.push(format!("{}: its pod template was not recorded", describe(&known.version)));
                }
                Standing::Good(why) => match unfit(known) {
                    Some(unfit) => refused.push(format!("{}: {unfit}", describe(&known.version))),
                    None => return Choice::Chosen(known, why),
                },
                Standing::Bad(why) | Standing::Unknown(why) => refused.push(format!("{}: {why}", describe(&known.version))),
            }
        }
        if refused.is_empty() {
            refused.push("no other version of this workload was ever seen".to_owned());
        }
        Choice::Missing(refused)
    }

    /// The versions by when each was last current, the newest first.
    #[must_use]
    pub fn newest_first(&self) -> Vec<&Known> {
        let mut versions: Vec<_> = self.versions.values().collect();
        versions.sort_by_key(|known| std::cmp::Reverse(known.last_current));
        versions
    }
}

/// A version for people: its images, and the beginning of its id.
#[must_use]
pub fn describe(version: &v1::Version) -> String {
    let images: Vec<_> = version.images.iter().map(|image| image.image.as_str()).collect();
    let id: String = id_of(version).chars().take(10).collect();
    format!("{} ({id})", images.join(", "))
}

#[cfg(test)]
mod tests;
