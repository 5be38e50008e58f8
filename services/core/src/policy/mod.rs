//! What the owner of a workload allows: the policy that is in force for it, as values.
//!
//! Guarantees: what no policy says has the default that README names, and by default nothing is changed (`observe`). Must not: read
//! anything; where a policy comes from (a custom resource, a file, annotations) is the orchestrator's.

pub mod budget;
mod effective;

pub use effective::{ApprovalTimeout, Budgets, Effective, MassFailure, Mode, RestoreConfigMaps};
