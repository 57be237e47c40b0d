//! The edges: HTTP and messages. Each parses, opens a transaction, calls a use case and commits.

mod answers;
pub mod http;
mod import;
pub mod messages;
mod requests;
