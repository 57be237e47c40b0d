//! The table of bad input, row by row, on the routes of stock. That of the import has two more answers
//! for each row of a file; they stand in `import_bad_input.rs`.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use axum::body::Body;
use chassis::http::Cursor;
use chassis::telemetry::{self, TelemetryConfig};
use common::Warehouse;
use futures_util::FutureExt as _;
use http::{Method, Request, StatusCode};
use messaging::answers::{Answer, RequestKey};
use serde_json::{Value, json};
use testkit::bad_input::{Bad, MARK, bad_heads, get, made, other_spellings, refused};
use testkit::eventually;
use uuid::Uuid;

/// Longer than anything here may take, however busy the machine.
const SOON: Duration = Duration::from_secs(20);
const KEY: &str = "0123456789abcdef";
const JSON: (&str, &str) = ("content-type", "application/json");
const ARRIVE: &str = "/stock/LAMP/replenish";
const MALFORMED: &str = "Not JSON, bad UTF-8, trailing bytes, duplicate key, depth > 32";
const FIELDS: &str = "Unknown field, missing field, wrong type, qty <= 0 or > 1000, > 100 lines, \
                      amount not integer minor units, integer overflow";
const CONTROL: &str = "U+0000, CR/LF or control character in any string";
const LARGE: &str = "Body > 64 KiB / headers too large / URI too long";
const WRONG: &str = "Wrong Content-Type / Accept cannot match / wrong method / unknown path";

/// A warehouse with 20 lamps.
async fn warehouse() -> Warehouse {
    telemetry::init("inventory", &TelemetryConfig::default()).unwrap();
    let here = Warehouse::open().await;
    here.has("LAMP", 20).await;
    here
}

fn put(body: impl Into<Body>) -> Request<Body> {
    made(Method::PUT, "/products/LAMP", &[JSON], body)
}

fn arrive(key: &str, body: impl Into<Body>) -> Request<Body> {
    made(Method::POST, ARRIVE, &[JSON, ("idempotency-key", key)], body)
}

fn lamp() -> Value {
    let unit_price = json!({"amount_minor": 100, "currency": "GBP"});
    json!({"name": "Lamp", "unit_price": unit_price, "on_hand": 20})
}

fn malformed() -> Vec<Bad> {
    let mut all = Vec::new();
    for good in [lamp().to_string(), json!({"quantity": 1}).to_string()] {
        let key_twice = good.replacen('{', "{\"on_hand\":1,\"on_h\\u0061nd\":1,", 1);
        let deep = good.replacen('{', &format!("{{\"a\":{}{},", "[".repeat(32), "]".repeat(32)), 1);
        let not_utf_8 = [b"{\"name\":\"\xff\",", &good.as_bytes()[1..]].concat();
        let bodies = [
            MARK.to_owned(),
            String::new(),
            good[..good.len() - 1].to_owned(),
            format!("\u{feff}{good}"),
            format!("{good} {MARK}"),
            key_twice,
            deep,
            good.replacen(':', ":\"\\ud800\",\"b\":", 1),
            good.replacen(':', ":NaN,\"b\":", 1),
        ];
        for body in bodies.into_iter().map(String::into_bytes).chain([not_utf_8]) {
            let what = String::from_utf8_lossy(&body).into_owned();
            for request in [put(body.clone()), arrive(KEY, body)] {
                all.push(Bad::new(MALFORMED, request, 400, "malformed_json").named(&what));
            }
        }
    }
    all
}

/// A good product, but for the value at `pointer`; null stands for none.
fn with(pointer: &str, value: Value) -> Value {
    let mut body = lamp();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let object = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        object.remove(name)
    } else {
        object.insert(name.to_owned(), value)
    };
    body
}

fn fields() -> Vec<Bad> {
    let mut all = Vec::new();
    let mut add = |row, body: Value, pointer: &str, code: &str| {
        all.push(Bad::field(row, put(body.to_string()), pointer, code).named(&body.to_string()));
    };
    for pointer in
        ["/name", "/unit_price", "/unit_price/amount_minor", "/unit_price/currency", "/on_hand"]
    {
        add(FIELDS, with(pointer, Value::Null), pointer, "required");
        add(FIELDS, with(pointer, json!([MARK])), pointer, "type");
    }
    add(FIELDS, with(&format!("/{MARK}"), json!(MARK)), "", "unknown_field");
    add(FIELDS, with("/unit_price/Zq7xJwv", json!(1)), "/unit_price", "unknown_field");
    for number in ["/unit_price/amount_minor", "/on_hand"] {
        for (bad, code) in [
            (json!(1.0), "type"),
            (json!("1"), "type"),
            (json!(-1), "range"),
            (json!(u64::MAX), "range"),
        ] {
            add(FIELDS, with(number, bad), number, code);
        }
    }
    add(FIELDS, with("/name", json!("")), "/name", "length");
    add(FIELDS, with("/name", json!("x".repeat(201))), "/name", "length");
    for bad in ["a\0", "a\r\nb", "\u{7f}", "\u{85}"] {
        add(CONTROL, with("/name", json!(bad)), "/name", "control_character");
        let currency = "/unit_price/currency";
        add(CONTROL, with(currency, json!(bad)), currency, "control_character");
    }
    let row = "Bad email syntax, > 254 octets; unknown currency; unknown SKU; duplicate SKU line";
    for currency in ["XXX", "gbp", "", MARK] {
        let pointer = "/unit_price/currency";
        add(row, with(pointer, json!(currency)), pointer, "currency");
    }
    for (body, pointer, code) in [
        (json!({}), "/quantity", "required"),
        (json!({"quantity": 0}), "/quantity", "range"),
        (json!({"quantity": -1}), "/quantity", "range"),
        (json!({"quantity": u64::MAX}), "/quantity", "range"),
        (json!({"quantity": 1.5}), "/quantity", "type"),
        (json!({"quantity": MARK}), "/quantity", "type"),
        (json!({"quantity": 1, MARK: 1}), "", "unknown_field"),
        (json!([MARK]), "", "type"),
    ] {
        let request = arrive(KEY, body.to_string());
        all.push(Bad::field(FIELDS, request, pointer, code).named(&body.to_string()));
    }
    all
}

