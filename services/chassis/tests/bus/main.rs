//! The bus against a real nats-server.

#![expect(clippy::unwrap_used, reason = "tests")]

mod append;
mod consume;
mod incidents;
mod reading;
mod replicated;
mod timers;
mod world;
