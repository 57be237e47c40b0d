//! From the JSON of Jaeger's query API back to spans: the same tree is printed whether a trace is
//! kept by this stand-in or by a real Jaeger.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::otlp::{Attributes, SpanEvent, SpanKind, SpanLink, SpanRecord, SpanStatus};

/// A body that is not a trace of Jaeger's query API.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Other JSON, or none.
    #[error("not a trace in jaeger's format: {0}")]
    Shape(#[from] serde_json::Error),
    /// A span refers to a process that the trace does not describe.
    #[error("span {span_id} names process {process_id}, which the trace does not describe")]
    Process {
        /// The span.
        span_id: String,
        /// The process it names.
        process_id: String,
    },
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    data: Option<Vec<Trace>>,
}

#[derive(Deserialize)]
struct Trace {
    spans: Vec<Span>,
    processes: HashMap<String, Process>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    service_name: String,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
struct Span {
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
    #[serde(rename = "operationName")]
    name: String,
    #[serde(default)]
    references: Vec<Reference>,
    #[serde(rename = "startTime")]
    start_us: u64,
    #[serde(rename = "duration")]
    duration_us: u64,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    logs: Vec<Log>,
    #[serde(rename = "processID")]
    process_id: String,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(rename = "refType")]
    kind: String,
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    value: Value,
}

#[derive(Deserialize)]
struct Log {
    timestamp: u64,
    #[serde(default)]
    fields: Vec<Tag>,
}

/// The spans of every trace in an answer of `GET /api/traces/{id}` or `GET /api/traces`; empty where
/// `data` is null. Times are as exact as Jaeger's, one microsecond.
///
/// # Errors
/// [`ParseError`] when `body` is not such an answer.
pub fn spans_from_json(body: &[u8]) -> Result<Vec<SpanRecord>, ParseError> {
    let answer: Answer = serde_json::from_slice(body)?;
    let mut records = Vec::new();
    for trace in answer.data.unwrap_or_default() {
        let processes: HashMap<String, Sender> =
            trace.processes.into_iter().map(|(id, process)| (id, Sender::of(process))).collect();
        for span in trace.spans {
            let sender = processes.get(&span.process_id).ok_or_else(|| ParseError::Process {
                span_id: span.span_id.clone(),
                process_id: span.process_id.clone(),
            })?;
            records.push(record(span, sender));
        }
    }
    Ok(records)
}

struct Sender {
    service: Arc<str>,
    resource: Arc<Attributes>,
}

impl Sender {
    fn of(process: Process) -> Self {
        let mut resource = attributes(process.tags);
        let service: Arc<str> = process.service_name.into();
        resource.insert("service.name".to_owned(), (*service).into());
        Self { service, resource: Arc::new(resource) }
    }
}

fn record(span: Span, sender: &Sender) -> SpanRecord {
    let mut attributes = attributes(span.tags);
    let start_ns = span.start_us.saturating_mul(1_000);
    let (parents, links): (Vec<_>, Vec<_>) = span
        .references
        .into_iter()
        .partition(|r| r.kind == "CHILD_OF" && r.trace_id == span.trace_id);
    let links = links.into_iter().map(|r| SpanLink { trace_id: r.trace_id, span_id: r.span_id });
    SpanRecord {
        parent_span_id: parents.into_iter().next().map(|r| r.span_id),
        kind: text(attributes.remove("span.kind"))
            .map_or(SpanKind::Internal, |name| SpanKind::from_name(&name)),
        scope: text(attributes.remove("otel.scope.name")).unwrap_or_default().into(),
        status: status(&mut attributes),
        trace_id: span.trace_id,
        span_id: span.span_id,
        name: span.name,
        service: Arc::clone(&sender.service),
        start_ns,
        end_ns: start_ns.saturating_add(span.duration_us.saturating_mul(1_000)),
        attributes,
        resource: Arc::clone(&sender.resource),
        events: span.logs.into_iter().map(event).collect(),
        links: links.collect(),
    }
}

fn status(attributes: &mut Attributes) -> SpanStatus {
    let code = text(attributes.remove("otel.status_code"));
    let description = text(attributes.remove("otel.status_description")).unwrap_or_default();
    let flagged = attributes.remove("error").is_some_and(|flag| flag == true || flag == "true");
    match code.as_deref() {
        Some("ERROR") => SpanStatus::Error(description),
        _ if flagged => SpanStatus::Error(description),
        Some("OK") => SpanStatus::Ok,
        _ => SpanStatus::Unset,
    }
}

fn event(log: Log) -> SpanEvent {
    let mut attributes = attributes(log.fields);
    let name = text(attributes.remove("event")).unwrap_or_default();
    SpanEvent { at_ns: log.timestamp.saturating_mul(1_000), name, attributes }
}

fn attributes(tags: Vec<Tag>) -> BTreeMap<String, Value> {
    tags.into_iter().map(|tag| (tag.key, tag.value)).collect()
}

fn text(value: Option<Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text),
        _ => None,
    }
}
