//! Answers that are given a second time.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::problem::{self, Problem};

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// An answer made of what a service stores under an [`IdempotencyKey`](super::IdempotencyKey), so
/// that the first time and every other time are the same bytes. A success is JSON, anything else a
/// problem. A status or a location that HTTP does not have is a `500`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The status.
    pub status: u16,
    /// The `Location` header, if there was one.
    pub location: Option<String>,
    /// The exact body.
    pub body: Vec<u8>,
    /// Whether it was given before, which `Idempotency-Replayed: true` tells the client.
    pub replayed: bool,
}

impl StoredAnswer {
    fn into_answer(self) -> Result<Response, Problem> {
        let status = StatusCode::from_u16(self.status).map_err(Problem::internal)?;
        let media_type = if status.is_success() { "application/json" } else { problem::MEDIA_TYPE };
        let mut response = (status, [(CONTENT_TYPE, media_type)], self.body).into_response();
        let headers = response.headers_mut();
        if let Some(location) = self.location {
            headers.insert(LOCATION, HeaderValue::try_from(location).map_err(Problem::internal)?);
        }
        if self.replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        Ok(response)
    }
}

impl IntoResponse for StoredAnswer {
    fn into_response(self) -> Response {
        self.into_answer().into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(status: u16, location: Option<&str>, replayed: bool) -> Response {
        let (location, body) = (location.map(str::to_owned), b"{}".to_vec());
        StoredAnswer { status, location, body, replayed }.into_response()
    }

    #[test]
    fn only_a_repetition_says_that_it_is_one() {
        let (first, again) = (stored(202, Some("/a/1"), false), stored(202, Some("/a/1"), true));
        assert_eq!(again.headers()[&REPLAYED], "true");
        assert!(!first.headers().contains_key(&REPLAYED));
        for answer in [first, again] {
            assert_eq!(answer.status(), StatusCode::ACCEPTED);
            assert_eq!(answer.headers()[LOCATION], "/a/1");
            assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
        }
    }

    #[test]
    fn a_refusal_stays_a_problem() {
        let refusal = stored(422, None, true);
        assert_eq!(refusal.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(refusal.headers()[CONTENT_TYPE], problem::MEDIA_TYPE);
        assert!(!refusal.headers().contains_key(LOCATION));
    }

    #[test]
    fn what_http_cannot_say_is_our_own_fault() {
        for answer in [stored(99, None, false), stored(200, Some("/a\r\nb"), false)] {
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        }
    }
}
