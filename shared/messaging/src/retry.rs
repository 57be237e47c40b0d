//! How long to wait: between attempts to reach something that is away, and between attempts at a
//! message.

use std::time::Duration;

use envelope::Clock;

/// Exponential back-off with jitter, for what is away and will come back.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Starts at `base`, doubles per failure, never over `max`.
    pub fn new(base: Duration, max: Duration) -> Self {
        Self { base, max, failures: 0 }
    }

    /// Counts a failure and returns the pause before the next attempt: half of it fixed, half
    /// drawn, so that replicas that fell together do not come back in step.
    ///
    /// Source: M. Brooker, "Exponential Backoff And Jitter" (2015), the variant "equal jitter".
    pub fn next(&mut self, clock: &Clock) -> Duration {
        let doubled = self.base.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        doubled.min(self.max).mul_f64(0.5 + clock.unit() / 2.0)
    }

    /// Back to the start: it worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// The pauses of the retry ladder, one rung per attempt; after the last the message is parked.
pub const LADDER: [Rung; 5] = [
    Rung { name: "1s", delay: Duration::from_secs(1) },
    Rung { name: "5s", delay: Duration::from_secs(5) },
    Rung { name: "30s", delay: Duration::from_secs(30) },
    Rung { name: "2m", delay: Duration::from_secs(120) },
    Rung { name: "10m", delay: Duration::from_secs(600) },
];

/// One rung of the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rung {
    /// The delay as it stands in queue names and metrics.
    pub name: &'static str,
    /// How long a message rests on it.
    pub delay: Duration,
}

/// The rung after `attempt` failed attempts (1 after the first); none when the ladder is climbed.
pub fn rung_after(attempt: u32) -> Option<Rung> {
    LADDER.get(usize::try_from(attempt).ok()?.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_up_to_its_limit_and_starts_again_after_success() {
        let clock = Clock::system();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for full_ms in [100, 200, 400, 800, 1_000, 1_000] {
            let pause = backoff.next(&clock).as_millis();
            assert!(pause >= full_ms / 2 && pause <= full_ms, "{pause} of {full_ms}");
        }
        backoff.reset();
        assert!(backoff.next(&clock) <= Duration::from_millis(100));
    }

    #[test]
    fn five_attempts_climb_the_ladder_and_the_sixth_falls_off() {
        let names: Vec<_> = (1..=5).filter_map(rung_after).map(|r| r.name).collect();
        assert_eq!(names, ["1s", "5s", "30s", "2m", "10m"]);
        assert_eq!(rung_after(6), None);
        assert_eq!(rung_after(0), None);
    }
}
