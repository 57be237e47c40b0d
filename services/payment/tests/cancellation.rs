//! Cancelling at any moment, and several processes at once.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{SOON, World};
use messaging::step::Step as _;
use serde_json::Value;
use testkit::eventually;
use uuid::Uuid;

const CAPTURED: &str = "shop.payment.captured.v1";
const REFUNDED: &str = "shop.payment.refunded.v1";

#[tokio::test]
async fn a_cancellation_that_overtakes_the_reservation_prevents_the_charge() {
    let mut world = World::new().await;
    let order_id = Uuid::from_u128(7);
    world.cancelled(order_id).await;
    world.reserved_for(order_id, "pm_ok").await;
    world.service.settle_all().await;
    let payment = world.payment(order_id).await;
    assert_eq!((&payment["status"], &payment["attempts"]), (&"void".into(), &0.into()));
    assert_eq!(world.ledger(order_id), (0, 0));
    assert!(world.told(order_id).await.is_empty());
}

#[tokio::test]
async fn a_cancellation_before_the_first_call_prevents_the_charge() {
    let mut world = World::new().await;
    let order_id = world.reserved("pm_ok").await;
    world.cancelled(order_id).await;
    world.service.settle_all().await;
    assert_eq!(world.status(order_id).await, "void");
    assert_eq!(world.ledger(order_id), (0, 0));
    assert!(world.told(order_id).await.is_empty());
}

