//! Everything that is drawn in a run comes from its seed, by a generator that draws the same for ever.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

/// A generator of one purpose.
#[derive(Debug, Clone)]
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    /// The generator of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A generator of its own for a part, so that what one part draws changes nothing for another.
    pub(crate) fn fork(&mut self) -> Self {
        Self::new(self.0.next_u64())
    }

    /// A number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.0.next_u64() % limit.max(1) as u64).unwrap_or_default()
    }

    /// One of several.
    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Yes in so many of 100 cases.
    pub(crate) fn percent(&mut self, yes: usize) -> bool {
        self.below(100) < yes
    }

    /// A time between two, to the millisecond.
    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = usize::try_from((most - least).as_millis()).unwrap_or(usize::MAX);
        least + Duration::from_millis(self.below(span.saturating_add(1)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_for_ever_and_parts_do_not_disturb_each_other() {
        let mut first = Draw::new(7);
        let mut again = Draw::new(7);
        let mut part = first.fork();
        let _ = again.fork();
        part.below(9);
        let drawn: Vec<usize> = (0..3).map(|_| first.below(1_000_000)).collect();
        assert_eq!(drawn, (0..3).map(|_| again.below(1_000_000)).collect::<Vec<_>>());
        assert_ne!(drawn, (0..3).map(|_| Draw::new(8).below(1_000_000)).collect::<Vec<_>>());
        let time = first.between(Duration::from_secs(1), Duration::from_secs(2));
        assert!((1..=2).contains(&time.as_secs()));
    }
}