#[tokio::test]
async fn a_body_that_is_no_product_and_no_arrival() {
    let here = warehouse().await;
    refused(&here.router, malformed()).await;
    refused(&here.router, fields()).await;
    assert_eq!((here.stock("LAMP").await, here.told("product/LAMP").await.len()), ((20, 0), 1));
    // A key under which nothing was answered is free.
    assert_eq!(here.ask(arrive(KEY, "{\"quantity\":1}")).await.body["on_hand"], 21);
}

fn heads() -> Vec<Bad> {
    let mut all = Vec::new();
    for path in ["/stock", "/stock/LAMP"] {
        all.extend(bad_heads(path, "application/json"));
    }
    let large = "x".repeat((64 << 10) + 1);
    for (method, path) in [(Method::PUT, "/products/LAMP"), (Method::POST, ARRIVE)] {
        // Of several faults the size comes first, then the media type.
        let request = made(method.clone(), path, &[], large.clone());
        all.push(Bad::new(LARGE, request, 413, "payload_too_large"));
        for kind in ["text/csv", "application/json; charset=latin1", ""] {
            let request = made(method.clone(), path, &[("content-type", kind)], MARK);
            all.push(Bad::new(WRONG, request, 415, "unsupported_media_type").named(kind));
        }
        let request = made(method.clone(), path, &[JSON, ("accept", "text/html")], MARK);
        all.push(Bad::new(WRONG, request, 406, "not_acceptable"));
        let allowed = if method == Method::PUT { "PUT" } else { "POST" };
        let request = made(Method::DELETE, path, &[], "");
        all.push(Bad::new(WRONG, request, 405, "method_not_allowed").header("allow", allowed));
    }
    let import = made(Method::GET, "/products/import", &[], "");
    all.push(Bad::new(WRONG, import, 405, "method_not_allowed").header("allow", "POST"));
    let import = made(Method::POST, "/products/import", &[("content-type", "text/html")], MARK);
    all.push(Bad::new(WRONG, import, 415, "unsupported_media_type"));
    all
}

fn addresses() -> Vec<Bad> {
    let mut all = Vec::new();
    let others = other_spellings(&Uuid::max().to_string());
    let others = others.iter().map(String::as_str);
    for id in
        [MARK, "%00", "%0d%0aa", "%ff", &Uuid::max().to_string()[1..]].into_iter().chain(others)
    {
        let request = get(&format!("/reservations/{id}"));
        all.push(Bad::new("Id not a UUID", request, 400, "invalid_id"));
    }
    let row = "Id unknown, or owned by someone else";
    for id in [Uuid::nil(), Uuid::max()] {
        all.push(Bad::new(row, get(&format!("/reservations/{id}")), 404, "not_found"));
    }
    // A SKU is no id: what cannot be one names nothing.
    for sku in [MARK, "a%00", "a%20b", "%C3%A9", &"x".repeat(65)] {
        all.push(Bad::new(row, get(&format!("/stock/{sku}")), 404, "not_found"));
        let path = format!("/stock/{sku}/replenish");
        let headers = [JSON, ("idempotency-key", KEY)];
        let request = made(Method::POST, &path, &headers, "{\"quantity\":1}");
        all.push(Bad::new(row, request, 404, "not_found"));
    }
    for sku in ["a%00", "a%20b", "%C3%A9", &"x".repeat(65)] {
        let request = made(Method::PUT, &format!("/products/{sku}"), &[JSON], lamp().to_string());
        all.push(Bad::new(row, request, 404, "not_found"));
    }
    for (query, pointer, code) in [
        ("limit=0", "/limit", "range"),
        ("limit=201", "/limit", "range"),
        ("limit=1.0", "/limit", "type"),
        ("limit=1&limit=1", "/limit", "duplicate"),
        ("Zq7xJwv=1", "", "unknown_field"),
    ] {
        all.push(Bad::field(FIELDS, get(&format!("/stock?{query}")), pointer, code));
    }
    let cursor = |key: &str| serde_json::to_value(Cursor::behind(key)).unwrap();
    let encoded = ["1", "1.a b", "-1.A", "+1.A", "9223372036854775807.A"].map(cursor);
    for text in ["", MARK, "MQ==", "%C3%A9", "%00", "MQ%0d%0a"]
        .into_iter()
        .chain(encoded.iter().filter_map(Value::as_str))
    {
        let row = "`cursor` is opaque, and a bad one is `400 invalid_cursor`";
        all.push(Bad::new(row, get(&format!("/stock?cursor={text}")), 400, "invalid_cursor"));
    }
    all
}

