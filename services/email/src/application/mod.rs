//! The use cases: each takes stores and a command, decides, and returns. None begins or commits.

pub mod ports;
pub mod queue_emails;
pub mod settle_emails;
pub mod views;
