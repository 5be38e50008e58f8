//! The scenarios, by what they end in.

pub mod brakes;
pub mod completed;
pub mod configured;
pub mod contested;
pub mod failed;
pub mod halted;
pub mod killed;
pub mod kinds;
pub mod moved;
pub mod policies;
