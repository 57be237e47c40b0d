//! The rules: pure, without clock, I/O or async.

pub mod email;
pub mod money;
