//! From OTLP's messages to our records, with every size bounded.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span, Status, status};
use serde_json::Value;

use super::span::{Attributes, SpanEvent, SpanKind, SpanLink, SpanRecord, SpanStatus};

/// The SDK's own default for attributes, events and links of one span.
const MAX_ITEMS: usize = 128;
/// Longer strings are cut: memory stays bounded by the number of spans.
const MAX_TEXT: usize = 8 * 1024;
/// Nesting of a value; what lies deeper is left out.
const MAX_DEPTH: usize = 8;

/// All well-formed spans, and how many had no usable id.
pub(super) fn records(batches: Vec<ResourceSpans>) -> (Vec<SpanRecord>, usize) {
    let (mut records, mut malformed) = (Vec::new(), 0);
    for batch in batches {
        let resource = attributes(batch.resource.map(|r| r.attributes).unwrap_or_default());
        let service = resource.get("service.name").and_then(Value::as_str);
        let service: Arc<str> = service.unwrap_or("unknown_service").into();
        let resource = Arc::new(resource);
        for scope_spans in batch.scope_spans {
            let scope: Arc<str> = scope_spans.scope.map(|s| cut(s.name)).unwrap_or_default().into();
            for span in scope_spans.spans {
                match record(span, &service, &scope, &resource) {
                    Some(record) => records.push(record),
                    None => malformed += 1,
                }
            }
        }
    }
    (records, malformed)
}

fn record(
    span: Span,
    service: &Arc<str>,
    scope: &Arc<str>,
    resource: &Arc<Attributes>,
) -> Option<SpanRecord> {
    Some(SpanRecord {
        trace_id: id(&span.trace_id, 16)?,
        span_id: id(&span.span_id, 8)?,
        parent_span_id: id(&span.parent_span_id, 8),
        kind: kind(span.kind),
        name: cut(span.name),
        service: Arc::clone(service),
        scope: Arc::clone(scope),
        start_ns: span.start_time_unix_nano,
        end_ns: span.end_time_unix_nano,
        attributes: attributes(span.attributes),
        resource: Arc::clone(resource),
        events: span.events.into_iter().take(MAX_ITEMS).map(event).collect(),
        links: span.links.into_iter().take(MAX_ITEMS).filter_map(|l| link(&l)).collect(),
        status: span.status.map(outcome).unwrap_or_default(),
    })
}

/// Lower-case hexadecimal; none for a wrong length and for the all-zero id, which means "no id".
fn id(bytes: &[u8], length: usize) -> Option<String> {
    let valid = bytes.len() == length && bytes.iter().any(|byte| *byte != 0);
    valid.then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

const fn kind(number: i32) -> SpanKind {
    match number {
        2 => SpanKind::Server,
        3 => SpanKind::Client,
        4 => SpanKind::Producer,
        5 => SpanKind::Consumer,
        _ => SpanKind::Internal,
    }
}

fn outcome(given: Status) -> SpanStatus {
    if given.code == status::StatusCode::Error as i32 {
        SpanStatus::Error(cut(given.message))
    } else if given.code == status::StatusCode::Ok as i32 {
        SpanStatus::Ok
    } else {
        SpanStatus::Unset
    }
}

fn event(event: Event) -> SpanEvent {
    SpanEvent {
        at_ns: event.time_unix_nano,
        name: cut(event.name),
        attributes: attributes(event.attributes),
    }
}

fn link(link: &Link) -> Option<SpanLink> {
    Some(SpanLink { trace_id: id(&link.trace_id, 16)?, span_id: id(&link.span_id, 8)? })
}

fn attributes(pairs: Vec<KeyValue>) -> Attributes {
    let pairs = pairs.into_iter().take(MAX_ITEMS);
    pairs.map(|pair| (cut(pair.key), value(pair.value, MAX_DEPTH))).collect()
}

fn value(given: Option<AnyValue>, depth: usize) -> Value {
    use any_value::Value as Otlp;
    let Some(inner) = given.and_then(|any| any.value) else { return Value::Null };
    match inner {
        Otlp::StringValue(text) => cut(text).into(),
        Otlp::BoolValue(flag) => flag.into(),
        Otlp::IntValue(number) => number.into(),
        Otlp::DoubleValue(number) => number.into(),
        Otlp::BytesValue(bytes) => STANDARD.encode(&bytes[..bytes.len().min(MAX_TEXT)]).into(),
        Otlp::ArrayValue(_) | Otlp::KvlistValue(_) if depth == 0 => Value::Null,
        Otlp::ArrayValue(array) => {
            let items = array.values.into_iter().take(MAX_ITEMS);
            items.map(|item| value(Some(item), depth - 1)).collect()
        }
        Otlp::KvlistValue(list) => {
            let items = list.values.into_iter().take(MAX_ITEMS);
            items.map(|item| (cut(item.key), value(item.value, depth - 1))).collect()
        }
        // A reference into a profile's string table; a trace has no such table.
        _ => Value::Null,
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push('…');
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_span_without_a_usable_id_is_counted_and_left_out() {
        let span =
            |trace_id: Vec<u8>, span_id: Vec<u8>| Span { trace_id, span_id, ..Span::default() };
        let spans = vec![
            span(vec![1; 16], vec![2; 8]),
            span(vec![0; 16], vec![2; 8]),
            span(vec![1; 15], vec![2; 8]),
            span(vec![1; 16], vec![]),
        ];
        let scope =
            opentelemetry_proto::tonic::trace::v1::ScopeSpans { spans, ..Default::default() };
        let batch = ResourceSpans { scope_spans: vec![scope], ..Default::default() };
        let (records, malformed) = records(vec![batch]);
        assert_eq!((records.len(), malformed), (1, 3));
        assert_eq!(records[0].trace_id, "01".repeat(16));
        assert_eq!(&*records[0].service, "unknown_service");
    }

    #[test]
    fn a_huge_attribute_is_cut_at_a_character() {
        let text = "ä".repeat(MAX_TEXT);
        let shorter = cut(text);
        assert!(shorter.len() <= MAX_TEXT + '…'.len_utf8());
        assert!(shorter.ends_with("ä…"));
    }
}
