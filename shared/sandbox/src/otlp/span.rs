//! One span as it was received.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

/// Attributes by key. Strings, booleans and numbers are JSON's own; arrays and key-value lists are
/// JSON arrays and objects; bytes are base64 strings, as in OTLP's JSON encoding.
pub type Attributes = BTreeMap<String, Value>;

/// A span's role, as in OTLP.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum SpanKind {
    /// Work inside a process; also what an exporter left unspecified.
    #[default]
    Internal,
    /// Answers a remote request.
    Server,
    /// Makes a remote request.
    Client,
    /// Creates a message.
    Producer,
    /// Handles a message.
    Consumer,
}

impl SpanKind {
    /// The lower-case name that Jaeger uses in the tag `span.kind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }

    /// The kind of that lower-case name; an unknown name is internal.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name {
            "server" => Self::Server,
            "client" => Self::Client,
            "producer" => Self::Producer,
            "consumer" => Self::Consumer,
            _ => Self::Internal,
        }
    }
}

impl fmt::Display for SpanKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a span ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum SpanStatus {
    /// Nobody said.
    #[default]
    Unset,
    /// Said to be good.
    Ok,
    /// Failed, with the description that was given (may be empty).
    Error(String),
}

impl SpanStatus {
    /// True for [`SpanStatus::Error`].
    #[must_use]
    pub const fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }
}

/// A reference to a span that is not the parent, often of another trace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpanLink {
    /// 32 lower-case hexadecimal digits.
    pub trace_id: String,
    /// 16 lower-case hexadecimal digits.
    pub span_id: String,
}

/// Something that happened at one moment of a span.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanEvent {
    /// Nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// The event's name, `exception` for an error.
    pub name: String,
    /// What was recorded with it.
    pub attributes: Attributes,
}

/// A finished span.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanRecord {
    /// 32 lower-case hexadecimal digits.
    pub trace_id: String,
    /// 16 lower-case hexadecimal digits.
    pub span_id: String,
    /// The parent's id; none for the root.
    pub parent_span_id: Option<String>,
    /// The span's name, such as `POST /orders`.
    pub name: String,
    /// The span's role.
    pub kind: SpanKind,
    /// `service.name` of the resource, `unknown_service` where it was not set.
    pub service: Arc<str>,
    /// The instrumentation scope's name, empty where there is none.
    pub scope: Arc<str>,
    /// Nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// Nanoseconds since the Unix epoch.
    pub end_ns: u64,
    /// The span's own attributes.
    pub attributes: Attributes,
    /// The attributes of the process that sent it, `service.name` included.
    pub resource: Arc<Attributes>,
    /// In the order in which they were recorded.
    pub events: Vec<SpanEvent>,
    /// In the order in which they were recorded.
    pub links: Vec<SpanLink>,
    /// How it ended.
    pub status: SpanStatus,
}

impl SpanRecord {
    /// Nanoseconds from start to end; 0 where a clock went backwards.
    #[must_use]
    pub const fn duration_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }

    /// A string attribute, none where it is absent or of another type.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.attributes.get(key).and_then(Value::as_str)
    }
}
