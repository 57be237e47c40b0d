//! Placing orders over HTTP.
#![allow(clippy::unwrap_used)]

mod common;

use chrono::TimeDelta;
use common::clock::Still;
use common::{Shop, basket};
use http::StatusCode;
use serde_json::{Value, json};

const KEY: &str = "0123456789abcdef";
const OTHER_KEY: &str = "fedcba9876543210";

#[tokio::test]
async fn an_order_is_priced_by_the_server_stored_and_told_in_one_commit() {
    let shop = Shop::open().await;
    shop.sells("A", 250, "GBP").await;
    shop.sells("B", 99, "GBP").await;

    let answer = shop.post_order(KEY, &basket(&[("B", 1), ("A", 3)])).await;

    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let id = answer.body["order_id"].as_str().unwrap();
    assert_eq!(answer.headers["location"], format!("/orders/{id}"));
    assert_eq!(answer.body["status"], "pending");
    assert_eq!(answer.body["total"], json!({"amount_minor": 849, "currency": "GBP"}));
    assert_eq!(answer.body["lines"][0]["sku"], "B", "lines keep the client's order");
    assert_eq!(shop.get(&format!("/orders/{id}")).await.body, answer.body);

    let told = shop.told().await;
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].0.as_str(), told[0].1), ("shop.order.placed.v1", 1));
    assert_eq!(told[0].2["order_id"], id);
    assert_eq!(told[0].2["total"]["amount_minor"], 849);
}

#[tokio::test]
async fn what_cannot_be_sold_is_refused_with_a_pointer_and_leaves_nothing() {
    let shop = Shop::open().await;
    shop.sells("A", 250, "GBP").await;
    shop.sells("E", 250, "EUR").await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = basket(&[("A", 1)]);
        change(&mut body);
        body
    };
    let cases: Vec<(Value, u16, &str, &str)> = vec![
        (basket(&[("A", 1), ("X", 1)]), 422, "/lines/1/sku", "unknown_sku"),
        (basket(&[("A", 1), ("E", 1)]), 422, "/lines/1/sku", "currency"),
        (basket(&[("A", 1), ("A", 2)]), 422, "/lines/1/sku", "duplicate"),
        (basket(&[]), 422, "/lines", "length"),
        (basket(&[("A", 0)]), 422, "/lines/0/quantity", "range"),
        (basket(&[("A", 1001)]), 422, "/lines/0/quantity", "range"),
        (basket(&[("not a sku", 1)]), 422, "/lines/0/sku", "format"),
        (with(&|b| b["customer_email"] = json!("nobody")), 422, "/customer_email", "format"),
        (
            with(&|b| b["customer_email"] = json!("a@b.c\r\nBcc: d@e.f")),
            422,
            "/customer_email",
            "control_character",
        ),
        (
            with(&|b| b["payment_method"] = json!("pm\u{0}")),
            422,
            "/payment_method",
            "control_character",
        ),
        (with(&|b| b["lines"][0]["quantity"] = json!(1.0)), 422, "/lines/0/quantity", "type"),
        (with(&|b| b["customer_id"] = json!("x")), 422, "/customer_id", "format"),
        (
            with(&|b| b["expected_total"] = json!({"amount_minor": 1, "currency": "XXX"})),
            422,
            "/expected_total/currency",
            "currency",
        ),
        (with(&|b| b["surprise"] = json!(1)), 422, "", "unknown_field"),
    ];
    for (n, (body, status, pointer, code)) in cases.into_iter().enumerate() {
        let answer = shop.post_order(&format!("{KEY}-{n}"), &body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        let errors = answer.body["errors"].as_array().unwrap();
        let found = errors.iter().any(|e| e["pointer"] == pointer && e["code"] == code);
        assert!(found, "{body}: {errors:?}");
    }
    assert_eq!(shop.count("orders").await, 0);
    assert_eq!(shop.count("messaging.outbox").await, 0);
}