#[tokio::test]
async fn a_cancellation_while_the_charge_is_under_way_gives_the_money_back() {
    // The call ends by the client's own time-out.
    let world = World::with_replies_lost_after(Duration::from_secs(60)).await;
    let (stop, running) = world.service.run();
    let order_id = world.reserved("pm_timeout").await;
    eventually(SOON, || async { world.ledger(order_id).0 == 1 }).await;
    world.cancelled(order_id).await;
    let payment = world.payment(order_id).await;
    assert_eq!(payment["status"], "pending", "the call is under way: nobody may guess");

    world.becomes(order_id, "refunded").await;
    assert_eq!(world.ledger(order_id), (1, 0));
    assert_eq!(world.told_types(order_id).await, [CAPTURED, REFUNDED]);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_cancellation_after_the_charge_gives_the_money_back_once() {
    let mut world = World::new().await;
    let order_id = world.reserved("pm_ok").await;
    world.service.settle_all().await;
    world.cancelled(order_id).await;
    world.service.settle_all().await;
    world.cancelled(order_id).await;
    world.service.settle_all().await;

    let payment = world.payment(order_id).await;
    assert_eq!(payment["status"], "refunded");
    assert_eq!(world.ledger(order_id), (1, 0));
    let told = world.told(order_id).await;
    assert_eq!(told.iter().map(|told| told.version).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(told[1].event_type, REFUNDED);
    assert_eq!(told[1].data["refund_id"], payment["refund_id"]);
    assert_eq!(told[1].data["amount"]["amount_minor"], 1_999);
    // The refund answers the cancellation, the charge the reservation.
    assert_ne!(told[0].envelope["causationid"], told[1].envelope["causationid"]);
    assert_eq!(told[1].envelope["causationid"], payment["causation_id"]);
}

#[tokio::test]
async fn a_declined_payment_of_a_cancelled_order_needs_nothing_more() {
    let mut world = World::new().await;
    let order_id = world.reserved("pm_declined").await;
    world.service.settle_all().await;
    world.cancelled(order_id).await;
    world.service.settle_all().await;
    let payment = world.payment(order_id).await;
    assert_eq!((&payment["status"], &payment["attempts"]), (&"declined".into(), &1.into()));
}

#[tokio::test]
async fn a_cancellation_between_two_attempts_ends_with_no_money_taken() {
    let mut world = World::new().await;
    let order_id = world.reserved("pm_flaky").await;
    while world.payment(order_id).await["failures"] == 0 {
        world.service.settlement.step().await;
    }
    assert_eq!(world.payment(order_id).await["in_doubt"], true);
    world.cancelled(order_id).await;
    world.service.settle_all().await;
    assert_eq!(world.status(order_id).await, "refunded");
    assert_eq!(world.ledger(order_id), (1, 0));
}

#[tokio::test]
async fn a_cancellation_while_the_gateway_is_away_is_void_for_nothing_was_sent() {
    let mut world = World::new().await;
    world.shut_gateway().await;
    let order_id = world.reserved("pm_ok").await;
    world.service.settle_due().await;
    let payment = world.payment(order_id).await;
    assert_eq!((&payment["status"], &payment["in_doubt"]), (&"pending".into(), &false.into()));
    world.cancelled(order_id).await;
    assert_eq!(world.status(order_id).await, "void");
    world.open_gateway().await;
    world.service.settle_all().await;
    assert_eq!(world.ledger(order_id), (0, 0));
}

#[tokio::test]
async fn an_attempt_of_a_cancelled_order_that_reaches_nobody_ends_void() {
    let mut world = World::new().await;
    world.shut_gateway().await;
    let order_id = world.reserved("pm_ok").await;
    let leased = world.service.app.leases.take(1).await.unwrap().leased.remove(0);
    world.cancelled(order_id).await;
    assert_eq!(world.status(order_id).await, "pending");

    use payment::application::settle_payments::{Settled, ask, record};
    let mut gateway = world.service.app.gateway.talk(leased.cause.clone());
    let answer = ask(&mut gateway, &leased.attempt).await;
    let mut tx = messaging::Tx::begin(&world.service.app.pool, leased.cause).await.unwrap();
    let now = tx.now();
    let settled = [Settled { attempt: &leased.attempt, answer: &answer, unit: 0.5 }];
    record(&mut payment::store(&mut tx), &settled, now).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.status(order_id).await, "void");
    world.open_gateway().await;
    world.service.settle_all().await;
    assert_eq!(world.ledger(order_id), (0, 0));
}

#[tokio::test]
async fn two_processes_at_once_charge_every_order_once() {
    let world = World::new().await;
    let other = world.replica();
    let (ours, theirs) = (world.service.live().await, other.live().await);
    let mut orders = Vec::new();
    for n in 0..60 {
        orders.push(world.reserved(["pm_ok", "pm_timeout", "pm_flaky"][n % 3]).await);
    }
    let (stop, running) = world.service.run();
    let (stop_other, running_other) = other.run();
    for order_id in &orders {
        other.app.wanted.notify();
        world.becomes(*order_id, "captured").await;
        assert_eq!(world.ledger(*order_id), (1, 1_999));
        assert_eq!(world.told_types(*order_id).await, [CAPTURED]);
    }
    stop.cancel();
    stop_other.cancel();
    running.await.unwrap();
    running_other.await.unwrap();
    ours.abort();
    theirs.abort();
}

#[tokio::test]
async fn the_payment_of_a_killed_process_is_taken_over_at_once_and_looked_up() {
    let world = World::new().await;
    let (mut other, presence) = (world.replica(), world.service.live().await);
    let order_id = world.reserved("pm_ok").await;
    let leased = other.app.leases.take(1).await.unwrap().leased;
    assert_eq!(leased.len(), 1);
    let alive = other.live().await;
    assert!(world.service.app.leases.take(1).await.unwrap().leased.is_empty());
    let lease_until = world.payment(order_id).await["lease_until"].clone();

    // It charges, and is killed before it can store what came of it.
    let mut gateway = other.app.gateway.talk(leased[0].cause.clone());
    payment::application::settle_payments::ask(&mut gateway, &leased[0].attempt).await.unwrap();
    drop(gateway);
    other.settlement = payment::presentation::settlement::Settlement::new(other.app.clone());
    other.kill(alive).await;
    let (stop, running) = world.service.run();
    eventually(SOON, || async {
        world.service.app.wanted.notify();
        world.status(order_id).await == "captured"
    })
    .await;
    assert!(world.changed_within(order_id, &lease_until).await, "it waited for the lease to end");
    let payment = world.payment(order_id).await;
    assert_eq!((&payment["attempts"], &payment["lease_owner"]), (&2.into(), &Value::Null));
    assert_eq!(world.ledger(order_id), (1, 1_999));
    stop.cancel();
    running.await.unwrap();
    presence.abort();
}
