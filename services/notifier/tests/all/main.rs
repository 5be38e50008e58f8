//! The notifier's tests: messages by table, handlers over real HTTP to recording receivers, and the program on a real bus.
#![expect(clippy::unwrap_used, reason = "tests")]

mod asking;
mod chat;
mod damaged;
mod notifications;
mod process;
mod receivers;
mod templates;
mod world;
