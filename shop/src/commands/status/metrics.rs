//! What a service's metrics say, and what two of their readings say of the time between them.

use super::exposition::samples;

/// A service's metrics at one moment. Gauges that it has not set yet are none.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Metrics {
    /// Messages handled since its process began.
    pub(super) handled: f64,
    /// How long its handlers took since then, in seconds, whatever they handled.
    pub(super) durations: Buckets,
    /// Events in its outbox that wait to be published.
    pub(super) outbox_pending: Option<f64>,
    /// How long the oldest of them has waited, in seconds.
    pub(super) outbox_oldest_age: Option<f64>,
    /// Those of them that could not be published when it was tried.
    pub(super) outbox_stuck: Option<f64>,
    /// Whether the broker holds its publisher back.
    pub(super) broker_blocked: Option<f64>,
    /// Dead letters in its table.
    pub(super) dead_letters: Option<f64>,
}

impl Metrics {
    /// Reads the Prometheus text format.
    pub(super) fn read(text: &str) -> Self {
        let mut metrics = Self::default();
        for sample in samples(text) {
            let value = Some(sample.value);
            match sample.name {
                "shop_messages_total" if sample.label("outcome") == Some("handled") => {
                    metrics.handled += sample.value;
                }
                "shop_handler_duration_seconds_bucket" => {
                    let bound = sample.label("le").and_then(|bound| bound.parse().ok());
                    metrics.durations.add(bound, sample.value);
                }
                "shop_outbox_pending" => metrics.outbox_pending = value,
                "shop_outbox_oldest_age_seconds" => metrics.outbox_oldest_age = value,
                "shop_outbox_stuck" => metrics.outbox_stuck = value,
                "shop_broker_blocked" => metrics.broker_blocked = value,
                "shop_dead_letters" => metrics.dead_letters = value,
                _ => {}
            }
        }
        metrics
    }

    /// Messages handled since an earlier reading.
    pub(super) fn handled_since(&self, earlier: &Self) -> f64 {
        since(self.handled, earlier.handled)
    }
}

/// What a counter has grown by. One that is less than it was began again with its process.
fn since(now: f64, earlier: f64) -> f64 {
    if now < earlier { now } else { now - earlier }
}

/// A histogram: up to each bound, in rising order, how many were not over it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Buckets(Vec<(f64, f64)>);

impl Buckets {
    fn add(&mut self, bound: Option<f64>, count: f64) {
        let Some(bound) = bound else { return };
        match self.0.binary_search_by(|(known, _)| known.total_cmp(&bound)) {
            Ok(at) => self.0[at].1 += count,
            Err(at) => self.0.insert(at, (bound, count)),
        }
    }

    fn up_to(&self, bound: f64) -> f64 {
        let known = self.0.iter().find(|(known, _)| *known == bound);
        known.map_or(0.0, |(_, count)| *count)
    }

    /// What has come since an earlier reading; all of it when the process began again meanwhile.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let began_again = self.up_to(f64::INFINITY) < earlier.up_to(f64::INFINITY);
        let more = |(bound, count): &(f64, f64)| {
            let before = if began_again { 0.0 } else { earlier.up_to(*bound) };
            (*bound, (count - before).max(0.0))
        };
        Self(self.0.iter().map(more).collect())
    }

    /// The value that a share of all, from 0 to 1, is not over; none where there is nothing. As
    /// Prometheus' `histogram_quantile` has it: linear within a bucket, and the highest finite bound
    /// for what is over that.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let all = self.up_to(f64::INFINITY);
        if all <= 0.0 {
            return None;
        }
        let rank = share * all;
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if bound.is_infinite() {
                break;
            }
            if *count >= rank && *count > below {
                return Some(lower + (bound - lower) * (rank - below) / (count - below));
            }
            (lower, below) = (*bound, *count);
        }
        Some(lower)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const EARLIER: &str = "\
# TYPE shop_messages_total counter
shop_messages_total{outcome=\"handled\"} 100
shop_messages_total{outcome=\"duplicate\"} 7
shop_outbox_pending 3
shop_outbox_oldest_age_seconds 2.5
shop_dead_letters 1
shop_handler_duration_seconds_bucket{type=\"a\",le=\"0.01\"} 90
shop_handler_duration_seconds_bucket{type=\"a\",le=\"0.1\"} 100
shop_handler_duration_seconds_bucket{type=\"a\",le=\"+Inf\"} 100
shop_handler_duration_seconds_count{type=\"a\"} 100
";
    const LATER: &str = "\
shop_messages_total{outcome=\"handled\"} 130
shop_handler_duration_seconds_bucket{type=\"a\",le=\"0.01\"} 100
shop_handler_duration_seconds_bucket{type=\"a\",le=\"0.1\"} 110
shop_handler_duration_seconds_bucket{type=\"a\",le=\"+Inf\"} 110
shop_handler_duration_seconds_bucket{type=\"b\",le=\"0.01\"} 0
shop_handler_duration_seconds_bucket{type=\"b\",le=\"0.1\"} 10
shop_handler_duration_seconds_bucket{type=\"b\",le=\"+Inf\"} 10
";

    fn buckets(counts: &[(f64, f64)]) -> Buckets {
        Buckets(counts.to_vec())
    }

    #[test]
    fn gauges_are_read_as_they_are_and_what_is_not_set_is_unknown() {
        let metrics = Metrics::read(EARLIER);
        assert_eq!((metrics.outbox_pending, metrics.outbox_oldest_age), (Some(3.0), Some(2.5)));
        assert_eq!((metrics.dead_letters, metrics.outbox_stuck), (Some(1.0), None));
        assert_eq!(Metrics::read("<html>"), Metrics::default());
    }

    #[test]
    fn two_readings_tell_of_the_time_between_them_over_all_types() {
        let (earlier, later) = (Metrics::read(EARLIER), Metrics::read(LATER));
        assert_eq!(later.handled_since(&earlier), 30.0);
        let between = later.durations.since(&earlier.durations);
        assert_eq!(between, buckets(&[(0.01, 10.0), (0.1, 20.0), (f64::INFINITY, 20.0)]));
        // The 19th of 20 is the ninth of the ten in the second bucket.
        assert!((between.quantile(0.95).unwrap() - 0.091).abs() < 1e-12, "{between:?}");
        assert_eq!(later.durations.since(&later.durations).quantile(0.95), None);
    }

    #[test]
    fn a_process_that_began_again_is_counted_from_its_start() {
        let (earlier, later) = (Metrics::read(LATER), Metrics::read(EARLIER));
        assert_eq!(later.handled_since(&earlier), 100.0);
        assert_eq!(later.durations.since(&earlier.durations), later.durations);
    }

    #[test]
    fn a_quantile_is_linear_within_its_bucket_as_in_prometheus() {
        let all = f64::INFINITY;
        let even = buckets(&[(1.0, 10.0), (2.0, 20.0), (4.0, 20.0), (all, 20.0)]);
        assert_eq!(even.quantile(0.5), Some(1.0));
        assert_eq!(even.quantile(0.25), Some(0.5));
        assert_eq!(even.quantile(0.75), Some(1.5));
        assert_eq!(even.quantile(1.0), Some(2.0));
        let late = buckets(&[(1.0, 1.0), (2.0, 1.0), (all, 20.0)]);
        assert_eq!(late.quantile(0.95), Some(2.0), "over every bound");
        assert_eq!(buckets(&[(1.0, 0.0), (all, 0.0)]).quantile(0.95), None);
        assert_eq!(Buckets::default().quantile(0.95), None);
    }
}
