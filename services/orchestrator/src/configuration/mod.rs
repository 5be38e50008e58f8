//! The configuration of workloads: what a template refers to is read (`read`), and what of it comes back with a version is planned (`restore`).
//!
//! Guarantees: a Secret's data is fingerprinted as it is read and dropped; none of it is kept, logged or stored. Must not: write; the
//! executor keeps the copies.

mod read;
mod restore;

pub use read::{Reader, Seen};
pub use restore::{Restored, restore};

use contracts::v1;

/// What a version's record says of what was seen.
#[must_use]
pub fn recorded(seen: &[Seen]) -> Vec<v1::Configuration> {
    seen.iter().map(|one| one.recorded.clone()).collect()
}
