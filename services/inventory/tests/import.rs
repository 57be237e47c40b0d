//! `POST /products/import`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use common::{Answer, Warehouse, versions};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use http::{Method, Request};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

const KEY: &str = "0123456789abcdef";
const SOON: Duration = Duration::from_secs(30);
const HEADER: &str = "sku,name,unit_price_minor,currency,on_hand\n";
const PATH: &str = "/products/import";
const ALL: &str = "/products/import?mode=all_or_nothing";

fn request(path: &str, key: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::post(path).header("content-type", "text/csv");
    request.header("idempotency-key", key).body(body.into()).unwrap()
}

async fn import(here: &Warehouse, path: &str, key: &str, rows: &str) -> Answer {
    here.ask(request(path, key, format!("{HEADER}{rows}"))).await
}

fn refusal(answer: &Answer) -> (u16, &str) {
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    (answer.status.as_u16(), answer.body["code"].as_str().unwrap())
}

/// Accepted and rejected.
fn counts(answer: &Answer) -> (u64, u64) {
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    assert_eq!(answer.headers["content-type"], "application/json");
    let count = |name: &str| answer.body[name].as_u64().unwrap();
    assert_eq!(count("rows"), count("accepted") + count("rejected"));
    assert_eq!(count("accepted"), count("listed") + count("changed") + count("unchanged"));
    (count("accepted"), count("rejected"))
}

