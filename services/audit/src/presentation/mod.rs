//! The edges: HTTP and messages. Each parses, opens a transaction, calls a use case and commits.

mod answers;
pub mod feed;
pub mod http;
pub mod messages;
mod requests;
