//! Errors of the HTTP API: `application/problem+json` (RFC 9457).
//!
//! A [`Problem`] says what the client did wrong or may try again, never what it sent and never what
//! broke inside: an internal cause can be attached with [`caused_by`](Problem::caused_by) and goes to
//! the log, beside the same trace id that the client gets.

mod catalogue;
mod field;

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::telemetry;

pub(crate) use catalogue::OUTAGE_PAUSE;
pub use field::{FieldError, FieldErrors, code};

/// Media type of every error answer.
pub const MEDIA_TYPE: &str = "application/problem+json";
/// Before the code in `type`. A name, not an address: problems are understood offline.
const TYPE_PREFIX: &str = "urn:shop:problem:";
/// Instance and trace of every example.
const EXAMPLE_ID: u128 = 0x019a_c6f1_7c3e_7d52_9b0a_4e8f_2d61_c785;

/// An error answer. Cheap to move: the contents are boxed.
#[derive(Debug)]
pub struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: Cow<'static, str>,
    instance: Uuid,
    errors: Vec<FieldError>,
    headers: HeaderMap,
    cause: Option<anyhow::Error>,
}

/// What a response carries of the problem it was made from, for metrics and spans.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProblemCode(pub(crate) &'static str);

/// What went wrong (RFC 9457).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct Document<'a> {
    /// A name for the kind of problem.
    r#type: String,
    /// The kind in words.
    title: &'a str,
    /// The status of the answer.
    status: u16,
    /// What to do about it.
    detail: &'a str,
    /// This occurrence.
    #[schemars(extend("format" = "uri"))]
    instance: String,
    /// The kind, for programs.
    code: &'a str,
    /// The fields at fault, where there are such.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schemars(default)]
    errors: &'a [FieldError],
    /// The trace of the request, to be told to the operators.
    trace_id: String,
}

impl Problem {
    /// A problem of the caller's own kind. `code` is stable and for programs, `title` names the kind
    /// for people, `detail` says what to do about it. None of them may hold anything of the input.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Box::new(Inner {
            status,
            code,
            title,
            detail: detail.into(),
            instance: crate::random_id(),
            errors: Vec::new(),
            headers: HeaderMap::new(),
            cause: None,
        }))
    }

    /// Adds the fields at fault.
    pub fn with_errors(mut self, errors: impl IntoIterator<Item = FieldError>) -> Self {
        self.0.errors.extend(errors);
        self
    }

    /// Replaces the detail.
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// Tells the client when to try again, in whole seconds, rounded up, at least 1.
    pub fn with_retry_after(self, pause: Duration) -> Self {
        let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
        self.with_header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// Adds or replaces a header of the answer.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// Attaches what went wrong inside. It is logged with the trace id and never sent.
    pub fn caused_by(mut self, cause: impl Into<anyhow::Error>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable code, for programs.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The fields at fault.
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// The answer's body, for those who store an answer to give it again. `trace_id` is that of the
    /// current trace; where there is none (a head that nobody could read, a probe) it is the
    /// instance's own id, by which the log has it, too.
    pub fn body(&self) -> Vec<u8> {
        let document = self.document(self.0.instance, self.trace_id());
        // Strings and numbers only: there is nothing in it that JSON cannot hold.
        serde_json::to_vec(&document).unwrap_or_default()
    }

    /// The same as an example, which is the same every time.
    pub(crate) fn example(&self) -> serde_json::Value {
        let instance = Uuid::from_u128(EXAMPLE_ID);
        let trace_id = instance.simple().to_string();
        serde_json::to_value(self.document(instance, trace_id)).unwrap_or_default()
    }

    fn trace_id(&self) -> String {
        telemetry::trace_id().unwrap_or_else(|| self.0.instance.simple().to_string())
    }

    fn document(&self, instance: Uuid, trace_id: String) -> Document<'_> {
        let Inner { status, code, title, detail, errors, .. } = &*self.0;
        let (status, instance) = (status.as_u16(), instance.urn().to_string());
        let r#type = format!("{TYPE_PREFIX}{code}");
        Document { r#type, title, status, detail, instance, code, errors, trace_id }
    }

    pub(crate) fn title(&self) -> &'static str {
        self.0.title
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    fn log(&self) {
        let Inner { status, code, instance, cause, .. } = &*self.0;
        let (trace_id, status) = (self.trace_id(), status.as_u16());
        let cause = cause.as_ref().map(|cause| format!("{cause:#}"));
        let cause = cause.as_deref();
        if self.0.status.is_server_error() {
            tracing::error!(status, code, %instance, trace_id, cause, "request failed");
        } else {
            tracing::debug!(status, code, %instance, trace_id, cause, "request refused");
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {}", self.0.status.as_u16(), self.0.code)
    }
}

impl std::error::Error for Problem {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.cause.as_ref().map(|cause| cause.as_ref() as _)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.log();
        let mut response = Response::new(Body::from(self.body()));
        *response.status_mut() = self.0.status;
        *response.headers_mut() = self.0.headers;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.extensions_mut().insert(ProblemCode(self.0.code));
        response
    }
}
