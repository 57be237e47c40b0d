//! What stands in heads: queries, ids, idempotency keys and cursors.

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::routing::get;
use chassis::http::{Cursor, Id, IdempotencyKey, Limit, Path, Query};
use chassis::problem::Problem;
use http::HeaderValue;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;
use tower::ServiceExt as _;
use uuid::Uuid;

use super::{assert_no_echo, at_once, mark};

#[derive(Debug, Deserialize, PartialEq)]
struct Filter {
    customer_id: Option<Id>,
    status: Option<Status>,
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor>,
    all: Option<bool>,
    offset: Option<i64>,
}

#[derive(Debug, Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Status {
    Pending,
    Confirmed,
}

/// What an extractor makes of a request's head.
fn taken<T: FromRequestParts<(), Rejection = Problem>>(
    request: http::request::Builder,
) -> Result<T, Problem> {
    let (mut parts, _) = request.body(Body::empty()).unwrap().into_parts();
    at_once(T::from_request_parts(&mut parts, &()))
}

fn filter(query: &str) -> Result<Filter, Problem> {
    let Query(filter) = taken::<Query<Filter>>(Request::get(format!("/?{query}")))?;
    Ok(filter)
}

fn cursor(text: &str) -> Cursor {
    serde_json::from_value(json!(text)).unwrap()
}

/// Percent-encoded as a client may do it: what must be, and some of what need not be.
fn encoded(text: &str, also: u8) -> String {
    let byte = |byte: u8| match byte {
        b if b.is_ascii_alphanumeric() && b % 7 != also % 7 => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn is_key(text: &[u8]) -> bool {
    let quoted = text.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let key = quoted.unwrap_or(text);
    let allowed = key.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte));
    allowed && key.len() >= 16 && key.len() <= 255
}

