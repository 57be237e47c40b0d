//! What is promised of a figure, and what was measured of it.

use serde::{Deserialize, Serialize};

/// What has to hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// At least so much of the raw limit of the same round.
    OfRaw(f64),
    /// At most so many times the raw limit of the same round.
    TimesRaw(f64),
    /// At least so much, in the figure's unit.
    AtLeast(f64),
    /// At most so much, in the figure's unit.
    AtMost(f64),
}

impl Goal {
    fn met(self, value: f64, ratio: Option<f64>) -> bool {
        match self {
            Self::OfRaw(least) => ratio.is_some_and(|ratio| ratio >= least),
            Self::TimesRaw(most) => ratio.is_some_and(|ratio| ratio <= most),
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    fn say(self, unit: &str) -> String {
        match self {
            Self::OfRaw(least) => format!(">= {least:.2} of raw"),
            Self::TimesRaw(most) => format!("<= {most:.1}x raw"),
            Self::AtLeast(least) => format!(">= {least} {unit}"),
            Self::AtMost(most) => format!("<= {most} {unit}"),
        }
    }
}

/// A figure that is promised.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    /// As in the report.
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    /// What is measured beside it; empty when nothing is.
    pub(crate) beside: &'static str,
    /// All have to hold.
    pub(crate) goals: &'static [Goal],
}

/// What one round measured of one figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) value: f64,
    pub(crate) raw: Option<f64>,
}

/// How times are spread: shares of all, and what those take at most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Curve {
    pub(crate) of: String,
    /// Share and milliseconds, ascending.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Curve {
    /// Of times in any order.
    pub(crate) fn of(what: &str, mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let shares = (1..100).map(|percent| f64::from(percent) / 100.0).chain([0.995, 0.999]);
        let points = shares.map(|share| (share, quantile(&times, share))).collect();
        Self { of: what.to_owned(), points }
    }
}

/// A figure as all rounds together measured it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) id: String,
    pub(crate) what: String,
    /// The median of all rounds.
    pub(crate) value: f64,
    pub(crate) unit: String,
    /// The median of the raw limits.
    pub(crate) raw: Option<f64>,
    pub(crate) beside: String,
    /// The median of each round's own ratio, so that what slowed a whole round cancels.
    pub(crate) ratio: Option<f64>,
    pub(crate) goal: String,
    pub(crate) met: bool,
    pub(crate) runs: Vec<Run>,
    /// What belongs to the figure besides: processor time, sizes, tails.
    pub(crate) notes: Vec<String>,
    /// Of all rounds together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) curves: Vec<Curve>,
}

impl Measured {
    /// Of at least one run.
    pub(crate) fn of(figure: &Figure, runs: Vec<Run>, notes: Vec<String>) -> Option<Self> {
        let value = median(runs.iter().map(|run| run.value))?;
        let raw = median(runs.iter().filter_map(|run| run.raw));
        let ratio = median(runs.iter().filter_map(|run| Some(run.value / run.raw?)));
        let goal: Vec<_> = figure.goals.iter().map(|goal| goal.say(figure.unit)).collect();
        Some(Self {
            id: figure.id.to_owned(),
            what: figure.what.to_owned(),
            value,
            unit: figure.unit.to_owned(),
            raw,
            beside: figure.beside.to_owned(),
            ratio,
            goal: goal.join(" and "),
            met: figure.goals.iter().all(|goal| goal.met(value, ratio)),
            runs,
            notes,
            curves: Vec::new(),
        })
    }

    /// The smallest and the largest value.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let values = || self.runs.iter().map(|run| run.value);
        (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
    }
}

/// The middle, or the mean of the two in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    Some(f64::midpoint(sorted[last / 2], sorted[last.div_ceil(2)]))
}

/// The value that a share of all is no greater than; 0 of none.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let index = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(index.saturating_sub(1).min(last)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Figure = Figure {
        id: "drain",
        what: "a drain",
        unit: "rows/s",
        beside: "raw",
        goals: &[Goal::OfRaw(0.9), Goal::AtLeast(100.0)],
    };

    fn run(value: f64, raw: f64) -> Run {
        Run { value, raw: Some(raw) }
    }

    #[test]
    fn a_slow_round_does_not_count_against_its_own_limit() {
        let runs = vec![run(190.0, 200.0), run(95.0, 100.0), run(185.0, 200.0)];
        let drain = Measured::of(&DRAIN, runs, Vec::new()).unwrap();
        assert_eq!((drain.value, drain.raw, drain.ratio), (185.0, Some(200.0), Some(0.95)));
        assert!(drain.met, "{drain:?}");
        assert_eq!(drain.goal, ">= 0.90 of raw and >= 100 rows/s");
        assert_eq!(drain.spread(), (95.0, 190.0));
    }

    #[test]
    fn every_goal_has_to_be_met_and_a_ratio_needs_a_limit() {
        let met = |runs| Measured::of(&DRAIN, runs, Vec::new()).unwrap().met;
        assert!(!met(vec![run(95.0, 100.0)]));
        assert!(!met(vec![run(150.0, 200.0)]));
        assert!(!met(vec![Run { value: 150.0, raw: None }]));
        assert!(Measured::of(&DRAIN, Vec::new(), Vec::new()).is_none());
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((quantile(&sorted, 0.5), quantile(&sorted, 0.99)), (50.0, 99.0));
        assert_eq!((quantile(&sorted, 1.0), quantile(&[], 0.5)), (100.0, 0.0));
    }
}
