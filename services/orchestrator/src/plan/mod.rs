//! From what was read to what is to be done: `course` decides, `build` writes the plan down.
//!
//! Guarantees: pure; every way of not acting has a code and words for people. Must not: read anything.

mod build;
mod course;
mod waits;
mod way_back;

pub use build::{Foreign, Planned, build};
pub use course::{Course, Inputs, Step, Target, current_version, decide_course, strategy};
pub use waits::Waits;
