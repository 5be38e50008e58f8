//! The verifier against real parts: local HTTP servers, a real Prometheus, a real nats-server and the simulated cluster.
//!
//! One binary for all of it, because linking is what takes time. Guarantee: every wait has a deadline. Must not: leave loopback.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod cluster;
mod probes;
mod prometheus;
mod support;
mod verification;
