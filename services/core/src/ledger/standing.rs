//! What a version is worth, and why, for people.
//!
//! Guarantees: a person's last word counts before any evidence; a rollback from it counts before how long it stood; what nobody saw is
//! unknown, never good. Must not: read a clock: how long a version stood is a fact, not a difference to now.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::known::Known;

/// What a version is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It may be gone back to.
    Good(String),
    /// It must not.
    Bad(String),
    /// Nobody knows.
    Unknown(String),
}

impl Standing {
    /// The word for it: "good", "bad", "unknown".
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Good(_) => "good",
            Self::Bad(_) => "bad",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Why, for people.
    #[must_use]
    pub fn why(&self) -> &str {
        match self {
            Self::Good(why) | Self::Bad(why) | Self::Unknown(why) => why,
        }
    }
}

impl Known {
    /// What it is worth where a version has to stand for `soak`. With none, to have been fully available once is enough.
    #[must_use]
    pub fn standing(&self, soak: Duration) -> Standing {
        if let Some(marked) = &self.marked {
            let reason = if marked.reason.is_empty() { String::new() } else { format!(": {}", marked.reason) };
            return if marked.good {
                Standing::Good(format!("{} said so at {:.0}{reason}", marked.who, marked.at))
            } else {
                Standing::Bad(format!("{} said so at {:.0}{reason}", marked.who, marked.at))
            };
        }
        if let Some(incident) = &self.rolled_back_from {
            return Standing::Bad(format!("was rolled back from by {incident}"));
        }
        let Some(available) = contracts::time::from_proto(self.version.fully_available_at.as_ref()) else {
            return Standing::Unknown("was never seen fully available".to_owned());
        };
        if let Some(soaked) = self.soaked.filter(|soaked| soaked.stood >= soak && !soaked.stood.is_zero()) {
            let (stood, pods) = (whole_seconds(soaked.stood), soaked.replicas);
            return Standing::Good(format!("stood fully available without trouble for {stood:#} with {pods} pods"));
        }
        if soak.is_zero() {
            return Standing::Good(format!("seen fully available at {available:.0}"));
        }
        Standing::Unknown(self.not_yet(available, soak))
    }

    fn not_yet(&self, available: Timestamp, soak: Duration) -> String {
        let asked = whole_seconds(soak);
        let stood = self.soaked.map(|soaked| format!("; it stood for {:#} at the longest", whole_seconds(soaked.stood)));
        let trouble = self.troubles.last().map(|trouble| format!("; {}: {}", trouble.kind, trouble.detail));
        let (stood, trouble) = (stood.unwrap_or_default(), trouble.unwrap_or_default());
        format!("seen fully available at {available:.0}, but not to stay so for {asked:#} without trouble{stood}{trouble}")
    }
}

fn whole_seconds(length: Duration) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(length.as_secs()).unwrap_or(i64::MAX))
}
