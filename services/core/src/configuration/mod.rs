//! The configuration of a version: the ConfigMaps and Secrets that its pod template refers to, by content.
//!
//! `references` finds them, `fingerprint` says what they hold without saying it, `copies` points a template to the copies that lastgood
//! keeps and back, `identity` makes a version's id of template and content, `restore` decides what comes back with a version, and `diff`
//! tells the difference to people. Guarantees: total functions of what they are given; the value of a Secret is in nothing that they
//! return. Must not: read a cluster, or hold the content of anything longer than a call.

pub mod copies;
pub mod diff;
pub mod fingerprint;
pub mod identity;
pub mod references;
pub mod restore;

pub use copies::{copy_name, original_name, point_to_copies, without_copies};
pub use fingerprint::Key;
pub use identity::{Read, id_of, recorded, version_id};
pub use references::{Reference, references};

/// What configuration is kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the Kubernetes kinds of the same names")]
pub enum Kind {
    ConfigMap,
    Secret,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ConfigMap, Self::Secret];

    /// The API's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }

    /// By the API's word for it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One object of a namespace.
pub type Place = (Kind, String);
