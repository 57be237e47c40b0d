//! What a service needs of a broker, derived from the handlers it registers. How a broker provides
//! it is its transport's business.

use crate::retry::{LADDER, Rung};

/// The name of the stream that all events are published to.
pub const EVENTS: &str = "events";

/// The `messaging.system` of spans and metrics.
pub(crate) const SYSTEM: &str = "rabbitmq";

/// The destination of an event in span names: `events:order.placed.v1`.
pub(crate) fn destination(short_type: &str) -> String {
    format!("{EVENTS}:{short_type}")
}

/// What one service consumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The service; its queues are named after it.
    pub service: String,
    /// The short types it is bound to, sorted; `#` stands for all.
    pub bindings: Vec<String>,
}

impl Topology {
    /// The queue that deliveries come from: `<service>.in`.
    pub fn work_queue(&self) -> String {
        format!("{}.in", self.service)
    }

    /// Where a message rests on a rung of the ladder: `<service>.retry.<delay>`.
    pub fn retry_queue(&self, rung: Rung) -> String {
        format!("{}.retry.{}", self.service, rung.name)
    }

    /// Where a message is parked: `<service>.dlq`.
    pub fn dead_letter_queue(&self) -> String {
        format!("{}.dlq", self.service)
    }

    /// The rungs of the ladder, shortest first.
    pub fn rungs(&self) -> &'static [Rung] {
        &LADDER
    }
}
