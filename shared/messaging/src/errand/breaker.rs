//! Leaves an outside world alone that does not answer.

use std::time::Duration;

use envelope::Clock;

use crate::breaker::{name_metric, show};
use crate::retry::Backoff;

/// Calls in a row without an answer until the outside world counts as away.
const PATIENCE: u32 = 8;

/// Closed, it lets all through. After [`PATIENCE`] failures in a row it opens for a while that grows;
/// then it lets one through, whose fate decides whether it closes or opens again.
pub(super) struct Breaker {
    /// Whose it is, for logs and the metric.
    task: &'static str,
    failures: u32,
    backoff: Backoff,
    /// By the clock's running time.
    opens_until: Option<Duration>,
}

impl Breaker {
    pub(super) fn new(task: &'static str) -> Self {
        name_metric(task);
        let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        Self { task, failures: 0, backoff, opens_until: None }
    }

    /// How many of `free` calls may be begun while `in_flight` others are under way.
    pub(super) fn room(&self, free: usize, in_flight: usize, clock: &Clock) -> usize {
        match self.opens_until {
            None => free,
            Some(until) if clock.running() >= until && in_flight == 0 => free.min(1),
            Some(_) => 0,
        }
    }

    /// How long it stays open.
    pub(super) fn open_for(&self, clock: &Clock) -> Option<Duration> {
        let left = self.opens_until?.saturating_sub(clock.running());
        (!left.is_zero()).then_some(left)
    }

    /// A call was answered.
    pub(super) fn succeeded(&mut self) {
        if self.opens_until.take().is_some() {
            tracing::info!(task = self.task, "the other side answers again");
            show(self.task, false);
        }
        self.failures = 0;
        self.backoff.reset();
    }

    /// A call was not.
    pub(super) fn failed(&mut self, clock: &Clock) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= PATIENCE && self.open_for(clock).is_none() {
            if self.opens_until.is_none() {
                let (task, failures) = (self.task, self.failures);
                tracing::warn!(task, failures, "the other side is left alone for a while");
                show(task, true);
            }
            self.opens_until = Some(clock.running() + self.backoff.next(clock));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_that_fails_in_a_row_is_left_alone_until_one_call_succeeds() {
        let (clock, mut breaker) = (Clock::system(), Breaker::new("test"));
        for _ in 1..PATIENCE {
            breaker.failed(&clock);
            assert_eq!(breaker.room(16, 0, &clock), 16);
        }
        breaker.failed(&clock);
        assert_eq!(breaker.room(16, 0, &clock), 0);
        assert!(breaker.open_for(&clock).is_some_and(|left| left <= Duration::from_millis(200)));

        breaker.opens_until = Some(clock.running());
        assert_eq!((breaker.room(16, 0, &clock), breaker.room(15, 1, &clock)), (1, 0));
        breaker.failed(&clock);
        assert_eq!(breaker.room(16, 0, &clock), 0);
        breaker.succeeded();
        assert_eq!(breaker.room(16, 0, &clock), 16);
    }

    #[test]
    fn failures_that_come_between_successes_open_nothing() {
        let (clock, mut breaker) = (Clock::system(), Breaker::new("test"));
        for _ in 0..PATIENCE * 2 {
            breaker.failed(&clock);
            breaker.failed(&clock);
            breaker.succeeded();
        }
        assert_eq!(breaker.room(16, 0, &clock), 16);
    }
}
