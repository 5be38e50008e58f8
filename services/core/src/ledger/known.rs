//! What is kept of one version.
//!
//! Guarantees: everything in it came from a fact. Must not: judge; `standing` does.

use std::time::Duration;

use contracts::v1;
use jiff::Timestamp;

use crate::configuration::id_of;

/// What is known of one version.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// What was recorded when it last became current, with `fully_available_at` where that was seen.
    pub version: v1::Version,
    /// The workload's uid then.
    pub workload_uid: String,
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
    /// Since when it is fully available without trouble; `None` where it is not, or is not the current version.
    pub clean_since: Option<Timestamp>,
    /// Restarts of its containers when `clean_since` began.
    pub clean_restarts: u32,
    /// How many replicas were available then.
    pub clean_replicas: u32,
    /// The longest that it was seen to stand.
    pub soaked: Option<Soaked>,
    /// What spoke against it while it ran, oldest first; the last few.
    pub troubles: Vec<Trouble>,
    /// What a person said of it last.
    pub marked: Option<Marked>,
}

/// How long a version was seen to stay fully available without trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Soaked {
    /// For how long.
    pub stood: Duration,
    /// At how many replicas.
    pub replicas: u32,
    /// Restarts of its containers until then.
    pub restarts: u32,
    /// When that was seen.
    pub at: Timestamp,
}

/// Something that spoke against a version while it ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// "alert", "restarts".
    pub kind: String,
    /// For people.
    pub detail: String,
    /// The incident, where there is one.
    pub incident: String,
    /// When.
    pub at: Timestamp,
}

/// What a person said a version is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// Good, or bad.
    pub good: bool,
    /// Who said so.
    pub who: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Known {
    /// What the ledger knows it by.
    #[must_use]
    pub fn id(&self) -> &str {
        id_of(&self.version)
    }
}
