//! The use cases: each takes stores and a command, decides, and returns. None begins or commits.

pub mod cancel_payment;
pub mod ports;
pub mod request_payment;
pub mod settle_payment;
pub mod views;
