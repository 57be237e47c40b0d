//! One SERVER span per request, named and described as OpenTelemetry asks (HTTP, stable).

use std::future::Future;
use std::sync::LazyLock;
use std::time::Instant;

use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::response::Response;
use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method};
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{FutureExt as _, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, InstrumentationScope, KeyValue, Value, global};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use crate::problem::ProblemCode;
use crate::telemetry::trace_id_of;

/// Version of the semantic conventions that names and attributes here follow.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";
/// Longest `tracestate` that is passed on (W3C asks for at least 512).
const TRACESTATE_BYTES: usize = 512;

static SCOPE: LazyLock<InstrumentationScope> = LazyLock::new(|| {
    InstrumentationScope::builder("chassis.http")
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(SCHEMA_URL)
        .build()
});

/// The OpenTelemetry context of the request, for handlers that hand it on.
#[derive(Clone, Debug)]
pub struct RequestContext(pub Context);

impl<S: Send + Sync> FromRequestParts<S> for RequestContext {
    type Rejection = std::convert::Infallible;

    /// Outside the traced routes this is the current context, which has no span.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().cloned().unwrap_or_else(|| Self(Context::current())))
    }
}

pub(super) struct ServerSpan {
    context: Context,
    started: Instant,
    method: &'static str,
    route: Option<String>,
}

impl ServerSpan {
    /// Begins the span and puts its context into the request.
    pub(super) fn start(request: &mut Request) -> Self {
        let method = method_name(request.method());
        let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
        let name = match (&route, method) {
            (Some(route), "_OTHER") => format!("HTTP {route}"),
            (Some(route), method) => format!("{method} {route}"),
            (None, "_OTHER") => "HTTP".to_owned(),
            (None, method) => method.to_owned(),
        };
        let parent = remote_parent(request.headers());
        let tracer = global::tracer_with_scope(SCOPE.clone());
        let span = tracer
            .span_builder(name)
            .with_kind(SpanKind::Server)
            .with_attributes(attributes(request, method, route.as_deref()));
        let context = parent.with_span(tracer.build_with_context(span, &parent));
        request.extensions_mut().insert(RequestContext(context.clone()));
        Self { context, started: Instant::now(), method, route }
    }

    /// Makes this span the current one while `work` runs.
    pub(super) fn enter<F: Future>(&self, work: F) -> impl Future<Output = F::Output> {
        work.with_context(self.context.clone())
    }

    /// Puts the trace id into the log lines of the request, at any level.
    pub(super) fn log_span(&self) -> tracing::Span {
        match trace_id_of(&self.context) {
            Some(trace_id) => tracing::error_span!("request", trace_id),
            None => tracing::Span::none(),
        }
    }

    pub(super) fn end(&self, response: &Response) {
        let (status, took) = (response.status(), self.started.elapsed());
        let code = response.extensions().get::<ProblemCode>().map(|code| code.0);
        let span = self.context.span();
        span.set_attribute(number("http.response.status_code", status.as_u16().into()));
        if status.is_server_error() {
            span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
            span.set_status(Status::error(code.unwrap_or_default()));
        }
        span.end();
        let route = self.route.clone().unwrap_or_default();
        tracing::debug!(
            method = self.method,
            route,
            status = status.as_u16(),
            code,
            ?took,
            "request answered"
        );
        let status = status.as_str().to_owned();
        let labels = [("method", self.method.to_owned()), ("route", route), ("status", status)];
        metrics::histogram!("http_request_duration_seconds", &labels).record(took);
    }
}

fn attributes(request: &Request, method: &'static str, route: Option<&str>) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("url.scheme", "http"),
        KeyValue::new("url.path", request.uri().path().to_owned()),
    ];
    if let Some(route) = route {
        attributes.push(KeyValue::new("http.route", route.to_owned()));
    }
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    if let Some(authority) = host.and_then(|host| host.parse::<Authority>().ok()) {
        attributes.push(KeyValue::new("server.address", authority.host().to_owned()));
        if let Some(port) = authority.port_u16() {
            attributes.push(number("server.port", port.into()));
        }
    }
    attributes
}

fn number(name: &'static str, value: i64) -> KeyValue {
    KeyValue::new(name, Value::I64(value))
}

/// A method that a client made up must not become a label or a span name.
fn method_name(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] =
        ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

/// The context that the client sent, or none: an invalid header is ignored, as if it were not there.
fn remote_parent(headers: &HeaderMap) -> Context {
    let none = Context::new();
    if single(headers, "traceparent").is_none_or(|header| !is_traceparent(header)) {
        return none;
    }
    TraceContextPropagator::new().extract_with_context(&none, &Trusted(headers))
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// W3C Trace Context, section 3.2; the SDK's own parser also takes ids of other lengths.
fn is_traceparent(header: &str) -> bool {
    let hex = |range| {
        let digits = header.get(range).map(str::as_bytes);
        digits.is_some_and(|digits| {
            digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        })
    };
    let dashes = [2, 35, 52].into_iter().all(|at| header.as_bytes().get(at) == Some(&b'-'));
    let end = match header.as_bytes() {
        [b'f', b'f', ..] => false,
        [b'0', b'0', ..] => header.len() == 55,
        longer => longer.len() == 55 || longer.get(55) == Some(&b'-'),
    };
    dashes && end && hex(0..2) && hex(3..35) && hex(36..52) && hex(53..55)
}

/// What is taken from a stranger: the trace context, not baggage.
struct Trusted<'a>(&'a HeaderMap);

impl Extractor for Trusted<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = single(self.0, key);
        value.filter(|value| key != "tracestate" || value.len() <= TRACESTATE_BYTES)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_that_is_not_exactly_one_is_ignored() {
        assert!(is_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        assert!(is_traceparent("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what"));
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c8031-b7ad6b716920333111-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "+0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-é0f7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }
}
