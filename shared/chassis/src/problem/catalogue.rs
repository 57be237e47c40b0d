//! The problems that every API has, one constructor per code.

use std::time::Duration;

use http::header::{CONNECTION, LINK};
use http::{HeaderValue, StatusCode};

use super::{FieldError, Problem};

/// Pause suggested when a dependency is away.
pub(crate) const OUTAGE_PAUSE: Duration = Duration::from_secs(5);
/// Pause suggested while the first request with the same key runs.
const IN_PROGRESS_PAUSE: Duration = Duration::from_secs(1);
/// Where the API's documentation explains idempotency keys.
const KEY_HELP: &str = "</docs#idempotency-key>; rel=\"help\"";

impl Problem {
    /// 400: the request line or a header cannot be read.
    pub fn malformed_request() -> Self {
        let detail = "The request is not valid HTTP/1.1.";
        Self::new(StatusCode::BAD_REQUEST, "malformed_request", "Malformed request", detail)
    }

    /// 400: the body is no JSON document, or one that readers understand differently.
    pub fn malformed_json() -> Self {
        let detail = "The body must be one JSON document: UTF-8 without a byte order mark, no key \
                      twice in an object, at most 32 levels deep.";
        Self::new(StatusCode::BAD_REQUEST, "malformed_json", "Malformed JSON", detail)
    }

    /// 400: an id in the path or the query has no id's form.
    pub fn invalid_id() -> Self {
        let detail = "An id in the address must be a UUID.";
        Self::new(StatusCode::BAD_REQUEST, "invalid_id", "Invalid id", detail)
    }

    /// 400: the cursor was not made by this API.
    pub fn invalid_cursor() -> Self {
        let detail = "Use the next_cursor of the page before, or leave the cursor out.";
        Self::new(StatusCode::BAD_REQUEST, "invalid_cursor", "Invalid cursor", detail)
    }

    /// 400: the route needs an `Idempotency-Key`.
    pub fn idempotency_key_missing() -> Self {
        let detail =
            "Send an Idempotency-Key of your own; the same key again gives the same answer.";
        let code = "idempotency_key_missing";
        Self::new(StatusCode::BAD_REQUEST, code, "Idempotency key missing", detail).with_key_help()
    }

    /// 400: the `Idempotency-Key` has the wrong form.
    pub fn idempotency_key_malformed() -> Self {
        let detail =
            "An Idempotency-Key has 16 to 255 of A-Z, a-z, 0-9, _ and -, bare or in quotes.";
        let code = "idempotency_key_malformed";
        Self::new(StatusCode::BAD_REQUEST, code, "Idempotency key malformed", detail)
            .with_key_help()
    }

