//! Bodies with a limit on size and time.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::conditions;
use crate::problem::Problem;

#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the body did not arrive in time")]
    TimedOut,
    #[error("the body broke off")]
    BrokeOff(#[source] axum::Error),
}

/// Refuses a body that says it is too large, and watches one that does not say.
pub(super) fn guard(request: Request, limit: usize, timeout: Duration) -> Result<Request, Problem> {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    // hyper has refused lengths that are no number; one too large for usize is too large.
    if length.is_some_and(|length| length.parse::<usize>().is_ok_and(|length| length > limit)) {
        return Err(Problem::payload_too_large());
    }
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let deadline = Instant::now() + timeout;
    Ok(request.map(|inner| Body::new(Guarded { inner, limit, left: limit, deadline, late: None })))
}

struct Guarded {
    inner: Body,
    limit: usize,
    left: usize,
    deadline: Instant,
    /// Made only for a body that is not there at once, which most are.
    late: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
            let deadline = self.deadline;
            let late = self.late.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            ready!(late.as_mut().poll(cx));
            return Poll::Ready(Some(Err(BodyError::TimedOut)));
        };
        let frame = match frame {
            None => return Poll::Ready(None),
            Some(Err(cause)) => return Poll::Ready(Some(Err(BodyError::BrokeOff(cause)))),
            Some(Ok(frame)) => frame,
        };
        let length = frame.data_ref().map_or(0, Bytes::len);
        match self.left.checked_sub(length) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Some(Err(BodyError::TooLarge(self.limit)))),
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The whole body.
///
/// # Errors
/// See [`body_problem`].
pub async fn read_body(body: Body) -> Result<Bytes, Problem> {
    match body.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => Err(body_problem(error)),
    }
}

/// The whole body, if it was sent as `media_type`.
pub(super) async fn read_as(
    media_type: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Bytes, Problem> {
    let bytes = read_body(body).await?;
    let fits = conditions::sent_as(headers, media_type);
    if fits { Ok(bytes) } else { Err(Problem::unsupported_media_type()) }
}

/// The answer to a body that could not be read to its end: `413` over the limit, `408` too slow, and
/// `400` for one that broke off. For handlers that read the body as a stream.
pub fn body_problem(error: axum::Error) -> Problem {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        match error.downcast_ref::<BodyError>() {
            Some(BodyError::TooLarge(_)) => return Problem::payload_too_large(),
            Some(BodyError::TimedOut) => return Problem::request_timeout(),
            Some(BodyError::BrokeOff(_)) | None => cause = error.source(),
        }
    }
    Problem::malformed_request().caused_by(error)
}
