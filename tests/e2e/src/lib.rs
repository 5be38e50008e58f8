//! The end-to-end scenarios: the same ones on the simulated cluster and on a real one.
//!
//! A scenario is an async function over a running [`testbed::world::World`]; each has namespaces of its own, so they run side by
//! side. Guarantees: every alert goes through a real Alertmanager; what is asserted is what a user would notice (the cluster, the
//! page, the chat) or what the log promises. Must not: sleep for luck, or talk to a service in another way than its users do.

pub mod crash;
pub mod expect;
pub mod harness;
pub mod scenarios;
