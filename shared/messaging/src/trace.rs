//! Span names, kinds and attributes: OpenTelemetry semantic conventions 1.44 for messaging
//! (development) and CloudEvents. This module is the only place that knows them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use envelope::Envelope;
use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::{Link, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};

/// A delivery older than this starts a trace of its own: the viewer's time axis would otherwise
/// stretch over the wait.
const NEW_TRACE_AFTER: Duration = Duration::from_secs(3_600);

/// The W3C context of a span, as text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Carrier {
    pub(crate) traceparent: Option<String>,
    pub(crate) tracestate: Option<String>,
}

impl Injector for Carrier {
    fn set(&mut self, key: &str, value: String) {
        match key {
            "traceparent" => self.traceparent = Some(value),
            "tracestate" if !value.is_empty() => self.tracestate = Some(value),
            _ => {}
        }
    }
}

impl Extractor for Carrier {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.traceparent.as_deref(),
            "tracestate" => self.tracestate.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

pub(crate) fn inject(context: &Context) -> Carrier {
    let mut carrier = Carrier::default();
    global::get_text_map_propagator(|w3c| w3c.inject_context(context, &mut carrier));
    carrier
}

pub(crate) fn extract(traceparent: Option<&str>, tracestate: Option<&str>) -> Context {
    let carrier = Carrier {
        traceparent: traceparent.map(str::to_owned),
        tracestate: tracestate.map(str::to_owned),
    };
    global::get_text_map_propagator(|w3c| w3c.extract_with_context(&Context::new(), &carrier))
}

/// Whether a W3C `traceparent` says that nobody will see its trace, nor a span below it whose context
/// goes nowhere.
pub(crate) fn is_unseen(traceparent: &str) -> bool {
    let flags =
        traceparent.rsplit_once('-').and_then(|(_, flags)| u8::from_str_radix(flags, 16).ok());
    flags.is_some_and(|flags| flags & 1 == 0)
}

/// What a message span is about.
pub(crate) struct About<'a> {
    /// `rabbitmq`.
    pub(crate) system: &'static str,
    /// Where it goes or comes from, of low cardinality.
    pub(crate) destination: &'a str,
    pub(crate) event_id: String,
    pub(crate) event_type: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) correlation_id: String,
}

impl About<'_> {
    /// None for a span below one that nobody will see: making them costs more than the span.
    fn attributes(
        self,
        parent: &Context,
        operation_type: &'static str,
        operation: &'static str,
    ) -> Vec<KeyValue> {
        let span = parent.span();
        if span.span_context().is_valid() && !span.span_context().is_sampled() {
            return Vec::new();
        }
        vec![
            KeyValue::new("messaging.system", self.system),
            KeyValue::new("messaging.operation.type", operation_type),
            KeyValue::new("messaging.operation.name", operation),
            KeyValue::new("messaging.destination.name", self.destination.to_owned()),
            KeyValue::new("messaging.message.id", self.event_id.clone()),
            KeyValue::new("messaging.message.conversation_id", self.correlation_id),
            KeyValue::new("cloudevents.event_id", self.event_id),
            KeyValue::new("cloudevents.event_type", self.event_type.to_owned()),
            KeyValue::new("cloudevents.event_subject", self.subject.to_owned()),
        ]
    }
}

/// The span in which an event is written. Its context is the creation context: it goes into the
/// message and is never rewritten.
pub(crate) fn create(tracer: &BoxedTracer, parent: &Context, about: About<'_>) -> Context {
    let name = format!("create {}", about.destination);
    let span = tracer
        .span_builder(name)
        .with_kind(SpanKind::Producer)
        .with_attributes(about.attributes(parent, "create", "create"));
    parent.with_span(span.start_with_context(tracer, parent))
}

/// The span in which the relay publishes, a child of `create`: the stretch between the two is the
/// wait in the outbox, which is also its attribute.
pub(crate) fn publish(
    tracer: &BoxedTracer,
    creation: &Context,
    about: About<'_>,
    waited: Duration,
) -> Context {
    let name = format!("publish {}", about.destination);
    let mut attributes = about.attributes(creation, "send", "publish");
    attributes.push(KeyValue::new("tidings.outbox.wait_ms", waited.as_secs_f64() * 1_000.0));
    let span = tracer.span_builder(name).with_kind(SpanKind::Client).with_attributes(attributes);
    creation.with_span(span.start_with_context(tracer, creation))
}

