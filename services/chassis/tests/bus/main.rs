//! The bus against a real nats-server.

mod append;
mod consume;
mod incidents;
mod replicated;
mod timers;
mod world;
