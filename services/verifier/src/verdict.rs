//! From the results of all checks to the verification's end: pure.
//!
//! Guarantees: it passes only when every check passed and there is at least one; what could not be seen never counts as healthy.
//! Must not: leave a check out.

use contracts::FailureReason;
use contracts::v1::Verdict;

/// How a verification ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conclusion {
    /// All of this many checks passed.
    Passed {
        /// How many checks there were.
        checks: u32,
    },
    /// At least one did not.
    Failed {
        /// Why, as the fact says it.
        reason: FailureReason,
        /// The names of the checks that did not pass, sorted.
        failed_checks: Vec<String>,
    },
}

/// What all these results (a check's name and its verdict) come to.
#[must_use]
pub fn conclude(results: &[(String, Verdict)]) -> Conclusion {
    let mut failed_checks: Vec<String> =
        results.iter().filter(|(_, verdict)| *verdict != Verdict::Passed).map(|(name, _)| name.clone()).collect();
    failed_checks.sort();
    if results.iter().any(|(_, verdict)| *verdict == Verdict::Failed) {
        return Conclusion::Failed { reason: FailureReason::SmokeTestsFailed, failed_checks };
    }
    if results.is_empty() || !failed_checks.is_empty() {
        return Conclusion::Failed { reason: FailureReason::NothingSeen, failed_checks };
    }
    Conclusion::Passed { checks: u32::try_from(results.len()).unwrap_or(u32::MAX) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failed(reason: FailureReason, names: &[&str]) -> Conclusion {
        Conclusion::Failed { reason, failed_checks: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn the_table() {
        use Verdict::{Failed, NoData, Passed, Unspecified};
        let cases: &[(&[(&str, Verdict)], Conclusion)] = &[
            (&[("pods", Passed)], Conclusion::Passed { checks: 1 }),
            (&[("pods", Passed), ("home", Passed)], Conclusion::Passed { checks: 2 }),
            (&[("pods", Passed), ("home", Failed)], failed(FailureReason::SmokeTestsFailed, &["home"])),
            (&[("pods", NoData), ("home", Failed)], failed(FailureReason::SmokeTestsFailed, &["home", "pods"])),
            (&[("pods", Passed), ("home", NoData)], failed(FailureReason::NothingSeen, &["home"])),
            (&[("home", Unspecified)], failed(FailureReason::NothingSeen, &["home"])),
            (&[], failed(FailureReason::NothingSeen, &[])),
        ];
        for (results, wanted) in cases {
            let results: Vec<_> = results.iter().map(|(name, verdict)| ((*name).to_owned(), *verdict)).collect();
            assert_eq!(conclude(&results), *wanted, "{results:?}");
        }
    }

    proptest! {
        #[test]
        fn anything_but_a_pass_fails_the_whole(codes in prop::collection::vec(0_i32..4, 0..12)) {
            let results: Vec<_> = codes
                .iter()
                .enumerate()
                .map(|(index, code)| (format!("c{index:02}"), Verdict::try_from(*code).unwrap()))
                .collect();
            let all_passed = !results.is_empty() && results.iter().all(|(_, verdict)| *verdict == Verdict::Passed);
            prop_assert_eq!(matches!(conclude(&results), Conclusion::Passed { .. }), all_passed);
        }
    }
}
