//! Cancelling orders over HTTP, whatever else happens to them.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use axum::body::Body;
use chrono::TimeDelta;
use common::clock::Still;
use common::{Answer, Shop, ask, process, router, versions};
use envelope::Clock;
use futures_util::future::join_all;
use http::Request;
use messaging::step::{Progress, Step as _};
use order::application::cancel_order::cancel_order;
use order::application::settle_orders::{Verdict, settle_orders};
use order::domain::order::CancelReason;
use order::presentation::deadlines::Deadlines;
use order::store;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

async fn shop() -> (Shop, Uuid) {
    let shop = Shop::open().await;
    shop.sells("A", 250, "GBP").await;
    let id = shop.place().await;
    (shop, id)
}

fn assert_invalid_state(answer: &Answer, why: &str) {
    let said = (answer.status.as_u16(), &answer.body["code"]);
    assert_eq!(said, (409, &json!("invalid_state")), "{why}: {}", answer.body);
}

#[tokio::test]
async fn a_cancelled_order_is_cancelled_at_once_and_told_in_its_own_chain() {
    let (shop, id) = shop().await;
    let answer = shop.cancel(id).await;
    assert_eq!(answer.status.as_u16(), 202);
    assert_eq!(answer.body["status"], "cancelled");
    assert_eq!(answer.body["cancel_reason"], "customer_request");
    assert_eq!(answer.body["version"], 2);
    assert_eq!(answer.body, shop.get(&format!("/orders/{id}")).await.body);

    assert_eq!(shop.types(id).await, versions(&["placed", "cancelled"]));
    let told = shop.events(id).await;
    assert_eq!(told[1]["data"]["reason"], "customer_request");
    assert_eq!(told[1]["data"]["order_id"], json!(id));
    assert_eq!(told[1]["correlationid"], json!(id));
    assert_eq!(told[1].get("causationid"), None);
}

#[tokio::test]
async fn the_cancellation_belongs_to_the_trace_of_its_request() {
    let (shop, id) = shop().await;
    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = Request::post(format!("/orders/{id}/cancel"))
        .header("traceparent", format!("00-{trace_id}-00f067aa0ba902b7-01"));
    let answer = shop.ask(request.body(Body::empty()).unwrap()).await;
    let told = shop.events(id).await;
    assert!(told[1]["traceparent"].as_str().unwrap().contains(trace_id), "{}", told[1]);
    assert_ne!(answer.body["trace_id"], trace_id, "the order keeps the trace it was placed in");
}

/// "Cancel an already terminal order: 409 `invalid_state`; repeating a successful cancel: the same
/// answer again".
#[tokio::test]
async fn a_repeated_cancellation_is_answered_the_same() {
    let (shop, id) = shop().await;
    let first = shop.cancel(id).await;
    for _ in 0..3 {
        let again = shop.cancel(id).await;
        assert_eq!((again.status, again.body), (first.status, first.body.clone()));
    }
    // What comes late changes nothing.
    shop.settle(id, Verdict::Paid).await;
    shop.settle(id, Verdict::Impossible(CancelReason::PaymentDeclined)).await;
    assert_eq!(shop.cancel(id).await.body, first.body);
    assert_eq!(shop.types(id).await, versions(&["placed", "cancelled"]));
}

/// The same row, for every other end that an order can have.
#[tokio::test]
async fn an_order_that_has_ended_otherwise_cannot_be_cancelled() {
    let time = Still::new();
    let shop = Shop::at(time.clock()).await;
    shop.sells("A", 250, "GBP").await;
    let late = shop.place().await;
    time.pass(TimeDelta::minutes(15));
    let progress = Deadlines::new(shop.app.clone()).step().await;
    assert_eq!(progress, Progress::Idle(Duration::from_secs(5)));
    let mut ended = vec![(late, "cancelled", Some("timed_out"))];
    let reported = [
        (Verdict::Paid, "confirmed", None),
        (Verdict::Impossible(CancelReason::OutOfStock), "cancelled", Some("out_of_stock")),
        (Verdict::Impossible(CancelReason::PaymentDeclined), "cancelled", Some("payment_declined")),
    ];
    for (verdict, status, reason) in reported {
        let id = shop.place().await;
        shop.settle(id, verdict).await;
        ended.push((id, status, reason));
    }
    for (id, status, reason) in ended {
        let answer = shop.cancel(id).await;
        assert_invalid_state(&answer, status);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        let order = shop.get(&format!("/orders/{id}")).await.body;
        assert_eq!((&order["status"], &order["version"]), (&json!(status), &json!(2)));
        assert_eq!(order.get("cancel_reason"), reason.map(|reason| json!(reason)).as_ref());
        assert_eq!(shop.types(id).await, versions(&["placed", status]));
    }
}

