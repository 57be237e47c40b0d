//! A clock that stands still until a test moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use envelope::{Clock, TimeSource};
use uuid::Uuid;

/// Clones move together.
#[derive(Clone)]
pub struct Still(Arc<AtomicI64>);

impl Still {
    /// It shows noon of some day.
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_790_251_200_000_000)))
    }

    pub fn pass(&self, time: TimeDelta) {
        self.0.fetch_add(time.num_microseconds().unwrap(), Ordering::SeqCst);
    }

    pub fn clock(&self) -> Clock {
        Clock::from_source(self.clone())
    }
}

impl TimeSource for Still {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0.load(Ordering::SeqCst)).unwrap()
    }

    fn new_id(&self) -> Uuid {
        Clock::system().new_id()
    }

    fn unit(&self) -> f64 {
        Clock::system().unit()
    }
}
