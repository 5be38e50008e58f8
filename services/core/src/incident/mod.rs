//! An incident: a fold over its facts (`evolve`), and what may be added to it (`decide`).
//!
//! Guarantees: `evolve` is total; `decide` answers with facts that lead to a legal state or with a typed refusal; what a decision
//! implies (a notification asked for, `Mitigated`, `IncidentClosed`) is part of its answer, so that no crash can come between.
//! No path ends without a notification asked for, and every open incident has a deadline that moves it on.
//! Must not: look anything up; the caller passes all of it in.

mod attempt;
mod command;
mod deadlines;
mod decide;
mod evolve;
mod follow;
mod moved;
mod routing;
mod state;
#[cfg(test)]
mod tests;
mod waiting;

pub use command::{Command, Refusal};
pub use deadlines::{acting_until, pending_deadlines, verifying_until};
pub use decide::decide;
pub use evolve::evolve;
pub use moved::by_digest;
pub use state::{Approval, Attempt, BY_COMMAND, Closed, Incident, Notice, Opened, Phase, Progress, Recorded};
pub use waiting::{APPROVAL, approvable_until, ends_wait, not_after};
