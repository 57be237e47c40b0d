//! The rows of the table of bad input that depend on what was before: keys that were used, orders that
//! have ended, a database that is away.
#![allow(clippy::unwrap_used)]

mod common;

use axum::Router;
use axum::body::Body;
use common::{SOON, Shop, basket, router};
use http::{Method, Request, StatusCode};
use messaging::Tx;
use messaging::answers::{Answer, RequestKey};
use order::application::settle_orders::Verdict;
use order::domain::order::CancelReason;
use testkit::bad_input::{Bad, MARK, get, made, refused};
use testkit::eventually;
use uuid::Uuid;

const KEY: &str = "0123456789abcdef";

async fn shop() -> (Shop, Router) {
    let shop = Shop::open().await;
    shop.sells("A", 250, "GBP").await;
    let router = router(shop.app.clone());
    (shop, router)
}

fn post(key: &str, body: impl Into<Body>) -> Request<Body> {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    made(Method::POST, "/orders", &headers, body)
}

fn body() -> String {
    basket(&[("A", 1)]).to_string()
}

/// The first request under `key`, as far as it got.
async fn begun(shop: &Shop, key: &str) -> Tx {
    let mut tx = shop.tx().await;
    let key = RequestKey::new("POST /orders", key, body().as_bytes());
    assert!(matches!(tx.remembered(&key).await, Ok(messaging::answers::Remembered::Nothing)));
    let answer = Answer { status: 202, location: None, body: MARK.into() };
    tx.remember(&key, &answer).await.unwrap();
    tx
}

#[tokio::test]
async fn a_key_that_was_used() {
    let (shop, router) = shop().await;
    let first = shop.ask(post(KEY, body())).await;
    let again = shop.ask(post(KEY, body())).await;
    let row = "Same key, same payload, done";
    assert_eq!((again.status, &again.bytes), (first.status, &first.bytes), "{row}");
    assert_eq!(again.headers["idempotency-replayed"], "true", "{row}");

    let row = "Same key, other payload";
    let bodies = [format!("{} ", body()), basket(&[("A", 2)]).to_string()];
    // Whatever is wrong with the other: no JSON, no order, no such product.
    let bad = ["", MARK, "{}", &body().replace("pm_ok", ""), &basket(&[(MARK, 1)]).to_string()];
    for other in bodies.into_iter().chain(bad.map(str::to_owned)) {
        let what = other.clone();
        let bad = Bad::new(row, post(KEY, other), 422, "idempotency_key_reused").named(&what);
        refused(&router, vec![bad]).await;
    }

    let row = "Same key, first still running";
    let running = begun(&shop, "running-01234567").await;
    let bad = Bad::new(row, post("running-01234567", body()), 409, "request_in_progress");
    // What the first one asks for is not known before its end; a bad body can be told of meanwhile.
    let invalid = Bad::new(row, post("running-01234567", MARK), 400, "malformed_json");
    refused(&router, vec![bad.header("retry-after", "1"), invalid]).await;

    let row = "First attempt died before commit";
    drop(running);
    // The database hears of its end a moment later.
    let executed = eventually(SOON, || async {
        let answer = shop.ask(post("running-01234567", body())).await;
        if answer.status == StatusCode::CONFLICT { Err(answer.body) } else { Ok(answer) }
    })
    .await;
    assert_eq!(executed.status.as_u16(), 202, "{row}: {}", executed.body);
    assert!(!executed.headers.contains_key("idempotency-replayed"), "{row}");
    assert_eq!(shop.count("orders").await, 2, "{row}");

    let row = "Key older than retention (>= 24 h, published)";
    let age = "update messaging.answer set answered_at = answered_at - interval '25 hours'";
    sqlx::query(age).execute(shop.pool.pg()).await.unwrap();
    let new = shop.ask(post(KEY, body())).await;
    assert_eq!(new.status.as_u16(), 202, "{row}");
    assert_ne!(new.body["order_id"], first.body["order_id"], "{row}");
    sqlx::query(age).execute(shop.pool.pg()).await.unwrap();
    refused(&router, vec![Bad::new(row, post(KEY, MARK), 400, "malformed_json")]).await;
    assert_eq!(shop.count("orders").await, 3, "{row}");
}

#[tokio::test]
async fn an_order_that_has_ended() {
    let (shop, router) = shop().await;
    let row = "Cancel an already terminal order";
    for verdict in [
        Verdict::Paid,
        Verdict::Impossible(CancelReason::OutOfStock),
        Verdict::Impossible(CancelReason::PaymentDeclined),
    ] {
        let id = shop.place().await;
        shop.settle(id, verdict).await;
        let cancel = made(Method::POST, &format!("/orders/{id}/cancel"), &[], "");
        refused(&router, vec![Bad::new(row, cancel, 409, "invalid_state")]).await;
    }
    let id = shop.place().await;
    let (first, again) = (shop.cancel(id).await, shop.cancel(id).await);
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (202, 202), "{row}");
    assert_eq!(first.body["cancel_reason"], "customer_request", "{row}");
    assert_eq!(again.body["history"], first.body["history"], "{row}");
}

#[tokio::test]
async fn a_database_that_is_away() {
    let (shop, router) = shop().await;
    let row = "DB down, pool timeout, outbox over cap, shutting down";
    shop.pool.close().await;
    let id = Uuid::nil();
    let mut all =
        vec![post(KEY, body()), made(Method::POST, &format!("/orders/{id}/cancel"), &[], "")];
    for path in ["/orders", "/orders/events", "/products", "/products/A"] {
        all.push(get(path));
    }
    for path in [format!("/orders/{id}"), format!("/orders/{id}/events")] {
        all.push(get(&path));
    }
    let away = |request| Bad::new(row, request, 503, "unavailable").header("retry-after", "5");
    refused(&router, all.into_iter().map(away).collect()).await;
    // A body that is bad in itself needs no database to be told so.
    refused(&router, vec![Bad::new(row, post(KEY, MARK), 400, "malformed_json")]).await;
}

#[tokio::test]
async fn a_trace_that_is_none() {
    let (shop, _) = shop().await;
    let row = "Client `traceparent` invalid / oversized baggage";
    let theirs = "5e1f7651916cd43dd8448eb211c80301";
    let baggage = format!("a={}", "x".repeat(9_000));
    let good = format!("00-{theirs}-b7ad6b7169203331-01");
    let (short, zero) =
        (format!("00-{theirs}-b7ad-01"), format!("00-{theirs}-0000000000000000-01"));
    for (n, (parent, baggage, continued)) in [
        (MARK, "", false),
        ("", "", false),
        (&short, "", false),
        (&zero, "", false),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", "", false),
        (&good, &baggage, true),
    ]
    .into_iter()
    .enumerate()
    {
        let mut request = post(&format!("{KEY}-{n}"), body());
        request.headers_mut().insert("traceparent", parent.parse().unwrap());
        request.headers_mut().insert("baggage", baggage.parse().unwrap());
        let answer = shop.ask(request).await;
        assert_eq!(answer.status.as_u16(), 202, "{row}: {parent}: {}", answer.body);
        let trace_id = answer.body["trace_id"].as_str().unwrap();
        assert_eq!(trace_id.len(), 32, "{row}: {parent}");
        assert_eq!(trace_id == theirs, continued, "{row}: {parent}");
    }
}
