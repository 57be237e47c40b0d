//! Bad input to `POST /products/import`: each with its own answer, and never a 5xx.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use axum::body::Body;
use common::Warehouse;
use common::csv::{ALL, HEADER, KEY, PATH, count, counts, import, refusal, request};
use http::Request;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

/// Rows and what is wrong with them, each under its rule.
fn bad_rows() -> Vec<(String, Value)> {
    let (long_name, long_sku) = ("x".repeat(201), "x".repeat(65));
    [
        // SKU `[A-Za-z0-9._-]{1,64}`.
        ("a b,N,1,GBP,1", json!([["/sku", "format"]])),
        (&format!("{long_sku},N,1,GBP,1"), json!([["/sku", "format"]])),
        ("é,N,1,GBP,1", json!([["/sku", "format"]])),
        // An empty value is an absent one.
        (",N,1,GBP,1", json!([["/sku", "required"]])),
        ("a,,1,GBP,1", json!([["/name", "required"]])),
        ("a,N,,GBP,1", json!([["/unit_price_minor", "required"]])),
        ("a,N,1,,1", json!([["/currency", "required"]])),
        ("a,N,1,GBP,", json!([["/on_hand", "required"]])),
        // A name has at most 200 bytes.
        (&format!("a,{long_name},1,GBP,1"), json!([["/name", "length"]])),
        (&format!("a,{},1,GBP,1", "x".repeat(5_000)), json!([["/name", "length"]])),
        // U+0000, CR/LF or control character in any string: 422.
        ("a,N\0,1,GBP,1", json!([["/name", "control_character"]])),
        ("a,\"N\r\nN\",1,GBP,1", json!([["/name", "control_character"]])),
        ("a,N\u{85},1,GBP,1", json!([["/name", "control_character"]])),
        // Amount not integer minor units, integer overflow; on_hand 0...
        ("a,N,1.0,GBP,1", json!([["/unit_price_minor", "type"]])),
        ("a,N,1e3,GBP,1", json!([["/unit_price_minor", "type"]])),
        ("a,N,+1,GBP,1", json!([["/unit_price_minor", "type"]])),
        ("a,N,-1,GBP,1", json!([["/unit_price_minor", "range"]])),
        ("a,N,9223372036854775808,GBP,1", json!([["/unit_price_minor", "range"]])),
        ("a,N,1,GBP,x", json!([["/on_hand", "type"]])),
        ("a,N,1,GBP, 1", json!([["/on_hand", "type"]])),
        ("a,N,1,GBP,-1", json!([["/on_hand", "range"]])),
        ("a,N,1,GBP,99999999999999999999", json!([["/on_hand", "range"]])),
        // Unknown currency.
        ("a,N,1,gbp,1", json!([["/currency", "currency"]])),
        ("a,N,1,XXX,1", json!([["/currency", "currency"]])),
        // All faults of a row at once.
        (
            "a/b,N,x,GB,-1",
            json!([
                ["/sku", "format"],
                ["/unit_price_minor", "type"],
                ["/currency", "currency"],
                ["/on_hand", "range"]
            ]),
        ),
        // Too few values are missing ones; one too many has no name.
        ("a,N,1,GBP", json!([["/on_hand", "required"]])),
        ("a,N,1,GBP,1,1", json!([["", "unknown_field"]])),
        // Each SKU once: the first row counts.
        ("good,N,1,GBP,1", json!([["/sku", "duplicate"]])),
    ]
    .map(|(row, faults)| (row.to_owned(), faults))
    .into()
}

#[tokio::test]
async fn a_bad_row_is_rejected_with_its_line_and_the_rows_beside_it_are_taken() {
    let here = Warehouse::open().await;
    for (row, faults) in bad_rows() {
        let key = format!("{KEY}-{}", here.order());
        let rows = format!("good,Good,1,GBP,7\n\n{row}\nlast,Last,1,GBP,7");
        let answer = import(&here, PATH, &key, &rows).await;
        assert_eq!(counts(&answer), (2, 1), "{row:?}");
        let errors = faults.as_array().unwrap().iter();
        let errors = errors.map(|fault| json!({"pointer": fault[0], "code": fault[1]}));
        let rejected = json!([{"line": 4, "errors": errors.collect::<Vec<_>>()}]);
        assert_eq!(answer.body["rejected_rows"], rejected, "{row:?}");
    }
    assert_eq!((count(&here, "products").await, count(&here, "messaging.outbox").await), (2, 2));
    assert_eq!(here.stock("good").await, (7, 0));
}

#[tokio::test]
async fn bytes_that_are_no_utf_8_spoil_their_row_only() {
    let here = Warehouse::open().await;
    let rows: [&[u8]; 3] =
        [HEADER.as_bytes(), b"a,N\xff,1,GBP,1\n", "é,ü,1,GBP,1\nb,ü,1,GBP,1".as_bytes()];
    let answer = here.ask(request(PATH, KEY, rows.concat())).await;
    assert_eq!(counts(&answer), (1, 2));
    let errors = json!([{"pointer": "/name", "code": "format"}]);
    assert_eq!(answer.body["rejected_rows"][0], json!({"line": 2, "errors": errors}));
}

