//! The edges: HTTP and messages. Each parses, opens a transaction, calls a use case and commits.

mod answers;
pub mod http;
pub mod import;
pub mod messages;
mod openapi;
mod requests;