async fn count(here: &Warehouse, table: &'static str) -> i64 {
    let query = format!("select count(*) from {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(here.pool.pg()).await.unwrap()
}

/// Rows `P-from`, ... of good products.
fn many(skus: std::ops::Range<u32>, price: i64) -> String {
    skus.map(|n| format!("P-{n},Product {n},{price},GBP,{n}\r\n")).collect()
}

#[tokio::test]
async fn each_row_is_told_as_a_put_would_be_and_what_is_so_already_is_not_told() {
    let here = Warehouse::open().await;
    for sku in ["same", "price", "name", "held"] {
        here.put(sku, "Thing", 100, 10).await.unwrap();
    }
    here.place(here.order(), &[("held", 5)]).await.unwrap();
    let rows = "same,Thing,100,GBP,10\nprice,Thing,120,GBP,10\nname,\"Thing, new\",90,GBP,4\n\
                held,Thing,100,GBP,4\nnew,Thing,100,EUR,0\n";
    let answer = import(&here, PATH, KEY, rows).await;
    assert_eq!(counts(&answer), (4, 1));
    let rejected =
        json!([{"line": 5, "errors": [{"pointer": "/on_hand", "code": "below_reserved"}]}]);
    let report = json!({
        "mode": "good_rows", "rows": 5, "accepted": 4, "rejected": 1, "listed": 1, "changed": 2,
        "unchanged": 1, "rejected_rows": rejected, "rejected_rows_left_out": 0,
    });
    assert_eq!(answer.body, report);

    let told = |sku: &str| here.types(format!("product/{sku}"));
    let listed = ("product_listed", 1);
    assert_eq!(told("same").await, versions(&[listed]));
    assert_eq!(told("held").await, versions(&[listed]));
    assert_eq!(told("price").await, versions(&[listed, ("price_changed", 2)]));
    let both = [listed, ("price_changed", 2), ("product_changed", 3)];
    assert_eq!(told("name").await, versions(&both));
    let data = here.told("product/new").await.remove(0).2;
    let unit_price = json!({"amount_minor": 100, "currency": "EUR"});
    assert_eq!(
        data,
        json!({"sku": "new", "name": "Thing", "unit_price": unit_price, "on_hand": 0})
    );
    let movements = [(10, "initial".to_owned()), (-6, "adjusted".to_owned())];
    assert_eq!(here.movements("name").await, movements);
    assert_eq!(here.stock("held").await, (10, 5));
    here.assert_balanced().await;
}

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
async fn with_all_or_nothing_one_bad_row_leaves_nothing_and_tells_nothing() {
    let here = Warehouse::open().await;
    here.put("held", "Thing", 100, 10).await.unwrap();
    here.place(here.order(), &[("held", 5)]).await.unwrap();
    let before = count(&here, "messaging.outbox").await;
    // More than a batch, so that the rows before were written when the last one was refused.
    let rows = format!("{}held,Thing,100,GBP,4\nx,y\n", many(1..1_202, 100));
    let refused = import(&here, ALL, KEY, &rows).await;
    assert_eq!(refusal(&refused), (422, "validation_failed"));
    let fault = |pointer: &str, code: &str| json!({"pointer": pointer, "code": code});
    let missing = ["unit_price_minor", "currency", "on_hand"];
    let missing = missing.map(|column| fault(&format!("/1204/{column}"), "required"));
    let errors = [vec![fault("/1203/on_hand", "below_reserved")], missing.into()].concat();
    assert_eq!(refused.body["errors"], Value::from(errors));
    assert!(refused.body["detail"].as_str().unwrap().contains("2 of 1203 rows"));
    assert_eq!(
        (count(&here, "products").await, count(&here, "messaging.outbox").await),
        (1, before)
    );

    let again = import(&here, ALL, KEY, &rows).await;
    assert_eq!((again.status, &again.bytes), (refused.status, &refused.bytes));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    here.assert_balanced().await;

    let good = import(&here, ALL, "another-key-0123456", &many(1..1_202, 100)).await;
    assert_eq!((counts(&good), &good.body["mode"]), ((1_201, 0), &json!("all_or_nothing")));
    assert_eq!(count(&here, "messaging.outbox").await, before + 1_201);
    here.assert_balanced().await;
}

#[tokio::test]
async fn the_same_body_under_the_same_key_is_answered_from_memory_byte_for_byte() {
    let here = Warehouse::open().await;
    let rows = "a,Lamp,100,GBP,1\nbad\n";
    let first = import(&here, PATH, KEY, rows).await;
    assert_eq!(counts(&first), (1, 1));
    assert!(!first.headers.contains_key("idempotency-replayed"));
    here.put("a", "Lamp", 999, 1).await.unwrap();
    let again = import(&here, PATH, &format!("\"{KEY}\""), rows).await;
    assert_eq!((again.status, &again.bytes), (first.status, &first.bytes));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let types = [("product_listed", 1), ("price_changed", 2)];
    assert_eq!(here.types("product/a").await, versions(&types));

    let other = import(&here, PATH, KEY, "a,Lamp,100,GBP,2\n").await;
    assert_eq!(refusal(&other), (422, "idempotency_key_reused"));
    // Another mode is another request: what was answered is not what would be.
    assert_eq!(refusal(&import(&here, ALL, KEY, rows).await), (422, "idempotency_key_reused"));
    assert_eq!(here.stock("a").await, (1, 0));
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
    while body.len() + 20 < 10 << 20 {
        body.push_str("a,Lamp,100,GBP,1\n,\n");
    }
    body.push_str(&"\n".repeat((10 << 20) - body.len()));
    let answer = here.ask(request(PATH, KEY, body)).await;
    let (accepted, rejected) = counts(&answer);
    assert!(accepted == 1 && rejected > 1_000_000, "{accepted} {rejected}");
    let lines = answer.body["rejected_rows"].as_array().unwrap().iter();
    let lines: Vec<_> = lines.map(|row| row["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, (3..1_003).collect::<Vec<_>>());
    assert_eq!(answer.body["rejected_rows_left_out"], rejected - 1_000);
    assert!(answer.bytes.len() < 512 << 10, "{}", answer.bytes.len());
}

#[tokio::test]
async fn an_import_that_broke_off_is_repeated_under_its_key_and_tells_nothing_twice() {
    let here = Warehouse::open().await;
    let run = async |sql: &'static str| sqlx::raw_sql(sql).execute(here.pool.pg()).await.unwrap();
    run("create function fail() returns trigger language plpgsql as 'begin raise ''disk full''; end';
        create trigger fail before insert on products for each row when (new.sku = 'P-900')
        execute function fail()")
    .await;
    let rows = many(1..1_202, 100);
    for path in [ALL, PATH] {
        let broken = import(&here, path, KEY, &rows).await;
        assert_eq!(refusal(&broken), (503, "unavailable"));
        let stored = count(&here, "products").await;
        // All or nothing is nothing; otherwise the batches before stay.
        assert_eq!(stored, if path == ALL { 0 } else { 1_000 });
        assert_eq!(count(&here, "messaging.outbox").await, stored);
    }
    run("drop trigger fail on products").await;
    // A broken transaction may hold its key for a moment.
    let answer = testkit::eventually(SOON, || async {
        let answer = import(&here, PATH, KEY, &rows).await;
        if answer.status.as_u16() == 200 { Ok(answer) } else { Err(answer.body.to_string()) }
    })
    .await;
    assert_eq!((counts(&answer), &answer.body["unchanged"]), ((1_201, 0), &json!(1_000)));
    assert_eq!(count(&here, "messaging.outbox").await, 1_201);
    here.assert_balanced().await;
}

#[tokio::test]
async fn twins_import_once_and_imports_and_orders_never_wait_for_each_other_in_a_circle() {
    let here = Warehouse::open().await;
    let rows = many(1..600, 100);
    let twins = join_all((0..3).map(|_| import(&here, PATH, KEY, &rows))).await;
    let done = twins.iter().filter(|twin| twin.status.as_u16() == 200).count();
    assert!(done >= 1);
    for twin in twins.iter().filter(|twin| twin.status.as_u16() != 200) {
        assert_eq!(refusal(twin), (409, "request_in_progress"));
    }
    assert_eq!(count(&here, "messaging.outbox").await, 599);

    let backwards: String =
        many(1..1_100, 120).lines().rev().map(|row| format!("{row}\n")).collect();
    let forwards = many(1..1_100, 130);
    let imports = [(ALL, &backwards), (ALL, &forwards), (PATH, &backwards)];
    let imports = imports.iter().enumerate().map(async |(n, (path, rows))| {
        let answer = import(&here, path, &format!("{KEY}-{n}"), rows).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    });
    let orders = (0..40).map(async |n: u32| {
        let (one, other) = (format!("P-{}", 500 + n), format!("P-{}", 100 + n));
        here.place(here.order(), &[(&one, 1), (&other, 1)]).await.unwrap();
    });
    tokio::join!(join_all(imports), join_all(orders));
    here.assert_balanced().await;
}

#[tokio::test]
async fn only_a_few_imports_run_at_once() {
    let here = Warehouse::open().await;
    let endless = || {
        let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        Box::pin(here.ask(request(PATH, KEY, Body::from_stream(never))))
    };
    let mut running = [endless(), endless(), endless(), endless()];
    assert!(running.iter_mut().all(|import| import.now_or_never().is_none()));
    let refused = import(&here, PATH, KEY, "").await;
    assert_eq!(refusal(&refused), (429, "too_many_requests"));
    assert!(refused.headers.contains_key("retry-after"));
    drop(running);
    assert_eq!(counts(&import(&here, PATH, KEY, "").await), (0, 0));
}

#[tokio::test]
async fn import_is_also_a_sku() {
    let here = Warehouse::open().await;
    let put = async |name: &str| {
        let unit_price = json!({"amount_minor": 1, "currency": "GBP"});
        let body = json!({"name": name, "unit_price": unit_price, "on_hand": 1});
        here.send(Method::PUT, PATH, None, &body).await
    };
    assert_eq!(put("Import").await.status.as_u16(), 201);
    assert_eq!(here.get("/stock/import").await.body["on_hand"], 1);
    assert_eq!(refusal(&put(&"x".repeat(65 << 10)).await), (413, "payload_too_large"));
    let got = here.get(PATH).await;
    assert_eq!(refusal(&got), (405, "method_not_allowed"));
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
