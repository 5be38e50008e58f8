//! Proof that lastgood keeps its promises: an exhaustive check of the state machine, and a seeded simulation of all services.
//!
//! Guarantees: both run the product's own code, never a copy of it; a failure names the seed or the path that leads to it. Must
//! not: touch the network, the disk or the host's clock.

pub mod check;
pub mod cluster;
pub mod invariants;
pub mod nats;
pub mod run;
pub mod scenario;
pub mod world;
