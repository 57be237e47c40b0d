//! `POST /products/import`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use common::csv::{ALL, KEY, PATH, count, counts, import, refusal, request};
use common::{Warehouse, versions};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

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
