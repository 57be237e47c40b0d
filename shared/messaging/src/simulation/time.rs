//! Time, ids and draws that follow from a seed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use envelope::{Clock, TimeSource};
use uuid::{Builder, Uuid};

/// Draws that follow from a seed: SplitMix64.
///
/// Source: G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators" (2014).
#[derive(Debug, Clone)]
pub struct Draws(u64);

impl Draws {
    /// The draws of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `n`; 0 where there is none.
    pub fn below(&mut self, n: usize) -> usize {
        let wide = u128::from(self.any()) * n as u128;
        (wide >> 64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// From `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.any() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A time that passes when it is told to. Clones share it.
#[derive(Debug, Clone)]
pub struct VirtualTime(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    now: DateTime<Utc>,
    running: Duration,
    draws: Draws,
    ids: u32,
}

impl VirtualTime {
    /// The first of January 2026, with the ids and draws of `seed`.
    pub fn new(seed: u64) -> Self {
        let begin = DateTime::from_timestamp(1_767_225_600, 0).unwrap_or_default();
        let draws = Draws::new(seed ^ 0x7469_6d65);
        let inner = Inner { now: begin, running: Duration::ZERO, draws, ids: 0 };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// A clock that follows it.
    pub fn clock(&self) -> Clock {
        Clock::from_source(self.clone())
    }

    /// Lets time pass.
    pub fn pass(&self, by: Duration) {
        let mut inner = self.inner();
        inner.running += by;
        inner.now += TimeDelta::from_std(by).unwrap_or_default();
    }

    /// Sets the clock, as an operator would: no time passes.
    pub fn set(&self, now: DateTime<Utc>) {
        self.inner().now = now;
    }

    /// The time that has passed since the beginning.
    pub fn passed(&self) -> Duration {
        self.inner().running
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TimeSource for VirtualTime {
    fn now(&self) -> DateTime<Utc> {
        self.inner().now
    }

    fn new_id(&self) -> Uuid {
        let mut inner = self.inner();
        inner.ids = inner.ids.wrapping_add(1);
        let millis = u64::try_from(inner.now.timestamp_millis()).unwrap_or(0);
        // The number comes first, behind the bits of version and variant, so that ids sort.
        let mut rest = [0; 10];
        rest[3..7].copy_from_slice(&inner.ids.to_be_bytes());
        rest[7..].copy_from_slice(&inner.draws.any().to_be_bytes()[..3]);
        Builder::from_unix_timestamp_millis(millis, &rest).into_uuid()
    }

    fn unit(&self) -> f64 {
        self.inner().draws.unit()
    }

    fn running(&self) -> Duration {
        self.passed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_draws_and_another_seed_others() {
        let drawn = |seed| {
            let mut draws = Draws::new(seed);
            (0..50).map(|_| draws.below(1_000)).collect::<Vec<_>>()
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        // The first numbers of the reference implementation for the seed 1234567.
        let mut draws = Draws::new(1_234_567);
        assert_eq!(
            [draws.any(), draws.any()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]
        );
    }

    #[test]
    fn ids_sort_also_within_a_millisecond() {
        let time = VirtualTime::new(1);
        let ids: Vec<Uuid> = (0..300).map(|_| time.new_id()).collect();
        assert!(ids.is_sorted() && ids.iter().all(|id| id.get_version_num() == 7));
    }

    #[test]
    fn setting_the_clock_lets_no_time_pass() {
        let time = VirtualTime::new(1);
        let clock = time.clock();
        time.pass(Duration::from_secs(60));
        let before = clock.now();
        time.set(before - TimeDelta::hours(1));
        assert_eq!(clock.running(), Duration::from_secs(60));
        time.pass(Duration::from_secs(1));
        assert_eq!(clock.now(), before - TimeDelta::hours(1) + TimeDelta::seconds(1));
    }
}
