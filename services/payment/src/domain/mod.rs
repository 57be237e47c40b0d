//! The rules: pure, without clock, I/O or async.

pub mod money;
pub mod payment;
