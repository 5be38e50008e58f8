//! The verifier: proves that the restored version is well, and that the alert is over.
//!
//! It reacts to `traffic_shifted` by running the pods check and the workload's smoke tests, each of whose results is a fact, and
//! to `mitigated` by asking Prometheus whether the triggering alert is over.
//!
//! Guarantees: it re-reads everything from the cluster and Prometheus; what could not be seen is a verdict of its own and never
//! healthy; killed at any point it goes on with the checks that have no fact yet. Must not: change a workload, or decide what a
//! failed verification leads to (core does).

pub mod checks;
pub mod cluster;
pub mod config;
pub mod definitions;
pub mod eyes;
pub mod fields;
pub mod handlers;
pub mod kind;
pub mod log;
pub mod net;
pub mod rules;
pub mod runner;
pub mod sight;
pub mod tally;
pub mod text;
pub mod verdict;
pub mod verify;
pub mod watch;
