//! A clock that a test can move.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use envelope::{Clock, TimeSource};
use uuid::Uuid;

/// The system's clock, a number of seconds off. Clones move together.
#[derive(Debug, Clone, Default)]
pub struct Shifted(Arc<AtomicI64>);

impl Shifted {
    /// From now on it is this much later than it is.
    pub fn set(&self, by: TimeDelta) {
        self.0.store(by.num_seconds(), Ordering::SeqCst);
    }

    pub fn clock(&self) -> Clock {
        Clock::from_source(self.clone())
    }
}

impl TimeSource for Shifted {
    fn now(&self) -> DateTime<Utc> {
        Clock::system().now() + TimeDelta::seconds(self.0.load(Ordering::SeqCst))
    }

    fn new_id(&self) -> Uuid {
        Clock::system().new_id()
    }

    fn unit(&self) -> f64 {
        Clock::system().unit()
    }
}
