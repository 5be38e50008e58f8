//! The executor: the only service that writes to workloads.
//!
//! Guarantees: it writes by the attempt rule only (`attempt`): the intent is on the log first, and a change that is not ours is
//! never written over; it reports what it saw, never what it assumes; every step can be done again after a crash. Must not: choose
//! a version, or judge whether the restored one works.

pub mod attempt;
pub mod carriers;
pub mod cluster;
pub mod config;
pub mod counts;
pub mod progress;
pub mod report;
pub mod run;
pub mod services;
pub mod snapshots;
pub mod strategies;
pub mod view;
