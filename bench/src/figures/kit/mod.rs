//! The kit by itself: two services of which one publishes and one consumes, as a user would build them.

mod backlog;
mod consumer;
mod drained;
mod events;
mod latency;
mod pair;
mod poison;
mod relay;
mod service;

use super::Subject;
pub(crate) use events::placed;

/// All of them.
pub(crate) fn subjects() -> Vec<Box<dyn Subject>> {
    vec![
        Box::new(relay::Relay::default()),
        Box::new(latency::Latency::default()),
        Box::new(consumer::Consumer::default()),
        Box::new(poison::Poison::default()),
    ]
}
