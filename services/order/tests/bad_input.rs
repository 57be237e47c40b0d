//! The table of bad input, row by row, on the routes of orders. The rows on what was before stand in
//! `bad_input_again.rs`, the queries of lists in `lists.rs`, and bodies by chance in `any_request.rs`.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use chassis::http::Limits;
use common::{CUSTOMER, Shop, basket};
use http::{Method, Request};
use order::App;
use order::presentation::http::api;
use serde_json::{Value, json};
use testkit::bad_input::{Bad, MARK, bad_heads, get, made, other_spellings, refused};
use uuid::Uuid;

const KEY: &str = "0123456789abcdef";
const JSON: (&str, &str) = ("content-type", "application/json");
const FIELDS: &str = "Unknown field, missing field, wrong type, qty <= 0 or > 1000, > 100 lines, \
                      amount not integer minor units, integer overflow";
const UNKNOWN: &str = "Id unknown, or owned by someone else";

/// As it is served, but for the time that it takes for a body.
fn router(app: App) -> Router {
    let limits = Limits { body_timeout: Duration::from_millis(50), ..Limits::default() };
    api().with_state(app).limits(limits).into_router()
}

/// A shop that sells `A` for 250 GBP and `E` for euros.
async fn shop() -> (Shop, Router) {
    let shop = Shop::open().await;
    shop.sells("A", 250, "GBP").await;
    shop.sells("E", 250, "EUR").await;
    let router = router(shop.app.clone());
    (shop, router)
}

fn post(key: &str, body: impl Into<Body>) -> Request<Body> {
    made(Method::POST, "/orders", &[JSON, ("idempotency-key", key)], body)
}

fn good() -> Value {
    let mut good = basket(&[("A", 1)]);
    good["expected_total"] = json!({"amount_minor": 250, "currency": "GBP"});
    good
}

/// A good order, but for the value at `pointer`.
fn with(pointer: &str, value: Value) -> Value {
    let mut body = good();
    *body.pointer_mut(pointer).unwrap() = value;
    body
}

/// A good order with one member more (or less, where it is null) in the object at `parent`.
fn member(parent: &str, name: &str, value: Value) -> Value {
    let mut body = good();
    let object = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        object.remove(name)
    } else {
        object.insert(name.to_owned(), value)
    };
    body
}

fn field(row: &'static str, body: &Value, pointer: &str, code: &str) -> Bad {
    Bad::field(row, post(KEY, body.to_string()), pointer, code).named(&format!("{pointer} {code}"))
}

fn malformed() -> Vec<Bad> {
    let good = good().to_string();
    let inside = |value: &str| good.replace("\"pm_ok\"", value);
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let bodies = [
        ("not JSON", MARK.into()),
        ("nothing", String::new()),
        ("half a document", good[..good.len() / 2].into()),
        ("a byte order mark", format!("\u{feff}{good}")),
        ("a lone surrogate", inside("\"\\ud800\"")),
        ("NaN", inside("NaN")),
        ("an unescaped line break", inside("\"pm\nok\"")),
        ("trailing bytes", format!("{good} {MARK}")),
        ("a second document", format!("{good}{good}")),
        ("a key twice", good.replacen('{', "{\"payment_method\":\"pm_ok\",", 1)),
        ("a key twice, once escaped", good.replacen('{', "{\"line\\u0073\":[],", 1)),
        ("a key twice further in", good.replace("\"quantity\"", "\"sku\":\"A\",\"quantity\"")),
        ("33 levels", inside(&nested(32))),
        ("30,000 levels", nested(30_000)),
    ];
    let not_utf_8 = [b"{\"payment_method\":\"\xff\",", &good.as_bytes()[1..]].concat();
    let bodies = bodies.into_iter().map(|(name, text)| (name, text.into_bytes()));
    let bodies = bodies.chain([("bad UTF-8", not_utf_8)]);
    let row = "Not JSON, bad UTF-8, trailing bytes, duplicate key, depth > 32";
    bodies
        .map(|(name, body)| Bad::new(row, post(KEY, body), 400, "malformed_json").named(name))
        .collect()
}

