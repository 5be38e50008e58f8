//! The test workload: a tiny HTTP server whose behaviour is chosen by its image's tag or by its environment.
//!
//! The same code runs as a task inside the simulated cluster and as the static binary `workload` on a real one, so that
//! what is seen on one holds on the other. It must stay small, with few dependencies (it is built
//! statically by itself), and must not know anything of lastgood.

mod behaviour;
mod server;

pub use behaviour::{Behaviour, UnknownBehaviour, parse_image};
pub use server::{Identity, LogSink, Steering, serve};
