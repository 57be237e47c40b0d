//! The rules: pure, without clock, I/O or async.

pub mod chain;
pub mod timeline;
