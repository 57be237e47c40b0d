//! The HTTP server, its limits, and extractors that refuse bad input in one language.
//!
//! Every error is `application/problem+json`, whoever noticed it: a handler, an extractor, the router
//! (404, 405 with `Allow`), a limit, a panic, or hyper before any of our code ran. For the last kind
//! hyper 1.12 offers no hook: it writes a bare `400`, `414` or `431` by itself and closes a connection
//! whose head is late without a word. The server therefore watches what leaves the socket and puts the
//! problem in place of the bare answer, and writes the `408` itself. Two cases stay bare: a bad request
//! pipelined behind one whose answer is still unsent, and a client that speaks HTTP/2 without asking.

mod answer;
mod api;
mod body;
mod conditions;
mod id;
mod idempotency;
mod json;
mod limits;
pub mod openapi;
mod page;
mod params;
mod schema;
mod server;
mod stall;
mod stored;
mod strict;
mod time;
mod trace;

pub use aide::axum::{ApiRouter, routing};
pub use api::Api;
pub(crate) use api::panic_text;
pub use body::{body_problem, read_body};
pub use id::Id;
pub use idempotency::{IdempotencyKey, KeyedCsv, KeyedJson};
pub use json::Json;
pub use limits::Limits;
pub use page::{Cursor, Limit};
pub use params::{Path, Query};
pub use server::{BindError, Door, Server, Stopping};
pub use stored::StoredAnswer;
pub use time::Time;
pub use trace::RequestContext;
