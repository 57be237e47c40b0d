//! A clock that a test can move.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use envelope::{Clock, TimeSource};
use uuid::Uuid;

/// The system's clock, some time off, or one that stands still. Clones move together.
#[derive(Debug, Clone, Default)]
pub struct Shifted(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    by: TimeDelta,
    stands_at: Option<DateTime<Utc>>,
}

#[allow(dead_code, reason = "not every test that takes it stops it")]
impl Shifted {
    /// From now on it is this much later than it is.
    pub fn set(&self, by: TimeDelta) {
        self.0.lock().unwrap().by = by;
    }

    /// From now on only [`pass`](Self::pass) moves it.
    pub fn stop(&self) {
        let now = self.now();
        self.0.lock().unwrap().stands_at = Some(now);
    }

    /// Lets time pass on a clock that stands still.
    pub fn pass(&self, time: TimeDelta) {
        let mut state = self.0.lock().unwrap();
        state.stands_at = Some(state.stands_at.expect("a clock that stands still") + time);
    }

    pub fn clock(&self) -> Clock {
        Clock::from_source(self.clone())
    }
}

impl TimeSource for Shifted {
    fn now(&self) -> DateTime<Utc> {
        let state = self.0.lock().unwrap();
        state.stands_at.unwrap_or_else(|| Clock::system().now() + state.by)
    }

    fn new_id(&self) -> Uuid {
        Clock::system().new_id()
    }

    fn unit(&self) -> f64 {
        Clock::system().unit()
    }
}
