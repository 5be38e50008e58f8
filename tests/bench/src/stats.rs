//! Medians and percentiles of a few samples.
//!
//! Guarantees: pure; a percentile is one of the samples (nearest rank), the median of an even number is the mean of the middle two.
//! Must not: hide an outlier; the largest sample is always told.

/// A summary of samples, in their unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    /// The smallest.
    pub(crate) min: f64,
    /// Half of them are below.
    pub(crate) median: f64,
    /// 95 of 100 are not above.
    pub(crate) p95: f64,
    /// The largest.
    pub(crate) max: f64,
}

/// Summarises; `None` when there is nothing to summarise.
pub(crate) fn summary(samples: &[f64]) -> Option<Summary> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let count = sorted.len();
    let median = f64::midpoint(sorted[(count - 1) / 2], sorted[count / 2]);
    // The nearest rank, counted from 1: 95 of 100, rounded up.
    let rank = (count * 95).div_ceil(100);
    Some(Summary { min, median, p95: sorted[rank - 1], max })
}

/// The smallest sample that so many of a hundred are not above (nearest rank), 0 of nothing.
pub(crate) fn percentile(samples: &[f64], percent: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// The median alone, 0 of nothing.
pub(crate) fn median(samples: &[f64]) -> f64 {
    summary(samples).map_or(0.0, |summary| summary.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let found = [percentile(&hundred, 99), percentile(&hundred, 50), percentile(&[3.0], 99), percentile(&[], 50)];
        assert!(
            found.iter().zip([99.0, 50.0, 3.0, 0.0]).all(|(found, wanted)| (found - wanted).abs() < f64::EPSILON),
            "{found:?}"
        );
    }

    #[test]
    fn summaries() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        for (samples, expected) in [
            (vec![], None),
            (vec![3.0], Some(Summary { min: 3.0, median: 3.0, p95: 3.0, max: 3.0 })),
            (vec![9.0, 1.0, 2.0], Some(Summary { min: 1.0, median: 2.0, p95: 9.0, max: 9.0 })),
            (vec![4.0, 1.0], Some(Summary { min: 1.0, median: 2.5, p95: 4.0, max: 4.0 })),
            (hundred, Some(Summary { min: 1.0, median: 50.5, p95: 95.0, max: 100.0 })),
        ] {
            assert_eq!(summary(&samples), expected, "{samples:?}");
        }
    }
}
