//! JSON bodies, in and out.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{body, schema, strict};
use crate::problem::Problem;

/// The media type.
pub(super) const JSON: &str = "application/json";

/// A JSON body.
///
/// As an extractor it checks, in this order: size (`413`, `408`), media type (`415`), syntax (`400
/// malformed_json`: UTF-8, duplicate keys, depth over 32, anything behind the document) and schema
/// (`422 validation_failed` with pointers). Fields that `T` does not have are refused, except below
/// `#[serde(flatten)]` and in untagged enums, where serde does not say what the fields are. A type's
/// own `Deserialize` chooses the code of its fault with `D::Error::custom("length")`.
///
/// ```
/// use axum::routing::put;
/// use chassis::http::Json;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Quantity {
///     quantity: u32,
/// }
///
/// async fn double(Json(body): Json<Quantity>) -> Json<Quantity> {
///     Json(Quantity { quantity: body.quantity * 2 })
/// }
/// # let _: axum::Router = axum::Router::new().route("/double", put(double));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = body::read_as(JSON, &parts.headers, body).await?;
        decode(&bytes).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => {
                let mut response = Response::new(Body::from(body));
                let json = HeaderValue::from_static(JSON);
                response.headers_mut().insert(CONTENT_TYPE, json);
                response
            }
            Err(error) => Problem::internal(error).into_response(),
        }
    }
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let node = strict::parse(bytes).map_err(|error| Problem::malformed_json().caused_by(error))?;
    schema::read(&node, false).map_err(Problem::validation_failed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashMap;

    use serde::Deserialize;

    use super::*;
    use crate::http::Id;
    use crate::problem::{FieldError, code};

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Order {
        customer_id: Id,
        email: String,
        lines: Vec<Line>,
        method: Option<Method>,
        labels: Option<HashMap<String, u8>>,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Line {
        #[serde(rename = "s/k~u")]
        sku: String,
        quantity: u16,
        amount_minor: i64,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Method {
        Card,
    }

    const ID: &str = "0198c0de-0000-7000-8000-000000000001";

    /// The faults of an order with `fields` beside a good id and e-mail.
    fn faults(fields: &str) -> Vec<(String, String)> {
        let body = format!("{{\"customer_id\":\"{ID}\",\"email\":\"a@b\",{fields}}}");
        let problem = decode::<Order>(body.as_bytes()).unwrap_err();
        assert_eq!(problem.code(), "validation_failed", "{body}");
        let errors = problem.errors().iter();
        errors.map(|error| (error.pointer().to_owned(), error.code().to_owned())).collect()
    }

    fn fault(fields: &str) -> (String, String) {
        let mut all = faults(fields);
        assert_eq!(all.len(), 1, "{fields}: {all:?}");
        all.remove(0)
    }

    fn line(quantity: &str, amount: &str) -> String {
        let line = format!("\"s/k~u\":\"A\",\"quantity\":{quantity},\"amount_minor\":{amount}");
        format!("\"lines\":[{{{line}}}]")
    }

    fn pair(pointer: &str, code: &str) -> (String, String) {
        (pointer.to_owned(), code.to_owned())
    }

    #[test]
    fn a_good_document_is_read() {
        let body = format!(
            "{{\"customer_id\":\"{ID}\",\"email\":\"a@b\",{},\"method\":\"card\"}}",
            line("3", "-1998")
        );
        let order: Order = decode(body.as_bytes()).unwrap();
        assert_eq!((order.lines[0].quantity, order.lines[0].amount_minor), (3, -1998));
    }

    #[test]
    fn a_number_that_is_no_integer_or_too_large_is_named_with_its_place() {
        let quantity = "/lines/0/quantity";
        for text in ["1.0", "1e3", "1e309", "\"1\"", "null", "[]", "true"] {
            assert_eq!(fault(&line(text, "0")), pair(quantity, code::TYPE), "{text}");
        }
        for text in ["-1", "65536", "99999999999999999999999"] {
            assert_eq!(fault(&line(text, "0")), pair(quantity, code::RANGE), "{text}");
        }
        let amount = "/lines/0/amount_minor";
        assert_eq!(fault(&line("1", "9223372036854775808")), pair(amount, code::RANGE));
    }

    #[test]
    fn missing_and_unknown_fields_are_told_apart_and_unknown_names_not_repeated() {
        assert_eq!(fault("\"method\":null"), pair("/lines", code::REQUIRED));
        assert_eq!(fault("\"lines\":[],\"<b>\":1"), pair("", code::UNKNOWN_FIELD));
        let nested =
            "\"lines\":[{\"s/k~u\":\"A\",\"quantity\":1,\"amount_minor\":1,\"x\":1,\"y\":2}]";
        assert_eq!(fault(nested), pair("/lines/0", code::UNKNOWN_FIELD));
        let several = faults("\"lines\":[{\"x\":1,\"s/k~u\":5}],\"z\":1");
        assert_eq!(several[0], pair("/lines/0", code::UNKNOWN_FIELD));
        assert_eq!(several[1], pair("/lines/0/s~1k~0u", code::TYPE));
    }

    #[test]
    fn texts_are_checked_for_form_and_control_characters() {
        let text = |value: &str| {
            let line = format!("{{\"s/k~u\":{value},\"quantity\":1,\"amount_minor\":1}}");
            fault(&format!("\"lines\":[{line}]"))
        };
        for bad in ["\"a\\u0000\"", "\"a\\r\\nBcc: x\"", "\"\\u0085\"", "\"\\u007f\""] {
            assert_eq!(text(bad), pair("/lines/0/s~1k~0u", code::CONTROL_CHARACTER), "{bad}");
        }
        assert_eq!(fault("\"lines\":[],\"method\":\"cash\""), pair("/method", code::FORMAT));
        assert_eq!(fault("\"lines\":[],\"method\":7"), pair("/method", code::TYPE));
        assert_eq!(fault("\"lines\":{}"), pair("/lines", code::TYPE));
        for id in ["no", &format!("{{{ID}}}"), &ID.replace('-', "")] {
            let body = format!("{{\"customer_id\":\"{id}\",\"email\":\"a\",\"lines\":[]}}");
            let problem = decode::<Order>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.errors(), [FieldError::new("/customer_id", code::FORMAT)]);
        }
        assert_eq!(decode::<Order>(b"[]").unwrap_err().errors()[0].pointer(), "");
    }

    #[test]
    fn keys_that_the_client_chose_do_not_come_back() {
        assert_eq!(fault("\"lines\":[],\"labels\":{\"<b>\":256}"), pair("/labels", code::RANGE));
        assert_eq!(
            fault("\"lines\":[],\"labels\":{\"\\n\":1}"),
            pair("/labels", code::CONTROL_CHARACTER)
        );
    }

    #[test]
    fn a_type_chooses_its_own_code() {
        #[derive(Debug)]
        struct Short;
        impl<'de> Deserialize<'de> for Short {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                if text.len() < 3 { Ok(Self) } else { Err(serde::de::Error::custom("length")) }
            }
        }
        assert!(decode::<Vec<Short>>(b"[\"ab\"]").is_ok());
        let problem = decode::<Vec<Short>>(b"[\"ab\",\"abc\"]").unwrap_err();
        assert_eq!(problem.errors()[0], FieldError::new("/1", code::LENGTH));
    }
}