/// The span in which a parked message is put back into its queue: a trace of its own, whenever it is,
/// with a link to the creation context, which travels on unchanged.
pub(crate) fn put_back(tracer: &BoxedTracer, creation: &Context, about: About<'_>) -> Context {
    let name = format!("publish {}", about.destination);
    let attributes = about.attributes(&Context::new(), "send", "publish");
    let mut builder =
        tracer.span_builder(name).with_kind(SpanKind::Client).with_attributes(attributes);
    let link = creation.span().span_context().clone();
    if link.is_valid() {
        builder = builder.with_links(vec![Link::with_context(link)]);
    }
    let nobody = Context::new();
    nobody.with_span(builder.start_with_context(tracer, &nobody))
}

/// The span in which a consumer handles a message: linked to the creation context always, and its
/// child unless the message is so old that it gets a trace of its own.
pub(crate) fn process(
    tracer: &BoxedTracer,
    envelope: &Envelope,
    about: About<'_>,
    now: DateTime<Utc>,
) -> Context {
    let creation = extract(envelope.traceparent.as_deref(), envelope.tracestate.as_deref());
    let late =
        now.signed_duration_since(envelope.time).to_std().unwrap_or_default() > NEW_TRACE_AFTER;
    let parent = if late { Context::new() } else { creation.clone() };
    let name = format!("process {}", about.destination);
    let mut builder = tracer
        .span_builder(name)
        .with_kind(SpanKind::Consumer)
        .with_attributes(about.attributes(&parent, "process", "process"));
    let link = creation.span().span_context().clone();
    if link.is_valid() {
        builder = builder.with_links(vec![Link::with_context(link)]);
    }
    parent.with_span(builder.start_with_context(tracer, &parent))
}

/// The span in which the copy of a failed message goes to a rung or to the dead letters, a child of the
/// `process` that failed. The message keeps its creation context, to which this is linked.
pub(crate) fn copy(
    tracer: &BoxedTracer,
    process: &Context,
    envelope: &Envelope,
    about: About<'_>,
) -> Context {
    let creation = extract(envelope.traceparent.as_deref(), envelope.tracestate.as_deref());
    let name = format!("publish {}", about.destination);
    let mut builder = tracer
        .span_builder(name)
        .with_kind(SpanKind::Client)
        .with_attributes(about.attributes(process, "send", "publish"));
    let link = creation.span().span_context().clone();
    if link.is_valid() {
        builder = builder.with_links(vec![Link::with_context(link)]);
    }
    process.with_span(builder.start_with_context(tracer, process))
}

/// Marks the span as failed.
pub(crate) fn fail(context: &Context, kind: &'static str, why: &str) {
    let span = context.span();
    span.set_attribute(KeyValue::new("error.type", kind));
    span.set_status(Status::error(why.to_owned()));
}

/// Ends the span now.
pub(crate) fn end(context: &Context) {
    context.span().end();
}

/// A span of the service's own around a call to the outside world, a child of `parent`.
///
/// Use it from leased tasks: `trace::call(pool, cause.context(), "charge")`. End it with
/// [`finish`].
pub fn call(pool: &crate::Pool, parent: &Context, name: &'static str) -> Context {
    let tracer = pool.tracer();
    let span = tracer.span_builder(name).with_kind(SpanKind::Client);
    parent.with_span(span.start_with_context(tracer, parent))
}

/// Ends a span begun with [`call`]; `failed` names the class of error, if it failed.
pub fn finish(context: &Context, failed: Option<&'static str>) {
    if let Some(kind) = failed {
        fail(context, kind, kind);
    }
    end(context);
}

/// The trace id of the span in `context`, as 32 hex digits; none when it is in no trace.
pub fn trace_id(context: &Context) -> Option<String> {
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| span.trace_id().to_string())
}

#[cfg(test)]
mod tests {
    use super::is_unseen;

    #[test]
    fn a_trace_is_unseen_where_its_flags_say_so() {
        let with =
            |flags: &str| format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        assert!(is_unseen(&with("00")) && is_unseen(&with("02")));
        assert!(!is_unseen(&with("01")) && !is_unseen(&with("03")));
        assert!(!is_unseen("") && !is_unseen(&with("zz")));
    }
}