#[tokio::test]
async fn a_total_that_the_customer_did_not_agree_to_is_a_conflict() {
    let shop = Shop::open().await;
    shop.sells("A", 250, "GBP").await;
    let mut body = basket(&[("A", 2)]);
    body["expected_total"] = json!({"amount_minor": 499, "currency": "GBP"});
    let answer = shop.post_order(KEY, &body).await;
    assert_eq!((answer.status.as_u16(), &answer.body["code"]), (409, &json!("price_changed")));
    body["expected_total"]["amount_minor"] = json!(500);
    assert_eq!(shop.post_order(&format!("{KEY}2"), &body).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn the_same_key_gives_the_same_bytes_and_one_order() {
    let shop = Shop::open().await;
    shop.sells("A", 250, "GBP").await;
    let first = shop.post_order(KEY, &basket(&[("A", 1)])).await;
    let again = shop.post_order(&format!("\"{KEY}\""), &basket(&[("A", 1)])).await;

    assert_eq!(again.status, first.status);
    assert_eq!(again.bytes, first.bytes);
    assert_eq!(again.headers["location"], first.headers["location"]);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert!(!first.headers.contains_key("idempotency-replayed"));
    assert_eq!(shop.count("orders").await, 1);

    let other = shop.post_order(KEY, &basket(&[("A", 2)])).await;
    assert_eq!(
        (other.status.as_u16(), &other.body["code"]),
        (422, &json!("idempotency_key_reused"))
    );
}

#[tokio::test]
async fn a_refusal_is_replayed_too() {
    let shop = Shop::open().await;
    let first = shop.post_order(KEY, &basket(&[("X", 1)])).await;
    shop.sells("X", 1, "GBP").await;
    let again = shop.post_order(KEY, &basket(&[("X", 1)])).await;
    assert_eq!(again.status.as_u16(), 422);
    assert_eq!(again.bytes, first.bytes);
    assert_eq!(again.headers["content-type"], "application/problem+json");
}

#[tokio::test]
async fn concurrent_twins_make_one_order() {
    let shop = Shop::open().await;
    shop.sells("A", 250, "GBP").await;
    let body = basket(&[("A", 1)]);
    let twins = futures_util::future::join_all((0..20).map(|_| shop.post_order(KEY, &body))).await;
    for twin in &twins {
        match twin.status.as_u16() {
            202 => {}
            409 => {
                assert_eq!(twin.body["code"], "request_in_progress");
                assert!(twin.headers.contains_key("retry-after"));
            }
            other => panic!("{other}: {}", twin.body),
        }
    }
    assert!(twins.iter().any(|t| t.status == StatusCode::ACCEPTED));
    assert_eq!(shop.count("orders").await, 1);
    assert_eq!(shop.count("messaging.outbox").await, 1);
}

#[tokio::test]
async fn unknown_and_malformed_ids_are_told_apart() {
    let shop = Shop::open().await;
    let unknown = shop.get("/orders/0192f3a0-0000-7000-8000-00000000dead").await;
    assert_eq!((unknown.status.as_u16(), &unknown.body["code"]), (404, &json!("not_found")));
    let malformed = shop.get("/orders/seven").await;
    assert_eq!((malformed.status.as_u16(), &malformed.body["code"]), (400, &json!("invalid_id")));
}

#[tokio::test]
async fn a_database_that_is_away_is_503_with_retry_after() {
    let shop = Shop::open().await;
    shop.pool.close().await;
    let answer = shop.post_order(KEY, &basket(&[("A", 1)])).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn an_outbox_over_its_cap_is_503_with_retry_after_and_the_same_key_works_later() {
    let clock = Still::new();
    let shop = Shop::at(clock.clock()).await;
    shop.sells("MUG", 850, "GBP").await;
    shop.pool.set_outbox_cap(1);
    assert_eq!(shop.post_order(KEY, &basket(&[("MUG", 1)])).await.status, 202);
    let refused = shop.post_order(OTHER_KEY, &basket(&[("MUG", 1)])).await;
    assert_eq!(refused.status, 503, "outbox over cap");
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(refused.body["code"], "unavailable");
    assert_eq!(shop.count("orders").await, 1);
    assert_eq!(shop.get("/orders").await.status, 200, "reads go on");
    let replayed = shop.post_order(KEY, &basket(&[("MUG", 1)])).await;
    assert_eq!(replayed.headers["idempotency-replayed"], "true");

    let published = "update messaging.outbox set published_at = now()";
    sqlx::query(published).execute(shop.pool.pg()).await.unwrap();
    clock.pass(TimeDelta::seconds(2));
    let taken = shop.post_order(OTHER_KEY, &basket(&[("MUG", 1)])).await;
    assert_eq!(taken.status, 202);
    assert!(!taken.headers.contains_key("idempotency-replayed"));
}