#[tokio::test]
async fn bad_requests_are_refused_and_change_nothing() {
    let (shop, id) = shop().await;
    let cases = [
        ("Id not a UUID", "/orders/seven/cancel".to_owned(), 400, "invalid_id"),
        ("Id not a UUID", format!("/orders/{id}%00/cancel"), 400, "invalid_id"),
        ("Id unknown", format!("/orders/{}/cancel", Uuid::max()), 404, "not_found"),
        ("unknown path", format!("/orders/{id}/uncancel"), 404, "not_found"),
    ];
    for (row, path, status, code) in cases {
        let answer = shop.post(&path).await;
        let said = (answer.status.as_u16(), &answer.body["code"]);
        assert_eq!(said, (status, &json!(code)), "{row}: {path}");
    }
    let path = format!("/orders/{id}/cancel");
    let answer = shop.get(&path).await;
    assert_eq!(answer.status.as_u16(), 405, "wrong method");
    assert_eq!(answer.headers["allow"], "POST");
    let request = Request::post(&path).header("accept", "text/html").body(Body::empty());
    assert_eq!(shop.ask(request.unwrap()).await.status.as_u16(), 406, "Accept cannot match");
    assert_eq!(shop.types(id).await, versions(&["placed"]));
    shop.pool.close().await;
    let answer = shop.cancel(id).await;
    assert_eq!(answer.status.as_u16(), 503, "DB down");
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_cancellation_behind_a_confirmation_sees_it() {
    let (shop, id) = shop().await;
    let mut confirming = shop.tx().await;
    let now = confirming.now();
    settle_orders(&mut store(&mut confirming), &[id], Verdict::Paid, now).await.unwrap();
    let commit = async {
        shop.wait_for_waiters(1).await;
        confirming.commit().await.unwrap();
    };
    let (answer, ()) = tokio::join!(shop.cancel(id), commit);
    assert_invalid_state(&answer, "confirmed first");
    assert_eq!(shop.types(id).await, versions(&["placed", "confirmed"]));
}

#[tokio::test]
async fn a_confirmation_behind_a_cancellation_changes_nothing() {
    let (shop, id) = shop().await;
    let mut cancelling = shop.tx().await;
    let now = cancelling.now();
    cancel_order(&mut store(&mut cancelling), id, now).await.unwrap();
    let commit = async {
        shop.wait_for_waiters(1).await;
        cancelling.commit().await.unwrap();
    };
    tokio::join!(shop.settle(id, Verdict::Paid), commit);
    assert_eq!(shop.get(&format!("/orders/{id}")).await.body["status"], "cancelled");
    assert_eq!(shop.types(id).await, versions(&["placed", "cancelled"]));
}

#[tokio::test]
async fn a_lost_race_is_no_error_where_the_database_calls_it_one() {
    let (shop, id) = shop().await;
    // Here a row that somebody else has changed is an error and not waited for and read again.
    let strict = format!(
        "alter database \"{}\" set default_transaction_isolation = 'repeatable read'",
        shop.database.name(),
    );
    sqlx::raw_sql(AssertSqlSafe(strict)).execute(shop.pool.pg()).await.unwrap();
    // Ours were opened before that.
    let pg = PgPool::connect(shop.database.url()).await.unwrap();
    let strict = router(process(pg.clone(), Clock::system()));

    let mut confirming = shop.tx().await;
    let now = confirming.now();
    settle_orders(&mut store(&mut confirming), &[id], Verdict::Paid, now).await.unwrap();
    let commit = async {
        shop.wait_for_waiters(1).await;
        confirming.commit().await.unwrap();
    };
    let request = Request::post(format!("/orders/{id}/cancel")).body(Body::empty()).unwrap();
    let (answer, ()) = tokio::join!(ask(&strict, request), commit);
    assert_invalid_state(&answer, "confirmed first");
    pg.close().await;
}

#[tokio::test]
async fn of_many_cancellations_and_confirmations_one_decides() {
    let (shop, id) = shop().await;
    let cancellations = join_all((0..8).map(|_| shop.cancel(id)));
    let confirmations = join_all((0..3).map(|_| shop.settle(id, Verdict::Paid)));
    let (answers, _) = tokio::join!(cancellations, confirmations);
    let order = shop.get(&format!("/orders/{id}")).await.body;
    let end = order["status"].as_str().unwrap();
    for answer in answers {
        match end {
            "cancelled" => assert_eq!((answer.status.as_u16(), answer.body), (202, order.clone())),
            _ => assert_invalid_state(&answer, end),
        }
    }
    assert_eq!(shop.types(id).await, versions(&["placed", end]));
}
