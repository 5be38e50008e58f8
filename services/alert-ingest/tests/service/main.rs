//! The service on real parts: nats-server, Alertmanager, and the simulated cluster's API.

#![expect(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod alertmanager;
mod attacked;
mod detecting;
mod hostile;
mod serving;
mod storing;
mod world;
