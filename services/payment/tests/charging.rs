//! Charging, by what the gateway answers or does not.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use chassis::health::Health;
use chassis::metrics;
use chassis::service::HttpService;
use common::{SOON, World};
use payment::presentation::http::api;
use serde_json::{Value, json};
use testkit::eventually;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[tokio::test]
async fn a_captured_payment_is_told_once_within_the_trace_of_its_order() {
    let mut world = World::new().await;
    let order_id = world.reserved("pm_ok").await;
    assert_eq!(world.told_types(order_id).await, [""; 0]);
    let wish = world.payment(order_id).await;
    world.service.settle_all().await;
    world.service.settle_all().await;

    let payment = world.payment(order_id).await;
    assert_eq!(payment["status"], "captured");
    assert_eq!(payment["attempts"], 1);
    assert_eq!(payment["next_attempt_at"], Value::Null);
    assert_eq!(payment["lease_owner"], Value::Null);
    assert_eq!(world.ledger(order_id), (1, 1_999));

    let told = world.told(order_id).await;
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].event_type.as_str(), told[0].version), ("shop.payment.captured.v1", 1));
    let amount = json!({ "amount_minor": 1_999, "currency": "GBP" });
    assert_eq!(told[0].data["amount"], amount);
    assert_eq!(told[0].data["charge_id"], payment["charge_id"]);
    assert_eq!(told[0].envelope["correlationid"], wish["correlation_id"]);
    assert_eq!(told[0].envelope["causationid"], wish["causation_id"]);
    let trace = |traceparent: &Value| traceparent.as_str().unwrap()[3..35].to_owned();
    assert_eq!(trace(&told[0].envelope["traceparent"]), trace(&wish["traceparent"]));
}

#[tokio::test]
async fn a_declined_payment_says_why_and_takes_no_money() {
    let mut world = World::new().await;
    let cases = [
        ("pm_declined", "card_declined"),
        ("pm_insufficient_funds", "insufficient_funds"),
        ("pm_nonsense", "unknown_payment_method"),
    ];
    for (payment_method, reason) in cases {
        let order_id = world.reserved(payment_method).await;
        world.service.settle_all().await;
        let payment = world.payment(order_id).await;
        assert_eq!(payment["status"], "declined");
        assert_eq!(payment["decline_reason"], reason);
        let told = world.told(order_id).await;
        assert_eq!(told[0].event_type, "shop.payment.declined.v1");
        assert_eq!(told[0].data, json!({ "order_id": order_id, "reason": reason }));
        assert_eq!(world.ledger(order_id), (1, 0));
    }
}

#[tokio::test]
async fn what_the_gateway_will_not_even_consider_is_declined() {
    let mut world = World::new().await;
    // The gateway refuses tokens of more than 64 characters with a 422.
    let order_id = world.reserved(&"x".repeat(65)).await;
    world.service.settle_all().await;
    assert_eq!(world.payment(order_id).await["decline_reason"], "gateway_rejected");
    assert_eq!(world.ledger(order_id), (0, 0));
}

#[tokio::test]
async fn a_lost_reply_is_looked_up_and_charges_once() {
    let mut world = World::new().await;
    let order_id = world.reserved("pm_timeout").await;
    world.service.settle_all().await;
    let payment = world.payment(order_id).await;
    assert_eq!(payment["status"], "captured");
    assert_eq!(payment["attempts"], 2);
    assert_eq!(world.ledger(order_id), (1, 1_999));
    assert_eq!(world.told_types(order_id).await, ["shop.payment.captured.v1"]);
}

#[tokio::test]
async fn a_gateway_that_fails_twice_is_asked_again_within_a_second() {
    let mut world = World::new().await;
    let order_id = world.reserved("pm_flaky").await;
    let pauses = world.service.settle_all().await;
    assert!(pauses < Duration::from_secs(1), "{pauses:?}");
    let payment = world.payment(order_id).await;
    assert_eq!(payment["status"], "captured");
    assert_eq!(payment["attempts"], 3);
    assert_eq!(world.ledger(order_id), (1, 1_999));
}

