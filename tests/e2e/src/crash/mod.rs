//! Real processes, real kills: each service is killed right before and right after each fact that it appends, restarted, and the end
//! compared with the undisturbed run's.
//!
//! `courses` has the ways that an incident can take, `ending` what they come to, `promises` what must hold whatever happens, `matrix` makes
//! the kills of the undisturbed runs' own logs. Guarantees: what is killed where follows from the log, not from a list by hand. Must not:
//! know how a service is built.

pub mod courses;
pub mod ending;
pub mod faults;
pub mod harness;
pub mod matrix;
pub mod pauses;
pub mod promises;
pub mod replicas;
pub mod run;
pub mod writes;
