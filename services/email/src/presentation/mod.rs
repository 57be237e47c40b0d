//! The edges: HTTP, messages and the task that sends mail. Each parses, opens a transaction, calls a
//! use case and commits.

pub mod delivery;
pub mod http;
pub mod messages;
