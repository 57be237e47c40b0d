//! The one home of the wall clock and of randomness.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound, Utc};
use uuid::Uuid;

/// Where time, ids and randomness come from. The system has one; a simulation brings its own.
pub trait TimeSource: Send + Sync + 'static {
    /// The time now, UTC.
    fn now(&self) -> DateTime<Utc>;
    /// A new UUIDv7, later ones sorting after earlier ones of the same source.
    fn new_id(&self) -> Uuid;
    /// A uniform draw from `[0, 1)`.
    fn unit(&self) -> f64;
    /// The time that has passed since some fixed moment of this process; it never goes back, also when
    /// the clock is set. The machine's own unless a source says otherwise.
    fn running(&self) -> Duration {
        static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
        BEGUN.elapsed()
    }
}

/// A cheap handle on a [`TimeSource`].
#[derive(Clone)]
pub struct Clock(Arc<dyn TimeSource>);

impl Clock {
    /// The machine's own clock and generator.
    pub fn system() -> Self {
        Self(Arc::new(SystemTime))
    }

    /// A clock that follows `source`.
    pub fn from_source(source: impl TimeSource) -> Self {
        Self(Arc::new(source))
    }

    /// The time now, UTC, in whole microseconds: what Postgres stores is what was decided on.
    pub fn now(&self) -> DateTime<Utc> {
        self.0.now().trunc_subsecs(6)
    }

    /// A new UUIDv7.
    pub fn new_id(&self) -> Uuid {
        self.0.new_id()
    }

    /// A uniform draw from `[0, 1)`, for jitter.
    pub fn unit(&self) -> f64 {
        self.0.unit()
    }

    /// The time that has passed since some fixed moment of this process, for spans of time within it: it
    /// never goes back, also when the clock is set.
    pub fn running(&self) -> Duration {
        self.0.running()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

struct SystemTime;

#[expect(clippy::disallowed_methods, reason = "this is the clock that the ban points to")]
impl TimeSource for SystemTime {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }

    fn unit(&self) -> f64 {
        // The top 53 bits of a random UUID's tail fill a double's mantissa exactly.
        let bits = u64::from_be_bytes(
            Uuid::new_v4().as_u128().to_be_bytes()[8..].try_into().unwrap_or([0; 8]),
        );
        // The two variant bits are constant, so they are shifted out.
        ((bits << 2) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_is_never_one_and_covers_the_range() {
        let clock = Clock::system();
        let draws: Vec<f64> = (0..2_000).map(|_| clock.unit()).collect();
        assert!(draws.iter().all(|d| (0.0..1.0).contains(d)));
        assert!(draws.iter().any(|d| *d < 0.1) && draws.iter().any(|d| *d > 0.9));
    }

    #[test]
    fn ids_sort_in_the_order_they_were_made() {
        let clock = Clock::system();
        let ids: Vec<Uuid> = (0..1_000).map(|_| clock.new_id()).collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn what_has_passed_never_goes_back() {
        let clock = Clock::system();
        let times: Vec<Duration> = (0..1_000).map(|_| clock.running()).collect();
        assert!(times.is_sorted() && times[0] < times[999], "{:?}", times[999]);
    }

    #[test]
    fn times_carry_no_more_than_microseconds() {
        assert_eq!(Clock::system().now().timestamp_subsec_nanos() % 1_000, 0);
    }
}