    /// 404: no such route, or no such thing for this caller.
    pub fn not_found() -> Self {
        let detail = "There is nothing at this address.";
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail)
    }

    /// 405: the address exists, the method does not; the router says which do in `Allow`.
    pub fn method_not_allowed() -> Self {
        let detail = "The Allow header lists the methods of this address.";
        let code = "method_not_allowed";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, code, "Method not allowed", detail)
    }

    /// 406: the answer has no media type that the client accepts.
    pub fn not_acceptable() -> Self {
        let detail = "This address cannot answer in a media type that the Accept header allows.";
        Self::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", "Not acceptable", detail)
    }

    /// 408: head or body came too slowly; the connection is closed.
    pub fn request_timeout() -> Self {
        let detail = "The request did not arrive in time.";
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "Request timeout", detail)
            .with_header(CONNECTION, HeaderValue::from_static("close"))
    }

    /// 409: a business rule forbids it now. `code`, `title` and `detail` are the service's own.
    pub fn conflict(code: &'static str, title: &'static str, detail: &'static str) -> Self {
        Self::new(StatusCode::CONFLICT, code, title, detail)
    }

    /// 409: the thing is in a state that does not allow this.
    pub fn invalid_state() -> Self {
        let detail = "The present state does not allow this.";
        Self::conflict("invalid_state", "Invalid state", detail)
    }

    /// 409 with `Retry-After`: the first request with this idempotency key still runs.
    pub fn request_in_progress() -> Self {
        let detail = "The first request with this Idempotency-Key is still being handled.";
        Self::conflict("request_in_progress", "Request in progress", detail)
            .with_retry_after(IN_PROGRESS_PAUSE)
    }

    /// 413: the body is larger than this address takes; the rest of it is not read, so the connection is
    /// closed.
    pub fn payload_too_large() -> Self {
        let detail = "The body is larger than this address takes.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "Payload too large", detail)
            .with_header(CONNECTION, HeaderValue::from_static("close"))
    }

    /// 414: the address of the request is too long.
    pub fn uri_too_long() -> Self {
        let detail = "The address of the request is too long.";
        Self::new(StatusCode::URI_TOO_LONG, "uri_too_long", "URI too long", detail)
    }

    /// 415: the body is not `application/json`.
    pub fn unsupported_media_type() -> Self {
        let detail = "The Content-Type of the body is not one that this address takes.";
        let code = "unsupported_media_type";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, "Unsupported media type", detail)
    }

    /// 422: the body is JSON, but not what the API asks for; `errors` says where and how.
    pub fn validation_failed(errors: impl IntoIterator<Item = FieldError>) -> Self {
        let detail = "Some fields do not have a valid value; see errors.";
        let (status, title) = (StatusCode::UNPROCESSABLE_ENTITY, "Validation failed");
        Self::new(status, "validation_failed", title, detail).with_errors(errors)
    }

    /// 422: the key was used for another request body.
    pub fn idempotency_key_reused() -> Self {
        let detail =
            "This Idempotency-Key was used with another body; a new request needs a new key.";
        let (status, title) = (StatusCode::UNPROCESSABLE_ENTITY, "Idempotency key reused");
        Self::new(status, "idempotency_key_reused", title, detail).with_key_help()
    }

    /// 429 with `Retry-After`: too much at once from this caller.
    pub fn too_many_requests(pause: Duration) -> Self {
        let detail = "Too many requests; try again after the pause in Retry-After.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Too many requests", detail)
            .with_retry_after(pause)
    }

    /// 431: the header fields are larger than the server takes.
    pub fn headers_too_large() -> Self {
        let (status, code) = (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large");
        Self::new(status, code, "Headers too large", "The header fields are too large.")
    }

    /// 500: a bug. Bad input and absent dependencies are never a 500.
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        Self::internal_without_cause().caused_by(cause)
    }

    pub(crate) fn internal_without_cause() -> Self {
        let detail = "The request could not be handled; trace_id identifies it in our logs.";
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "internal_error", "Internal error", detail)
    }

    /// 503 with `Retry-After`: the database is away, the outbox is full, or the process is stopping.
    pub fn unavailable(cause: impl Into<anyhow::Error>) -> Self {
        let detail = "The service cannot take this request now; try again later.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Unavailable", detail)
            .with_retry_after(OUTAGE_PAUSE)
            .caused_by(cause)
    }

    fn with_key_help(self) -> Self {
        self.with_header(LINK, HeaderValue::from_static(KEY_HELP))
    }

    /// The problem that stands for a bare status, whoever produced it.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::not_found(),
            StatusCode::METHOD_NOT_ALLOWED => Self::method_not_allowed(),
            StatusCode::NOT_ACCEPTABLE => Self::not_acceptable(),
            StatusCode::REQUEST_TIMEOUT => Self::request_timeout(),
            StatusCode::PAYLOAD_TOO_LARGE => Self::payload_too_large(),
            StatusCode::URI_TOO_LONG => Self::uri_too_long(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::unsupported_media_type(),
            StatusCode::UNPROCESSABLE_ENTITY => Self::validation_failed([]),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Self::headers_too_large(),
            StatusCode::BAD_REQUEST => Self::malformed_request(),
            status if status.is_client_error() => {
                let detail = "The request was refused.";
                Self::new(status, "refused", "Request refused", detail)
            }
            _ => Self::internal_without_cause(),
        }
    }
}
