//! Leaves messages in their queue while what their handlers need is away.
//!
//! A failure that is no message's fault is tried again with one message, after a pause that grows.
//! When that has come to nothing for some seconds, deliveries stop and the others go back, so that
//! replicas that are better off can have them. The one that stays is the probe.

use std::time::Duration;

use envelope::Clock;
use metrics::gauge;

use crate::retry::Backoff;

/// How long it is tried until deliveries stop: what is back sooner, such as a database that starts
/// again, moves no message.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest pause: so late at most work goes on once the cause is gone.
const LONGEST: Duration = Duration::from_secs(2);

/// In the metric.
pub(crate) const TASK: &str = "consumer";

/// Whether a consumer takes messages.
pub(crate) struct Breaker {
    /// When the first of the failures in a row was, by the clock's running time.
    since: Option<Duration>,
    open: bool,
    backoff: Backoff,
}

impl Breaker {
    pub(crate) fn new() -> Self {
        let backoff = Backoff::new(Duration::from_millis(50), LONGEST);
        Self { since: None, open: false, backoff }
    }

    /// Whether the last try came to nothing: the next one is made with one message.
    pub(crate) fn in_doubt(&self) -> bool {
        self.since.is_some()
    }

    /// Whether deliveries are to stop.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// A try came to nothing; returns the pause before the next one.
    pub(crate) fn failed(&mut self, clock: &Clock) -> Duration {
        let now = clock.running();
        let since = *self.since.get_or_insert(now);
        if !self.open && now.saturating_sub(since) >= PATIENCE {
            self.open = true;
            show(TASK, true);
        }
        self.backoff.next(clock)
    }

    /// It works, or nobody knows any more that it does not.
    pub(crate) fn reset(&mut self) {
        if self.open {
            show(TASK, false);
        }
        (self.since, self.open) = (None, false);
        self.backoff.reset();
    }
}

/// Tells whether the breaker of a task is open.
pub(crate) fn show(task: &'static str, open: bool) {
    gauge!("breaker_state", "task" => task).set(f64::from(u8::from(open)));
}

/// The metric, before anything has happened; what another one of this process tells stays.
pub(crate) fn name_metric(task: &'static str) {
    gauge!("breaker_state", "task" => task).increment(0.0);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use chrono::{DateTime, Utc};
    use envelope::TimeSource;
    use uuid::Uuid;

    use super::*;

    /// The system's clock, of which so many seconds have passed.
    #[derive(Clone, Default)]
    struct Passed(Arc<AtomicU64>);

    impl Passed {
        fn clock(&self) -> Clock {
            Clock::from_source(self.clone())
        }

        fn patience_is_over(&self) {
            self.0.fetch_add(PATIENCE.as_secs(), Ordering::SeqCst);
        }
    }

    impl TimeSource for Passed {
        fn now(&self) -> DateTime<Utc> {
            Clock::system().now()
        }

        fn new_id(&self) -> Uuid {
            Clock::system().new_id()
        }

        fn unit(&self) -> f64 {
            Clock::system().unit()
        }

        fn running(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::SeqCst))
        }
    }

    #[test]
    fn it_opens_after_some_seconds_tries_ever_more_seldom_and_closes_at_once() {
        let (time, mut breaker) = (Passed::default(), Breaker::new());
        let clock = time.clock();
        assert!(!breaker.in_doubt());
        assert!(breaker.failed(&clock) <= Duration::from_millis(50));
        breaker.failed(&clock);
        assert!(breaker.in_doubt() && !breaker.is_open(), "it may be a blip");
        time.patience_is_over();
        breaker.failed(&clock);
        assert!(breaker.in_doubt() && breaker.is_open());
        for _ in 0..4 {
            breaker.failed(&clock);
        }
        for _ in 0..10 {
            let pause = breaker.failed(&clock);
            assert!(pause >= LONGEST / 2 && pause <= LONGEST, "{pause:?}");
        }
        breaker.reset();
        assert!(!breaker.in_doubt() && !breaker.is_open());
        assert!(breaker.failed(&clock) <= Duration::from_millis(50));
    }

    #[test]
    fn failures_with_a_success_between_them_open_nothing() {
        let (time, mut breaker) = (Passed::default(), Breaker::new());
        let clock = time.clock();
        breaker.failed(&clock);
        time.patience_is_over();
        breaker.reset();
        breaker.failed(&clock);
        assert!(!breaker.is_open());
    }
}
