//! The edges: HTTP, messages and the task that asks the gateway. Each parses, opens a transaction,
//! calls a use case and commits.

pub mod http;
pub mod messages;
pub mod settlement;