#[tokio::test]
async fn a_payment_that_the_gateway_keeps_waiting_holds_up_no_other() {
    let world = World::with_replies_lost_after(Duration::from_secs(60)).await;
    let (stop, running) = world.service.run();
    let (waiting, payment) = eventually(SOON * 3, || async {
        let waiting = world.reserved("pm_timeout").await;
        eventually(SOON, || async { world.ledger(waiting).0 == 1 }).await;
        let other = world.reserved("pm_ok").await;
        world.becomes(other, "captured").await;
        let payment = world.payment(waiting).await;
        // A machine that stalls for as long as the client's time-out has shown nothing: once more.
        let under_way = payment["failures"] == 0 && payment["attempts"] == 1;
        if under_way { Ok((waiting, payment)) } else { Err(payment) }
    })
    .await;
    assert_eq!(payment["status"], "pending");
    // It ends by the client's own time-out, and shutting down waits for it.
    stop.cancel();
    running.await.unwrap();
    let payment = world.payment(waiting).await;
    assert_eq!((&payment["in_doubt"], &payment["lease_owner"]), (&json!(true), &Value::Null));
    world.replica().settle_all().await;
    assert_eq!(world.status(waiting).await, "captured");
    assert_eq!(world.ledger(waiting), (1, 1_999));
}

#[tokio::test]
async fn a_gateway_that_is_away_is_not_hammered_and_all_is_settled_when_it_is_back() {
    let mut world = World::new().await;
    world.shut_gateway().await;
    let mut orders = Vec::new();
    for _ in 0..40 {
        orders.push(world.reserved("pm_ok").await);
    }
    let (stop, running) = world.service.run();
    let sum = async |column: &str| -> i64 {
        let sql = sqlx::AssertSqlSafe(format!("select sum({column}) from payments"));
        sqlx::query_scalar(sql).fetch_one(&world.database.pool()).await.unwrap()
    };
    eventually(SOON, || async { sum("failures").await >= 20 }).await;
    let attempts = sum("attempts").await;
    assert!(attempts < 40, "{attempts} attempts: most should not have been tried");

    world.open_gateway().await;
    for order_id in orders {
        world.becomes(order_id, "captured").await;
        assert_eq!(world.ledger(order_id), (1, 1_999));
    }
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_second_reservation_of_an_order_charges_nothing_more() {
    let mut world = World::new().await;
    let order_id = world.reserved("pm_ok").await;
    world.reserved_for(order_id, "pm_ok").await;
    world.service.settle_all().await;
    world.reserved_for(order_id, "pm_declined").await;
    world.service.settle_all().await;
    assert_eq!(world.ledger(order_id), (1, 1_999));
    assert_eq!(world.told_types(order_id).await, ["shop.payment.captured.v1"]);
}

#[tokio::test]
async fn a_client_sees_how_a_payment_stands() {
    let mut world = World::new().await;
    let metrics = metrics::install("shop").unwrap();
    let api = api().with_state(world.service.app.clone());
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let http = HttpService::bind(anywhere, api, &Health::new(), &metrics).await.unwrap();
    let (url, stop) = (format!("http://{}", http.local_addr()), CancellationToken::new());
    #[expect(clippy::disallowed_methods, reason = "the test is the supervisor")]
    let serving = tokio::spawn(http.run(stop.clone()));
    let get = async |path: String| {
        let response = reqwest::get(format!("{url}{path}")).await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };

    let order_id = world.reserved("pm_declined").await;
    let amount = json!({ "amount_minor": 1_999, "currency": "GBP" });
    let pending = json!({ "status": "pending", "amount": amount, "attempts": 0 });
    assert_eq!(get(format!("/payments/{order_id}")).await, (200, pending));
    world.service.settle_all().await;
    let declined = json!({ "status": "declined", "amount": amount, "attempts": 1,
        "decline_reason": "card_declined" });
    assert_eq!(get(format!("/payments/{order_id}")).await, (200, declined));

    let (status, problem) = get(format!("/payments/{}", Uuid::nil())).await;
    assert_eq!((status, &problem["code"]), (404, &json!("not_found")));
    let (status, problem) = get("/payments/7".into()).await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_id")));
    stop.cancel();
    serving.await.unwrap().unwrap();
}
