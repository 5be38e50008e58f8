//! Planning: what would be changed, for people (`diff`), and which Services have to be switched (`services`).
//!
//! Must not: look anything up.

pub mod diff;
pub mod services;
