//! The kit by itself: two services of which one publishes and one consumes, as a user would build them.

mod backlog;
mod drained;
mod events;
mod relay;
mod service;

use super::Subject;

/// All of them.
pub(crate) fn subjects() -> Vec<Box<dyn Subject>> {
    vec![Box::new(relay::Relay::default())]
}
