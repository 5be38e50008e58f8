//! The notifier: pages, chats and escalates, and the only service with paging and chat credentials.
//!
//! Guarantees: what the log asks to be told is told to the receivers that it names, or over the channel that fits, else over the
//! fallback, else recorded as not delivered, and never silently dropped; one page for each (incident, audience, reason) whose record is
//! in the log; the executor never waits for a chat longer than the incident's announce deadline. After a crash between a send and its
//! record a message may come twice. Must not: touch a cluster, or decide what an incident does next.

pub mod channels;
pub mod config;
pub mod deliver;
pub mod handlers;
pub mod rules;
pub mod story;
pub mod templates;
pub mod text;
