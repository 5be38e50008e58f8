//! Counts the tries of one check: pure, so that when a check passes can be proved rather than believed.
//!
//! Guarantees: a check passes only by its required number of *consecutive* passing tries; a try without data breaks a run just as
//! a failing one does, and never counts as healthy. Must not: read a clock or probe anything.

use contracts::v1::Verdict;

/// What one try saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was as it should be.
    Pass,
    /// It was seen, and it was not as it should be.
    Fail,
    /// It could not be seen.
    NoData,
}

/// The tries of one check so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    passes: u32,
    retries: u32,
    in_a_row: u32,
    bad: u32,
    tries: u32,
    failed: bool,
}

impl Tally {
    /// A check that needs `passes` (at least one) consecutive passes and allows `retries` bad tries.
    #[must_use]
    pub fn new(passes: u32, retries: u32) -> Self {
        Self { passes: passes.max(1), retries, in_a_row: 0, bad: 0, tries: 0, failed: false }
    }

    /// Counts one try; the verdict where it decides.
    pub fn add(&mut self, outcome: Outcome) -> Option<Verdict> {
        self.tries = self.tries.saturating_add(1);
        if outcome == Outcome::Pass {
            self.in_a_row += 1;
            return (self.in_a_row >= self.passes).then_some(Verdict::Passed);
        }
        self.in_a_row = 0;
        self.bad = self.bad.saturating_add(1);
        self.failed |= outcome == Outcome::Fail;
        (self.bad > self.retries).then(|| self.without_pass())
    }

    /// The verdict when time is over before the tries decided: never a pass.
    #[must_use]
    pub fn without_pass(&self) -> Verdict {
        if self.failed { Verdict::Failed } else { Verdict::NoData }
    }

    /// How many tries there were.
    #[must_use]
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// How many of the last tries passed without a break.
    #[must_use]
    pub fn in_a_row(&self) -> u32 {
        self.in_a_row
    }
}

#[cfg(test)]
mod tests {
    use Outcome::{Fail, NoData, Pass};
    use proptest::prelude::*;

    use super::*;

    fn run(passes: u32, retries: u32, outcomes: &[Outcome]) -> (Option<Verdict>, usize) {
        let mut tally = Tally::new(passes, retries);
        for (index, outcome) in outcomes.iter().enumerate() {
            if let Some(verdict) = tally.add(*outcome) {
                return (Some(verdict), index + 1);
            }
        }
        (None, outcomes.len())
    }

    #[test]
    fn the_table() {
        let cases: &[(u32, u32, &[Outcome], Option<Verdict>)] = &[
            (3, 3, &[Pass, Pass, Pass], Some(Verdict::Passed)),
            (3, 3, &[Pass, Pass], None),
            (3, 3, &[Pass, Pass, Fail, Pass, Pass], None),
            (3, 3, &[Pass, Pass, NoData, Pass, Pass, Pass], Some(Verdict::Passed)),
            (1, 0, &[Fail], Some(Verdict::Failed)),
            (1, 0, &[NoData], Some(Verdict::NoData)),
            (1, 1, &[NoData, Fail], Some(Verdict::Failed)),
            (1, 1, &[Fail, NoData], Some(Verdict::Failed)),
            (1, 1, &[NoData, NoData], Some(Verdict::NoData)),
            (0, 0, &[Pass], Some(Verdict::Passed)),
        ];
        for (passes, retries, outcomes, wanted) in cases {
            assert_eq!(run(*passes, *retries, outcomes).0, *wanted, "passes {passes}, retries {retries}, {outcomes:?}");
        }
    }

    fn outcomes() -> impl Strategy<Value = Vec<Outcome>> {
        prop::collection::vec(prop::sample::select(vec![Pass, Fail, NoData]), 0..40)
    }

    proptest! {
        #[test]
        fn a_pass_is_always_the_required_run(passes in 1_u32..6, retries in 0_u32..6, outcomes in outcomes()) {
            let (verdict, used) = run(passes, retries, &outcomes);
            if verdict == Some(Verdict::Passed) {
                let needed = passes as usize;
                prop_assert!(used >= needed);
                prop_assert!(outcomes[used - needed..used].iter().all(|outcome| *outcome == Pass));
            }
        }

        #[test]
        fn more_bad_tries_than_allowed_never_pass(passes in 1_u32..6, retries in 0_u32..6, outcomes in outcomes()) {
            let (verdict, used) = run(passes, retries, &outcomes);
            let bad = outcomes[..used].iter().filter(|outcome| **outcome != Pass).count();
            prop_assert!(bad <= retries as usize + 1);
            prop_assert_eq!(bad > retries as usize, matches!(verdict, Some(Verdict::Failed | Verdict::NoData)));
        }

        #[test]
        fn only_no_data_is_no_data(retries in 0_u32..6, count in 1_usize..10) {
            let mut tally = Tally::new(1, retries);
            let decided = (0..count).find_map(|_| tally.add(NoData));
            prop_assert!(decided.is_none_or(|verdict| verdict == Verdict::NoData));
            prop_assert_eq!(tally.without_pass(), Verdict::NoData);
        }

        #[test]
        fn the_end_of_time_is_never_a_pass(passes in 1_u32..6, outcomes in outcomes()) {
            let mut tally = Tally::new(passes, 100);
            for outcome in outcomes {
                let _ = tally.add(outcome);
            }
            prop_assert_ne!(tally.without_pass(), Verdict::Passed);
        }
    }
}
