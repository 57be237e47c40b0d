//! So many letters per second and no more, by the clock that all of the kit goes by.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The most at a time: what a batch holds in memory, and what a crash may send twice.
const LARGEST: i64 = 100;
/// So many batches a second, unless that would be less than a letter each.
const BATCHES: i64 = 10;
/// What a letter costs; a second brings as much for each letter of the rate.
const LETTER: i64 = 1_000_000;

/// The pace of one job. Another job begins with a batch.
#[derive(Debug, Default)]
pub(super) struct Pace {
    job: Option<Uuid>,
    /// In millionths of a letter, so that nothing is lost to rounding.
    saved: i64,
    at: DateTime<Utc>,
}

impl Pace {
    /// How many letters of `job` may go now at `rate` letters per second.
    ///
    /// # Errors
    /// How long to wait where they are too few to be worth a batch.
    pub(super) fn room(
        &mut self,
        job: Uuid,
        rate: i32,
        now: DateTime<Utc>,
    ) -> Result<i64, Duration> {
        let rate = i64::from(rate).max(1);
        let batch = (rate / BATCHES).clamp(1, LARGEST);
        if self.job != Some(job) {
            *self = Self { job: Some(job), saved: batch * LETTER, at: now };
        }
        // A clock that was set back brings nothing and costs nothing.
        let passed = (now - self.at).num_microseconds().unwrap_or(0).max(0);
        self.at = now;
        // Half a second evens out what a batch takes. More is not saved up: whoever was held up does
        // not make up for it.
        let most = (rate * LETTER / 2).max(2 * batch * LETTER);
        self.saved = (self.saved + passed.saturating_mul(rate)).min(most);
        let missing = batch * LETTER - self.saved;
        if missing > 0 {
            let micros = u64::try_from(missing.div_euclid(rate) + 1).unwrap_or_default();
            return Err(Duration::from_micros(micros));
        }
        Ok((self.saved / LETTER).min(LARGEST))
    }

    /// So many have gone.
    pub(super) fn spend(&mut self, letters: usize) {
        self.saved -= i64::try_from(letters).unwrap_or(i64::MAX).saturating_mul(LETTER);
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    /// How many go within so many steps of a length, when as many go as may.
    fn sent(rate: i32, step: TimeDelta, steps: i32) -> i64 {
        let (mut pace, mut now, mut sent) = (Pace::default(), DateTime::UNIX_EPOCH, 0);
        for _ in 0..steps {
            if let Ok(room) = pace.room(Uuid::nil(), rate, now) {
                pace.spend(usize::try_from(room).unwrap_or_default());
                sent += room;
            }
            now += step;
        }
        sent
    }

    #[test]
    fn a_rate_is_kept_and_the_first_batch_goes_at_once() {
        assert_eq!(sent(50, TimeDelta::milliseconds(100), 101), 5 + 500);
        assert_eq!(sent(50, TimeDelta::milliseconds(7), 1 + 10_000 / 7), 500);
        assert_eq!(sent(1, TimeDelta::milliseconds(300), 101), 1 + 30);
        assert_eq!(sent(10_000, TimeDelta::milliseconds(10), 101), 100 + 10_000);
    }

    #[test]
    fn time_in_which_nothing_went_is_not_made_up_for() {
        assert_eq!(sent(50, TimeDelta::hours(1), 10), 5 + 9 * 25);
    }

    #[test]
    fn what_is_missing_is_there_after_the_pause_and_not_before() {
        let mut pace = Pace::default();
        let start = DateTime::UNIX_EPOCH;
        let room = pace.room(Uuid::nil(), 3, start);
        assert_eq!(room, Ok(1));
        pace.spend(1);
        let pause = pace.room(Uuid::nil(), 3, start).err().unwrap_or_default();
        assert_eq!(pause, Duration::from_micros(333_334));
        assert!(pace.room(Uuid::nil(), 3, start + TimeDelta::microseconds(333_333)).is_err());
        assert_eq!(pace.room(Uuid::nil(), 3, start + pause), Ok(1));
        // Set back by an hour.
        pace.spend(1);
        assert!(pace.room(Uuid::nil(), 3, start - TimeDelta::hours(1)).is_err());
    }
}
