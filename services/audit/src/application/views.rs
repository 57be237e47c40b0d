//! What clients see of the log.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// An entry, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the entry table")]
pub struct EventView {
    pub seq: i64,
    pub event_id: Uuid,
    pub source: String,
    pub event_type: String,
    pub subject: String,
    pub aggversion: i32,
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
    pub traceparent: Option<String>,
    pub occurred_at: DateTime<Utc>,
    pub received_at: DateTime<Utc>,
    pub published_at: Option<DateTime<Utc>>,
}

/// Which entries are asked for; what is absent does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// The full CloudEvents type.
    pub event_type: Option<String>,
    /// The CloudEvents source.
    pub source: Option<String>,
    /// Received at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Received before this entry.
    pub before: Option<Place>,
}

/// An entry's place among all, by the time when it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// When it was received.
    pub received_at: DateTime<Utc>,
    /// Its number, for those received at the same time.
    pub seq: i64,
}
