//! What most, nearly all and all of many measurements stay below.

use serde::Serialize;

/// Quantiles of some times in milliseconds, each one of the times that were
/// measured (nearest rank), to the microsecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Quantiles {
    /// How many were measured.
    pub(super) count: usize,
    /// Half of them took no longer.
    pub(super) p50: f64,
    /// 95 of 100 took no longer.
    pub(super) p95: f64,
    /// 99 of 100 took no longer.
    pub(super) p99: f64,
    /// The longest.
    pub(super) max: f64,
}

impl Quantiles {
    /// Of `times` in milliseconds; all zero when there are none.
    #[must_use]
    pub(super) fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let rank = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            let time = times.get(rank - 1).copied().unwrap_or_default();
            // Microseconds: more digits would be invented.
            (time * 1e3).round() / 1e3
        };
        Self { count: times.len(), p50: rank(50), p95: rank(95), p99: rank(99), max: rank(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_times() {
        let times = (1..=200).rev().map(f64::from).collect();
        let expected = Quantiles { count: 200, p50: 100.0, p95: 190.0, p99: 198.0, max: 200.0 };
        assert_eq!(Quantiles::of(times), expected);
    }

    #[test]
    fn few_times_have_quantiles_too() {
        let one = Quantiles { count: 1, p50: 7.0, p95: 7.0, p99: 7.0, max: 7.0 };
        assert_eq!(Quantiles::of(vec![7.0]), one);
        let three = Quantiles { count: 3, p50: 2.0, p95: 3.0, p99: 3.0, max: 3.0 };
        assert_eq!(Quantiles::of(vec![3.0, 1.0, 2.0]), three);
        assert_eq!(Quantiles::of(Vec::new()), Quantiles::default());
    }
}
