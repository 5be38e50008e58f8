//! Bad input for tests: bytes mutated from a committed corpus, as a fuzzer makes them, on stable and from a seed.
//!
//! Guarantees: the same seed makes the same inputs, so that a failure is replayed by what it prints; how many were tried is printed. Without
//! coverage feedback, what this finds is found by structure: the corpus holds the real forms, and the mutators know where JSON, protobuf
//! and configuration break. `LASTGOOD_DEPTH=deep` tries fifty times as much, `LASTGOOD_FUZZ_RUNS` any number, `LASTGOOD_FUZZ_SEED`
//! another sequence. Must not: depend on what it is turned on.

mod corpus;
mod mutate;
mod random;
mod run;

pub use corpus::corpus;
pub use mutate::{bytes_of_protobuf, mutate};
pub use random::Random;
pub use run::{Plan, run};