proptest! {
    #[test]
    fn a_good_query_is_read_in_any_spelling(
        id in any::<u128>(), limit in 1_u16..=200, all in any::<bool>(), offset in any::<i64>(),
        key in "\\PC{0,9}", also in any::<u8>(), order in Just(vec![0, 1, 2, 3, 4, 5]).prop_shuffle(),
    ) {
        let next = serde_json::to_value(Cursor::behind(&key)).unwrap();
        let pairs = [
            ("customer_id", Uuid::from_u128(id).to_string()),
            ("status", "pending".to_owned()),
            ("limit", limit.to_string()),
            ("cursor", next.as_str().unwrap().to_owned()),
            ("all", all.to_string()),
            ("offset", offset.to_string()),
        ];
        let pairs = order.iter().map(|n| &pairs[*n]);
        let pairs = pairs.map(|(name, value)| format!("{}={}", encoded(name, also), encoded(value, also)));
        let read = filter(&pairs.collect::<Vec<_>>().join("&")).unwrap();
        prop_assert_eq!(read, Filter {
            customer_id: Some(Id(Uuid::from_u128(id))),
            status: Some(Status::Pending),
            limit: serde_json::from_value(json!(limit)).unwrap(),
            cursor: Some(Cursor::behind(&key)),
            all: Some(all),
            offset: Some(offset),
        });
    }

    #[test]
    fn any_query_has_an_answer_that_does_not_repeat_it(
        names in prop::collection::vec(
            prop_oneof![
                3 => prop::sample::select(vec![
                    "customer_id", "status", "limit", "cursor", "all", "offset",
                ]).prop_map(str::to_owned),
                1 => mark(),
            ],
            0..4,
        ),
        values in prop::collection::vec(prop_oneof![mark(), "[0-9+%-]{0,5}", "[ -~]{0,6}"], 4),
        raw in "[a-z=&;%+0-9_.]{0,12}",
    ) {
        let pairs = names.iter().zip(&values);
        let pairs = pairs.map(|(name, value)| format!("{name}={}", encoded(value, 3)));
        let query = format!("{}&{raw}", pairs.collect::<Vec<_>>().join("&"));
        if let Err(problem) = filter(&query) {
            let said = (problem.status().as_u16(), problem.code());
            let known = [(422, "validation_failed"), (400, "invalid_id"), (400, "invalid_cursor")];
            prop_assert!(known.contains(&said), "{}", query);
            let marks = names.iter().chain(&values).map(String::as_str);
            let marks: Vec<&str> = marks.filter(|text| text.starts_with(['Q', 'X', 'Z', 'J'])).collect();
            assert_no_echo(&problem, &marks);
        }
    }

    #[test]
    fn an_id_is_a_uuid_or_refused(segment in prop_oneof![
        "[0-9a-fA-F]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}",
        "[0-9a-f-]{30,38}",
        "[0-9a-f]{32}|urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        "(%[0-9A-F]{2}|[!-.0-9:;<=>@-~&&[^%#?^`{|}\"<>\\\\]]){1,40}",
    ]) {
        let routes = Router::new()
            .route("/orders/{id}", get(|Path(Id(id)): Path<Id>| async move { id.to_string() }));
        let Ok(request) = Request::get(format!("/orders/{segment}")).body(Body::empty()) else {
            return Ok(());
        };
        let answer = at_once(routes.oneshot(request)).unwrap();
        // All that a Uuid reads otherwise has another length, or braces.
        let is_id = segment.len() == 36 && segment.parse::<Uuid>().is_ok();
        let expected = if is_id { 200 } else { 400 };
        prop_assert_eq!(answer.status().as_u16(), expected);
    }

    #[test]
    fn a_key_is_of_the_form_or_refused(text in prop_oneof![
        "\"?[A-Za-z0-9_-]{14,18}\"?".prop_map(String::into_bytes),
        "\"?[A-Za-z0-9_-]{250,258}\"?".prop_map(String::into_bytes),
        "[A-Za-z0-9]{8}[ -~é\t]{1,2}[A-Za-z0-9]{8}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..40),
    ]) {
        let Ok(value) = HeaderValue::from_bytes(&text) else { return Ok(()) };
        let request = Request::post("/").header("idempotency-key", value);
        let key = taken::<IdempotencyKey>(request);
        prop_assert_eq!(key.is_ok(), is_key(&text));
        match key {
            Ok(key) => {
                let text = String::from_utf8(text).unwrap();
                prop_assert_eq!(key.as_str(), text.trim_matches('"'));
            }
            Err(problem) => prop_assert_eq!(problem.code(), "idempotency_key_malformed"),
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_none(key in "[A-Za-z0-9_-]{16,40}", other in "[a-z]{16}") {
        for second in [&key, &other] {
            let request = Request::post("/").header("idempotency-key", &key);
            let twice = taken::<IdempotencyKey>(request.header("Idempotency-Key", second));
            prop_assert_eq!(twice.unwrap_err().code(), "idempotency_key_malformed");
        }
    }

    /// One of our own has one spelling, so that what is taken is what was given.
    #[test]
    fn a_cursor_is_one_of_ours_or_refused(text in prop_oneof![
        "[A-Za-z0-9_-]{0,24}",
        "\\PC{0,12}",
        "[+-]?[0-9]{0,22}[.]?[A-Za-z0-9.]{0,6}".prop_map(|key| {
            serde_json::to_value(Cursor::behind(key)).unwrap().as_str().unwrap().to_owned()
        }),
    ]) {
        let given = cursor(&text);
        match given.key(|key| Some(key.to_owned())) {
            Ok(key) => prop_assert_eq!(Cursor::behind(key), given.clone()),
            Err(problem) => prop_assert_eq!(problem.code(), "invalid_cursor"),
        }
        match given.time_and_key(|micros, key| Some((micros, key.to_owned()))) {
            Ok((micros, key)) => prop_assert_eq!(Cursor::behind_time(micros, key), given),
            Err(problem) => prop_assert_eq!(problem.code(), "invalid_cursor"),
        }
    }

    #[test]
    fn our_own_cursors_come_back_as_they_were_given(micros in 0_i64..=i64::MAX, key in "\\PC{0,20}") {
        let read = Cursor::behind_time(micros, &key).time_and_key(|at, key| Some((at, key.to_owned())));
        prop_assert_eq!(read.unwrap(), (micros, key));
    }
}
