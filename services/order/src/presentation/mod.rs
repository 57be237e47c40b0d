//! The edges: HTTP and messages. Each parses, opens a transaction, calls a use case and commits.

pub mod answers;
pub mod deadlines;
pub mod events;
pub mod feed;
pub mod gauges;
pub mod http;
pub mod messages;
mod openapi;
pub mod requests;