fn fields() -> Vec<Bad> {
    let mut all = Vec::new();
    for parent in ["", "/lines/0", "/expected_total"] {
        all.push(field(FIELDS, &member(parent, MARK, json!(MARK)), parent, "unknown_field"));
    }
    for (parent, name) in [
        ("", "customer_id"),
        ("", "customer_email"),
        ("", "lines"),
        ("", "payment_method"),
        ("/lines/0", "sku"),
        ("/lines/0", "quantity"),
        ("/expected_total", "amount_minor"),
        ("/expected_total", "currency"),
    ] {
        let pointer = format!("{parent}/{name}");
        all.push(field(FIELDS, &member(parent, name, Value::Null), &pointer, "required"));
        all.push(field(FIELDS, &member(parent, name, json!({"a": MARK})), &pointer, "type"));
    }
    for (pointer, bad, code) in [
        ("/customer_id", json!(MARK), "format"),
        ("/lines", json!([]), "length"),
        ("/lines/0", json!(7), "type"),
        ("/lines/0/sku", json!("not a sku"), "format"),
        ("/lines/0/sku", json!("x".repeat(65)), "format"),
        ("/lines/0/quantity", json!("1"), "type"),
        ("/lines/0/quantity", json!(1.0), "type"),
        ("/lines/0/quantity", json!(0), "range"),
        ("/lines/0/quantity", json!(-1), "range"),
        ("/lines/0/quantity", json!(1_001), "range"),
        ("/lines/0/quantity", json!(u64::MAX), "range"),
        ("/payment_method", json!("x".repeat(65)), "length"),
        ("/expected_total", json!(250), "type"),
        ("/expected_total/amount_minor", json!(2.5), "type"),
        ("/expected_total/amount_minor", json!(-1), "range"),
        ("/expected_total/amount_minor", json!(u64::MAX), "range"),
    ] {
        all.push(field(FIELDS, &with(pointer, bad), pointer, code));
    }
    let many: Vec<Value> =
        (0..101).map(|n| json!({"sku": format!("A{n}"), "quantity": 1})).collect();
    all.push(field(FIELDS, &with("/lines", json!(many)), "/lines", "length"));
    for number in ["1e309", "99999999999999999999", "-99999999999999999999"] {
        let code = if number == "1e309" { "type" } else { "range" };
        let body = good().to_string().replace("250", number);
        let bad = Bad::field(FIELDS, post(KEY, body), "/expected_total/amount_minor", code);
        all.push(bad.named(number));
    }
    all
}

fn texts() -> Vec<Bad> {
    let mut all = Vec::new();
    let row = "U+0000, CR/LF or control character in any string";
    for pointer in
        ["/customer_email", "/payment_method", "/lines/0/sku", "/expected_total/currency"]
    {
        for bad in ["a\0", "a@b.c\r\nBcc: d@e.f", "\n", "\u{7f}", "\u{85}"] {
            all.push(field(row, &with(pointer, json!(bad)), pointer, "control_character"));
        }
    }
    let row = "Bad email syntax, > 254 octets; unknown currency; unknown SKU; duplicate SKU line";
    let long = format!("a@{}c", "b.".repeat(126));
    for email in [MARK, "@b.c", "a@", "a b@c.d", "a@b@c.d", "<a@b.c>", "a@b.c, d@e.f", "ä@b.c"] {
        all.push(field(row, &with("/customer_email", json!(email)), "/customer_email", "format"));
    }
    all.push(field(row, &with("/customer_email", json!(long)), "/customer_email", "length"));
    for currency in ["XXX", "gbp", "GB", ""] {
        let pointer = "/expected_total/currency";
        all.push(field(row, &with(pointer, json!(currency)), pointer, "currency"));
    }
    // What only the catalogue knows is an answer, and kept: each has a key of its own.
    for (n, (lines, pointer, code)) in [
        (basket(&[("A", 1), (MARK, 1)]), "/lines/1/sku", "unknown_sku"),
        (basket(&[("A", 1), ("E", 1)]), "/lines/1/sku", "currency"),
        (basket(&[("A", 1), ("A", 1)]), "/lines/1/sku", "duplicate"),
    ]
    .into_iter()
    .enumerate()
    {
        let request = post(&format!("{KEY}-{n}"), lines.to_string());
        all.push(Bad::field(row, request, pointer, code));
    }
    let several = json!({"customer_id": CUSTOMER, "customer_email": MARK, "payment_method": "",
        "lines": [{"sku": "A", "quantity": 0}, {"sku": "A", "quantity": 1}]});
    let bad = field(row, &several, "/customer_email", "format");
    let bad = bad.and("/payment_method", "length").and("/lines/0/quantity", "range");
    all.push(bad.and("/lines/1/sku", "duplicate"));
    all
}

#[tokio::test]
async fn a_body_that_is_no_order() {
    let (shop, router) = shop().await;
    refused(&router, malformed()).await;
    refused(&router, fields()).await;
    refused(&router, texts()).await;
    let row = "Client total differs from server total";
    let body = with("/expected_total/amount_minor", json!(249)).to_string();
    refused(&router, vec![Bad::new(row, post("price-0123456789", body), 409, "price_changed")])
        .await;
    assert_eq!((shop.count("orders").await, shop.count("messaging.outbox").await), (0, 0));

    // A key under which nothing was answered is free.
    let row = "Valid POST /orders";
    let taken = shop.ask(post(KEY, good().to_string())).await;
    assert_eq!(taken.status.as_u16(), 202, "{row}: {}", taken.body);
    let id = taken.body["order_id"].as_str().unwrap();
    assert_eq!(taken.headers["location"], format!("/orders/{id}"), "{row}");
    assert_eq!(taken.body["status"], "pending", "{row}");
}

