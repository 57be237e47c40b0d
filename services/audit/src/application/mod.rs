//! The use cases: each takes stores and a command, decides, and returns. None begins or commits.

pub mod ports;
pub mod record_event;
pub mod timeline;
pub mod verify_chain;
pub mod views;
