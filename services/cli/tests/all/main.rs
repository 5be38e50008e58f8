//! The program itself, against a real nats-server: what it prints, and how it ends.
#![expect(clippy::unwrap_used, reason = "tests")]

mod away;
mod incidents;
mod letters;
mod switches;
mod versions;
mod world;
