//! Runs a property over many inputs and says how many they were.
//!
//! Guarantees: a failure names the input (seed and number), and `LASTGOOD_FUZZ_SEED` with `LASTGOOD_FUZZ_NUMBER` tries that one again; how
//! many were tried is printed also where the test harness captures what a test prints. Must not: stop early in silence.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::Random;

/// The seed of CI's runs: the same inputs on every commit, so that a failure is that commit's.
const SEED: u64 = 20_261_122;
/// How much more a deep run tries.
const DEEP: u64 = 50;

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Where the inputs begin.
    pub seed: u64,
    /// How many.
    pub runs: u64,
    /// Only this one of them.
    pub only: Option<u64>,
}

impl Plan {
    /// So many runs in CI, or what the environment says (`LASTGOOD_DEPTH=deep`, `LASTGOOD_FUZZ_RUNS`, `LASTGOOD_FUZZ_SEED`, `LASTGOOD_FUZZ_NUMBER`).
    #[must_use]
    pub fn of(runs: u64) -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let deep = std::env::var("LASTGOOD_DEPTH").is_ok_and(|depth| depth == "deep");
        let runs = number("LASTGOOD_FUZZ_RUNS").unwrap_or(if deep { runs.saturating_mul(DEEP) } else { runs });
        Self { seed: number("LASTGOOD_FUZZ_SEED").unwrap_or(SEED), runs, only: number("LASTGOOD_FUZZ_NUMBER") }
    }
}

/// Tries the property with as many inputs as planned. It gets what makes its input, and says whether the input was taken (`true`) or
/// refused; it panics where the program breaks a promise.
///
/// # Panics
/// When nothing was taken or nothing refused: such a run proves half of what it should. When the property does.
pub fn run(name: &str, plan: Plan, mut property: impl FnMut(&mut Random) -> bool) {
    let (mut taken, mut refused) = (0_u64, 0_u64);
    for number in plan.only.map_or(0..plan.runs, |only| only..only + 1) {
        let mut random = Random::new(plan.seed ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
        match catch_unwind(AssertUnwindSafe(|| property(&mut random))) {
            Ok(true) => taken += 1,
            Ok(false) => refused += 1,
            Err(panic) => {
                eprintln!(
                    "{name} failed; to try that input again: LASTGOOD_FUZZ_SEED={} LASTGOOD_FUZZ_NUMBER={number}",
                    plan.seed
                );
                resume_unwind(panic);
            }
        }
    }
    let told = format!("{name}: {} executions, {taken} taken, {refused} refused, seed {}\n", taken + refused, plan.seed);
    let _ = std::io::stderr().write_all(told.as_bytes());
    assert!(
        plan.only.is_some() || (taken > 0 && refused > 0),
        "{name}: {taken} inputs were taken and {refused} refused: the corpus or the mutators are blind"
    );
}
