//! The use cases: each takes stores and a command, decides, and returns. None begins or commits.

pub mod cancel_payments;
pub mod ports;
pub mod request_payments;
pub mod settle_payments;
pub mod views;