fn heads(order: Uuid) -> Vec<Bad> {
    let (large, wrong) = (
        "Body > 64 KiB / headers too large / URI too long",
        "Wrong Content-Type / Accept cannot match / wrong method / unknown path",
    );
    let mut all = Vec::new();
    for path in [&format!("/orders/{order}"), "/orders", "/products", "/products/A"] {
        all.extend(bad_heads(path, "application/json"));
    }
    for path in [&format!("/orders/{order}/events"), "/orders/events"] {
        all.extend(bad_heads(path, "text/event-stream"));
    }
    let too_long = "x".repeat((64 << 10) + 1);
    all.push(Bad::new(large, post(KEY, too_long.clone()), 413, "payload_too_large"));
    // Of several faults the size comes first, then the media type, then the key.
    let bare = |headers: &[(&str, &str)], body: &str| {
        made(Method::POST, "/orders", headers, body.to_owned())
    };
    all.push(Bad::new(large, bare(&[], &too_long), 413, "payload_too_large"));
    for kind in ["text/plain", "application/json; charset=latin1", "application/jsonx", ""] {
        let request = bare(&[("content-type", kind)], MARK);
        all.push(Bad::new(wrong, request, 415, "unsupported_media_type").named(kind));
    }
    all.push(Bad::new(wrong, bare(&[], MARK), 415, "unsupported_media_type"));
    for (method, path) in [(Method::PUT, "/orders"), (Method::GET, "/orders/1/cancel")] {
        let request = made(method, path, &[], "");
        all.push(Bad::new(wrong, request, 405, "method_not_allowed").header("allow", "POST"));
    }
    all
}

fn ids() -> Vec<Bad> {
    let mut all = Vec::new();
    let others = other_spellings(CUSTOMER);
    for id in &others {
        all.push(field(FIELDS, &with("/customer_id", json!(id)), "/customer_id", "format"));
    }
    let others = others.iter().map(String::as_str);
    for id in [MARK, "%00", "%0d%0aa", "%ff", &CUSTOMER[1..]].into_iter().chain(others) {
        for (method, path) in [
            (Method::GET, format!("/orders/{id}")),
            (Method::GET, format!("/orders/{id}/events")),
            (Method::POST, format!("/orders/{id}/cancel")),
            (Method::GET, format!("/orders?customer_id={id}")),
        ] {
            all.push(Bad::new("Id not a UUID", made(method, &path, &[], ""), 400, "invalid_id"));
        }
    }
    for id in [Uuid::nil(), Uuid::max()] {
        for (method, path) in [
            (Method::GET, format!("/orders/{id}")),
            (Method::GET, format!("/orders/{id}/events")),
            (Method::POST, format!("/orders/{id}/cancel")),
        ] {
            all.push(Bad::new(UNKNOWN, made(method, &path, &[], ""), 404, "not_found"));
        }
    }
    for sku in [MARK, "a%00", "a%20b", "%C3%A9"] {
        all.push(Bad::new(UNKNOWN, get(&format!("/products/{sku}")), 404, "not_found"));
    }
    all
}

fn keys() -> Vec<Bad> {
    let row = "Idempotency-Key missing / not 16-255 of `[A-Za-z0-9_-]` (bare or RFC 8941 quoted)";
    let mut all = Vec::new();
    let bare = made(Method::POST, "/orders", &[JSON], good().to_string());
    all.push(Bad::new(row, bare, 400, "idempotency_key_missing"));
    let long = "k".repeat(256);
    for key in ["", "Zq7xJwv01234567", "Zq7xJwv 0123456789", &long, "\"0123456789abcdef"] {
        let bad = Bad::new(row, post(key, good().to_string()), 400, "idempotency_key_malformed");
        all.push(bad.named(key));
    }
    let mut twice = post(KEY, good().to_string());
    twice.headers_mut().append("idempotency-key", KEY.parse().unwrap());
    all.push(Bad::new(row, twice, 400, "idempotency_key_malformed").named("twice"));
    all.into_iter().map(|bad| bad.header("link", "rel=\"help\"")).collect()
}

#[tokio::test]
async fn a_head_an_id_or_a_key_that_is_none() {
    let (shop, router) = shop().await;
    let order = shop.place().await;
    refused(&router, heads(order)).await;
    refused(&router, ids()).await;
    refused(&router, keys()).await;

    let row = "Slow body / header trickle";
    let never = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let slow = Bad::new(row, post(KEY, Body::from_stream(never)), 408, "request_timeout");
    refused(&router, vec![slow.header("connection", "close")]).await;
    assert_eq!(shop.count("orders").await, 1);
}
