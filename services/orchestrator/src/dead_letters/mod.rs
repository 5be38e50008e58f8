//! Dead letters: what no service could process. `escalate` sees that people hear of each one that is about an incident; `command` is what
//! an operator lists, reads and replays them with.
//!
//! Must not: throw one away.

pub mod command;
mod escalate;

pub use escalate::DeadLetters;
