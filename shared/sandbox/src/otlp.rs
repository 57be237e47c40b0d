//! OpenTelemetry traces in: a receiver for OTLP over gRPC and HTTP, a store of bounded memory, and
//! the tree of one trace for tests and for people.

mod convert;
mod receiver;
mod render;
mod span;
mod store;
mod summary;
mod tree;

pub use receiver::{MAX_EXPORT_BYTES, Receiver};
pub use span::{Attributes, SpanEvent, SpanKind, SpanLink, SpanRecord, SpanStatus};
pub use store::{StoreCounters, StoreLimits, TraceStore, TraceTimeout};
pub use summary::TraceSummary;
pub use tree::{TraceTree, TreeRow};

pub(crate) use render::millis;
