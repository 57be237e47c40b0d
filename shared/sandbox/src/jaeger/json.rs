//! A trace in the JSON of Jaeger's user interface.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::otlp::{Attributes, SpanRecord, SpanStatus};

/// One element of `data`: a trace with its spans and processes. Times are in microseconds, as there.
#[must_use]
pub fn trace_to_json(spans: &[SpanRecord]) -> Value {
    let trace_id = spans.first().map_or("", |span| span.trace_id.as_str());
    let mut processes = Processes::default();
    let spans: Vec<Value> =
        spans.iter().map(|span| span_to_json(span, &processes.id_of(span))).collect();
    json!({
        "traceID": trace_id,
        "spans": spans,
        "processes": processes.to_json(),
        "warnings": null,
    })
}

/// The distinct senders of a trace. Two replicas of a service are two processes.
#[derive(Default)]
struct Processes<'a> {
    known: Vec<&'a SpanRecord>,
}

impl<'a> Processes<'a> {
    fn id_of(&mut self, span: &'a SpanRecord) -> String {
        let same =
            |known: &&SpanRecord| known.service == span.service && known.resource == span.resource;
        let at = self.known.iter().position(same).unwrap_or_else(|| {
            self.known.push(span);
            self.known.len() - 1
        });
        format!("p{}", at + 1)
    }

    fn to_json(&self) -> BTreeMap<String, Value> {
        let described = self.known.iter().enumerate().map(|(at, span)| {
            let mut resource = Attributes::clone(&span.resource);
            resource.remove("service.name");
            let process = json!({ "serviceName": *span.service, "tags": tags(&resource) });
            (format!("p{}", at + 1), process)
        });
        described.collect()
    }
}

fn span_to_json(span: &SpanRecord, process: &str) -> Value {
    json!({
        "traceID": span.trace_id,
        "spanID": span.span_id,
        "operationName": span.name,
        "references": references(span),
        "startTime": span.start_ns / 1_000,
        "duration": span.duration_ns() / 1_000,
        "tags": tags(&described(span)),
        "logs": logs(span),
        "processID": process,
        "warnings": null,
    })
}

fn references(span: &SpanRecord) -> Vec<Value> {
    let reference = |kind: &str, trace_id: &str, span_id: &str| json!({ "refType": kind, "traceID": trace_id, "spanID": span_id });
    let parent = span.parent_span_id.iter();
    let parent = parent.map(|id| reference("CHILD_OF", &span.trace_id, id));
    let links = span.links.iter().map(|l| reference("FOLLOWS_FROM", &l.trace_id, &l.span_id));
    parent.chain(links).collect()
}

/// The span's attributes and, as Jaeger's OTLP translation adds them, its kind, scope and status.
fn described(span: &SpanRecord) -> Attributes {
    let mut all = span.attributes.clone();
    all.insert("span.kind".to_owned(), span.kind.as_str().into());
    if !span.scope.is_empty() {
        all.insert("otel.scope.name".to_owned(), (*span.scope).into());
    }
    match &span.status {
        SpanStatus::Unset => {}
        SpanStatus::Ok => {
            all.insert("otel.status_code".to_owned(), "OK".into());
        }
        SpanStatus::Error(description) => {
            all.insert("error".to_owned(), true.into());
            all.insert("otel.status_code".to_owned(), "ERROR".into());
            if !description.is_empty() {
                all.insert("otel.status_description".to_owned(), description.as_str().into());
            }
        }
    }
    all
}

fn logs(span: &SpanRecord) -> Vec<Value> {
    let log = |event: &crate::otlp::SpanEvent| {
        let mut fields = event.attributes.clone();
        fields.insert("event".to_owned(), event.name.as_str().into());
        json!({ "timestamp": event.at_ns / 1_000, "fields": tags(&fields) })
    };
    span.events.iter().map(log).collect()
}

/// Whether a search for `key` = `wanted` finds the span, compared as text like Jaeger does.
pub(super) fn has_tag(span: &SpanRecord, key: &str, wanted: &str) -> bool {
    let same = |value: &Value| as_text(value) == wanted;
    described(span).get(key).is_some_and(same) || span.resource.get(key).is_some_and(same)
}

fn tags(attributes: &Attributes) -> Vec<Value> {
    let tag = |(key, value): (&String, &Value)| match value {
        Value::Bool(_) => json!({ "key": key, "type": "bool", "value": value }),
        Value::Number(number) if number.is_f64() => {
            json!({ "key": key, "type": "float64", "value": value })
        }
        Value::Number(_) => json!({ "key": key, "type": "int64", "value": value }),
        other => json!({ "key": key, "type": "string", "value": as_text(other) }),
    };
    attributes.iter().map(tag).collect()
}

/// A string as it is, everything else as JSON.
pub(super) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