#[tokio::test]
async fn a_request_that_is_none_is_refused_in_the_order_of_the_checks() {
    let here = Warehouse::open().await;
    let good = format!("{HEADER}a,Lamp,100,GBP,1\n");
    let large = "x".repeat((10 << 20) + 1);
    let send = async |path: &str, kind: Option<&str>, key: Option<&str>, body: &str| {
        let mut request = Request::post(path);
        for (name, value) in [("content-type", kind), ("idempotency-key", key)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        here.ask(request.body(Body::from(body.to_owned())).unwrap()).await
    };
    let (csv, bad_mode) = (Some("text/csv"), "/products/import?mode=some");
    for (answer, expected) in [
        (send(bad_mode, None, None, &large).await, (413, "payload_too_large")),
        (send(bad_mode, None, None, "x").await, (415, "unsupported_media_type")),
        (
            send(PATH, Some("application/json"), Some(KEY), &good).await,
            (415, "unsupported_media_type"),
        ),
        (
            send(PATH, Some("text/csv; charset=latin1"), Some(KEY), &good).await,
            (415, "unsupported_media_type"),
        ),
        (send(bad_mode, csv, None, "x").await, (400, "idempotency_key_missing")),
        (send(bad_mode, csv, Some("short"), "x").await, (400, "idempotency_key_malformed")),
        (send(bad_mode, csv, Some(KEY), &good).await, (422, "validation_failed")),
        (
            send("/products/import?colour=red", csv, Some(KEY), &good).await,
            (422, "validation_failed"),
        ),
        (send(PATH, csv, Some(KEY), "").await, (422, "validation_failed")),
        (send(PATH, csv, Some(KEY), "a,Lamp,100,GBP,1\n").await, (422, "validation_failed")),
        (send(PATH, csv, Some(KEY), &good.replace(',', ";")).await, (422, "validation_failed")),
        (
            send(PATH, csv, Some(KEY), &good.replace("sku,name", "name,sku")).await,
            (422, "validation_failed"),
        ),
    ] {
        assert_eq!(refusal(&answer), expected, "{}", answer.body);
    }
    assert_eq!(count(&here, "products").await, 0);
    // A key under which nothing was answered is free.
    let utf_8 = Some("Text/CSV; header=present; charset=\"UTF-8\"");
    let marked = format!("\u{feff}{good}");
    assert_eq!(counts(&send(PATH, utf_8, Some(KEY), &marked).await), (1, 0));
    assert_eq!(counts(&send(PATH, csv, Some("header-only-01234"), HEADER).await), (0, 0));
}

#[tokio::test]
async fn ten_mebibytes_are_taken_and_the_report_stays_small() {
    let here = Warehouse::open().await;
    let mut body = format!("{HEADER}a,Lamp,100,GBP,1\n");
    let row = format!("a,{},100,GBP,1\n,\n", "Lamp".repeat(40));
    while body.len() + row.len() < 10 << 20 {
        body.push_str(&row);
    }
    body.push_str(&"\n".repeat((10 << 20) - body.len()));
    let answer = here.ask(request(PATH, KEY, body)).await;
    let (accepted, rejected) = counts(&answer);
    assert!(accepted == 1 && rejected > 100_000, "{accepted} {rejected}");
    let lines = answer.body["rejected_rows"].as_array().unwrap().iter();
    let lines: Vec<_> = lines.map(|row| row["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, (3..1_003).collect::<Vec<_>>());
    assert_eq!(answer.body["rejected_rows_left_out"], rejected - 1_000);
    assert!(answer.bytes.len() < 512 << 10, "{}", answer.bytes.len());
}

#[tokio::test]
async fn whatever_is_sent_is_never_our_own_fault() {
    let here = Warehouse::open().await;
    let value = prop_oneof![
        3 => "[ab]{1,2}|GBP|[0-9]{1,3}",
        1 => "\\PC{0,8}|[\",\\r\\n\\x00]{0,4}|-?[0-9]{17,22}|[A-Z]{3}",
    ];
    let row = prop::collection::vec(value, 0..7).prop_map(|values| values.join(",").into_bytes());
    let row = prop_oneof![
        4 => row,
        2 => "[ab],[a-c]{1,3},[0-9]{1,5},GBP,[0-9]{1,19}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..80),
    ];
    let bodies = (0..8_u8, prop::collection::vec(row, 0..12)).prop_map(|(header, rows)| {
        let header = if header == 0 { "" } else { HEADER };
        [header.as_bytes(), &rows.join(&b'\n')].concat()
    });
    let mut runner = TestRunner::default();
    let (mut taken, cases) = (0, 256);
    for case in 0..cases {
        let body = bodies.new_tree(&mut runner).unwrap().current();
        let path = if case % 2 == 0 { PATH } else { ALL };
        let answer = here.ask(request(path, &format!("{KEY}-{case}"), body.clone())).await;
        let status = answer.status.as_u16();
        assert!(status == 200 || status == 422, "{status} {body:?}");
        taken += u32::from(status == 200);
    }
    assert!((1..cases).contains(&taken), "{taken}");
    here.assert_balanced().await;
}
