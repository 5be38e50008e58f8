//! The ledger of each workload's versions: what is known of it (`view`), what a look at the cluster adds (`observe`, pure, with
//! what differs by kind in `carriers` and `availability`), and the watch that has it looked at (`watch`, each look in `look`); whether a version has proved itself
//! (`soak`, pure).
//!
//! Guarantees: a version is recorded as available only while it is seen so, as the current one; nothing is appended that the ledger
//! says already. Must not: choose a version; core does.

pub mod availability;
mod busy;
pub mod carriers;
mod configured;
mod digest;
mod events;
mod look;
mod marks;
pub mod observe;
mod rolled_back;
pub mod soak;
mod store;
mod troubled;
mod view;
mod wakes;
mod watch;

pub use rolled_back::{HEARS, RolledBack};
pub use store::{LedgerStore, Scope, StoreError};
pub use view::LedgerView;
pub use watch::{InForce, Terms, WatchError, watch};
