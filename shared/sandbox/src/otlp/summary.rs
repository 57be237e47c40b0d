//! One line about a trace, for lists.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::span::SpanRecord;

/// What a list shows of a trace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TraceSummary {
    /// 32 lower-case hexadecimal digits.
    pub trace_id: String,
    /// The service of the first span without a parent, or of the earliest span.
    pub service: Arc<str>,
    /// That span's name.
    pub name: String,
    /// Nanoseconds since the Unix epoch of the earliest span.
    pub start_ns: u64,
    /// Nanoseconds from there to the end of the last span.
    pub duration_ns: u64,
    /// Spans received so far.
    pub spans: usize,
    /// Spans that ended with an error.
    pub errors: usize,
    /// Every service that took part.
    pub services: BTreeSet<Arc<str>>,
}

impl TraceSummary {
    pub(super) fn of(spans: &[SpanRecord]) -> Self {
        let head = spans.iter().min_by_key(|span| (span.parent_span_id.is_some(), span.start_ns));
        let start_ns = spans.iter().map(|span| span.start_ns).min().unwrap_or_default();
        let end_ns = spans.iter().map(|span| span.end_ns).max().unwrap_or_default();
        Self {
            trace_id: head.map(|span| span.trace_id.clone()).unwrap_or_default(),
            service: head.map_or_else(|| "".into(), |span| Arc::clone(&span.service)),
            name: head.map(|span| span.name.clone()).unwrap_or_default(),
            start_ns,
            duration_ns: end_ns.saturating_sub(start_ns),
            spans: spans.len(),
            errors: spans.iter().filter(|span| span.status.is_error()).count(),
            services: spans.iter().map(|span| Arc::clone(&span.service)).collect(),
        }
    }
}
