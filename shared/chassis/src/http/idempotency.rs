//! Idempotency keys (draft-ietf-httpapi-idempotency-key-header).

use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::{body, json};
use crate::problem::Problem;

const HEADER: &str = "idempotency-key";

/// The client's own key for a request: 16 to 255 of `A-Z a-z 0-9 _ -`, bare or as a quoted string of
/// RFC 8941; both spellings are one key. Missing is `400 idempotency_key_missing`, any other form `400
/// idempotency_key_malformed`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn from_headers(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(HEADER).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return Err(Problem::idempotency_key_missing()),
            (Some(value), None) => value.to_str().unwrap_or_default(),
            (Some(_), Some(_)) => return Err(Problem::idempotency_key_malformed()),
        };
        let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let key = quoted.unwrap_or(value);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if (16..=255).contains(&key.len()) && key.bytes().all(allowed) {
            Ok(Self(key.to_owned()))
        } else {
            Err(Problem::idempotency_key_malformed())
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::from_headers(&parts.headers)
    }
}

/// A JSON body with the idempotency key that a route needs, checked in the order of the contract:
/// size, media type, key, syntax, schema. (Two extractors one after the other would check the key
/// first.) What is wrong with the body is left to the route to tell: a key that has an answer for
/// another body is refused for that, whatever this one holds.
#[derive(Debug)]
pub struct KeyedJson<T> {
    /// The client's key.
    pub key: IdempotencyKey,
    /// The body.
    ///
    /// # Errors
    /// `400 malformed_json`, `422 validation_failed`.
    pub body: Result<T, Problem>,
    /// The body as it came: the request's fingerprint is made of these bytes.
    pub bytes: Bytes,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for KeyedJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = body::read_as(json::JSON, &parts.headers, body).await?;
        let key = IdempotencyKey::from_headers(&parts.headers)?;
        Ok(Self { key, body: json::decode(&bytes), bytes })
    }
}

/// A CSV body with the idempotency key that a route needs, checked in the same order as
/// [`KeyedJson`]: size, media type (`text/csv`), key. What the rows hold is the route's business.
#[derive(Clone, Debug)]
pub struct KeyedCsv {
    /// The client's key.
    pub key: IdempotencyKey,
    /// The body as it came.
    pub bytes: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for KeyedCsv {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = body::read_as("text/csv", &parts.headers, body).await?;
        Ok(Self { key: IdempotencyKey::from_headers(&parts.headers)?, bytes })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn key(values: &[&str]) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_str(value).unwrap());
        }
        IdempotencyKey::from_headers(&headers)
            .map(|key| key.as_str().to_owned())
            .map_err(|problem| problem.code())
    }

    #[test]
    fn bare_and_quoted_spellings_are_one_key() {
        assert_eq!(key(&["abcdefgh-1234_XY"]), key(&["\"abcdefgh-1234_XY\""]));
        assert!(key(&[&"k".repeat(255)]).is_ok());
    }

    #[test]
    fn a_key_of_another_form_is_refused() {
        assert_eq!(key(&[]), Err("idempotency_key_missing"));
        let malformed = Err("idempotency_key_malformed");
        for bad in ["", "short", "\"abcdefgh-1234_XY", "abcdefgh 12345678", "abcdefgh-1234_é__"] {
            assert_eq!(key(&[bad]), malformed, "{bad}");
        }
        assert_eq!(key(&[&"k".repeat(256)]), malformed);
        assert_eq!(key(&["abcdefgh-1234_XY", "abcdefgh-1234_XY"]), malformed);
    }
}
