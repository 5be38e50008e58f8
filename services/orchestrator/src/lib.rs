//! The orchestrator: from an alert to a plan, or to the reason why there is none.
//!
//! It hears alerts (`alerts`), finds the workload each is about (`correlate`), opens or joins the workload's incident, chooses by the
//! ledger (`ledger`) which version to go back to and plans it (`plan`), unless a brake (`brakes`) or the policy in force
//! (`policy`) holds it; it keeps the incidents' deadlines
//! (`deadlines`) and finishes what a crash interrupted (`resume`). Guarantees: each occurrence of an alert gets one disposition; a workload
//! has one open incident; an outage of NATS or the API server delays and never dismisses. Must not: write to a cluster or tell people.

pub mod alerts;
pub mod archive;
pub mod brakes;
pub mod budget;
pub mod cluster;
pub mod config;
pub mod configuration;
pub mod correlate;
pub mod dead_letters;
pub mod deadlines;
pub mod decision;
pub mod effective;
mod give_up;
pub mod ledger;
pub mod occurrences;
pub mod pause;
pub mod person;
pub mod plan;
pub mod policy;
pub mod resume;
pub mod undeliverable;
pub mod waiting;
pub mod wiring;