fn keys() -> Vec<Bad> {
    let row = "Idempotency-Key missing / not 16-255 of `[A-Za-z0-9_-]` (bare or RFC 8941 quoted)";
    let long = "k".repeat(256);
    let mut all = Vec::new();
    for (path, kind) in [(ARRIVE, "application/json"), ("/products/import", "text/csv")] {
        let kind = ("content-type", kind);
        let missing = made(Method::POST, path, &[kind], MARK);
        all.push(Bad::new(row, missing, 400, "idempotency_key_missing"));
        for key in ["", "Zq7xJwv01234567", "Zq7xJwv 0123456789", &long, "\"0123456789abcdef"] {
            let request = made(Method::POST, path, &[kind, ("idempotency-key", key)], MARK);
            all.push(Bad::new(row, request, 400, "idempotency_key_malformed").named(key));
        }
    }
    all.into_iter().map(|bad| bad.header("link", "rel=\"help\"")).collect()
}

#[tokio::test]
async fn a_head_an_address_or_a_key_that_is_none() {
    let here = warehouse().await;
    refused(&here.router, heads()).await;
    refused(&here.router, addresses()).await;
    refused(&here.router, keys()).await;
    assert_eq!(here.stock("LAMP").await, (20, 0));
}

#[tokio::test]
async fn a_request_at_the_wrong_time() {
    let here = warehouse().await;
    let (one, two) = ("{\"quantity\":1}", "{\"quantity\":2}");
    let first = here.ask(arrive(KEY, one)).await;
    let again = here.ask(arrive(KEY, one)).await;
    assert_eq!((again.status, &again.bytes), (first.status, &first.bytes));
    assert_eq!(again.headers["idempotency-replayed"], "true", "Same key, same payload, done");
    // Whatever is wrong with the other payload.
    for other in [two, "", MARK, "{}", "{\"quantity\":0}", "{\"quantity\":\"1\"}"] {
        let request = arrive(KEY, other);
        let reused = Bad::new("Same key, other payload", request, 422, "idempotency_key_reused");
        refused(&here.router, vec![reused.named(other)]).await;
    }

    let mut tx = here.tx().await;
    let key = RequestKey::new(format!("POST {ARRIVE}"), "running-01234567", one.as_bytes());
    tx.remembered(&key).await.unwrap();
    tx.remember(&key, &Answer { status: 200, location: None, body: MARK.into() }).await.unwrap();
    let row = "Same key, first still running";
    let running = Bad::new(row, arrive("running-01234567", one), 409, "request_in_progress");
    refused(&here.router, vec![running.header("retry-after", "1")]).await;
    drop(tx);
    // The database hears of its end a moment later.
    let executed = eventually(SOON, || async {
        let answer = here.ask(arrive("running-01234567", one)).await;
        if answer.status == StatusCode::CONFLICT { Err(answer.body) } else { Ok(answer) }
    })
    .await;
    assert_eq!(executed.body["on_hand"], 22, "First attempt died before commit");

    let csv = |body: Body| {
        let headers = [("content-type", "text/csv"), ("idempotency-key", KEY)];
        made(Method::POST, "/products/import", &headers, body)
    };
    let never =
        || Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let mut running = [(); 4].map(|()| Box::pin(here.ask(csv(never()))));
    assert!(running.iter_mut().all(|import| import.now_or_never().is_none()));
    let row = "Rate or in-flight limit";
    let limited = Bad::new(row, csv(Body::empty()), 429, "too_many_requests");
    refused(&here.router, vec![limited.header("retry-after", "5")]).await;
    drop(running);

    here.pool.close().await;
    let row = "DB down, pool timeout, outbox over cap, shutting down";
    let header = "sku,name,unit_price_minor,currency,on_hand\n";
    let reads = ["/stock".into(), "/stock/LAMP".into(), format!("/reservations/{}", Uuid::nil())];
    let writes = [put(lamp().to_string()), arrive(KEY, one), csv(Body::from(header))];
    let all = reads.iter().map(|path| get(path)).chain(writes);
    let away = |request| Bad::new(row, request, 503, "unavailable").header("retry-after", "5");
    refused(&here.router, all.map(away).collect()).await;
}
