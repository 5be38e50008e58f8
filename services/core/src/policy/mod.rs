//! What the owner of a workload allows: the policy that is in force for it, as values.
//!
//! `document` is what people write, `read` makes a checked `Policy` of it, `combine` hears all that have a say for one workload and yields the
//! `Effective` policy. Who has a say, the first that says something about a field is heard:
//!
//! 1. the workload's annotations `lastgood.dev/mode`, `approve-within`, `grace` and `allow-unknown`;
//! 2. the `RollbackPolicy` documents of its namespace that select it: the higher `priority` first, then those by name before those by
//!    label, by kind and for all; of equals the one whose name comes first in the alphabet, a custom resource before a file;
//! 3. the `ClusterRollbackPolicy` documents that select it, in the same order;
//! 4. the orchestrator's configuration.
//!
//! Two things don't go by that order, so that nothing fails open: the freeze windows of all of them add up, and if any of them is invalid, the
//! workload is only observed, whatever the others and its annotations say. Guarantees: what no policy says has the default that README
//! names, and by default nothing is changed (`observe`). Must not: read anything; where a policy comes from (a custom resource, a file,
//! annotations) is the orchestrator's.

pub mod budget;
mod checks;
mod combine;
pub mod document;
mod effective;
pub mod freeze;
mod irreversible;
pub mod matchers;
mod problem;
mod read;
mod says;
mod select;
mod shape;
mod telling;

pub use combine::{ALLOW_UNKNOWN, APPROVE_WITHIN, GRACE, MODE, SMOKE_TESTS, combine, governing};
pub use effective::{ApprovalTimeout, Budgets, Deadlines, Effective, MassFailure, Mode, RestoreConfigMaps, Route, Step};
pub use irreversible::{IRREVERSIBLE, held, mark, mark_of_template};
pub use problem::Problem;
pub use read::{Id, Limits, Origin, Policy, read};
pub use says::Says;
pub use select::{Selection, Workload};
