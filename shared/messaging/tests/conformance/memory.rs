//! The broker in memory, with all of its faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use envelope::{Clock, TimeSource};
use messaging::topology::Topology;
use messaging::transport::Transport;
use messaging::transport::conformance::{Bench, NAMESPACE, Raw};
use messaging::transport::memory::{Content, Memory};
use uuid::Uuid;

pub struct OfMemory {
    broker: Memory,
    time: Option<Stopped>,
}

/// A time that passes when it is told to.
#[derive(Clone, Default)]
struct Stopped(Arc<AtomicI64>);

impl TimeSource for Stopped {
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::milliseconds(self.0.load(Ordering::SeqCst))
    }

    fn new_id(&self) -> Uuid {
        Clock::system().new_id()
    }

    fn unit(&self) -> f64 {
        Clock::system().unit()
    }
}

impl OfMemory {
    pub fn new() -> Self {
        Self { broker: Memory::new(Clock::system(), NAMESPACE), time: None }
    }

    pub fn with_virtual_time() -> Self {
        let time = Stopped::default();
        let broker = Memory::new(Clock::from_source(time.clone()), NAMESPACE);
        Self { broker, time: Some(time) }
    }
}

#[async_trait]
impl Bench for OfMemory {
    fn transport(&self) -> &dyn Transport {
        &self.broker
    }

    async fn pass(&self, time: Duration) {
        if let Some(stopped) = &self.time {
            stopped.0.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
            self.broker.tick();
        }
    }

    async fn cut(&self) -> bool {
        self.broker.cut(None);
        true
    }

    async fn away(&self, yes: bool) -> bool {
        self.broker.set_away(yes);
        true
    }

    async fn block(&self, yes: bool) -> bool {
        self.broker.block(yes);
        true
    }

    async fn lose_confirms(&self) -> bool {
        self.broker.lose_confirms(2);
        true
    }

    async fn delete_queue(&self, queue: &str) -> bool {
        self.broker.delete_queue(queue)
    }

    async fn limit(&self, queue: &str, most: Option<usize>) -> bool {
        self.broker.limit(queue, most)
    }

    async fn make_different(&self, topology: &Topology) -> bool {
        self.broker.make_foreign_queue(&topology.dead_letter_queue());
        true
    }

    async fn put(&self, queue: &str, raw: &Raw) -> bool {
        let Raw { properties, headers, body } = raw.clone();
        self.broker.put(queue, Content { properties, headers, body })
    }
}
