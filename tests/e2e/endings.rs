//! Every way in which an order ends by itself: stock, money and mail agree about it.

use futures_util::future::join_all;
use testkit::eventually;
use uuid::Uuid;

use crate::world::{BY_CUSTOMER, Ending, SOON, World};

const LAMPS: i64 = 100;
const PRICE: i64 = 1_250;
const RACES: usize = 30;

struct Case {
    sku: &'static str,
    quantity: u32,
    pay: &'static str,
    ends: Ending,
    /// How often payment calls the gateway.
    calls: i64,
}

impl Case {
    fn lamps(pay: &'static str, ends: Ending, calls: i64) -> Self {
        Self { sku: "LAMP", quantity: 2, pay, ends, calls }
    }
}

fn cases() -> Vec<Case> {
    let total = 2 * PRICE;
    vec![
        Case::lamps("pm_ok", Ending::confirmed(total), 1),
        Case::lamps("pm_declined", Ending::declined("card_declined", total), 1),
        Case::lamps("pm_insufficient_funds", Ending::declined("insufficient_funds", total), 1),
        Case::lamps("pm_nonsense", Ending::declined("unknown_payment_method", total), 1),
        // The money was taken and nobody heard of it: it is looked up, not taken again.
        Case::lamps("pm_timeout", Ending::confirmed(total), 2),
        Case::lamps("pm_flaky", Ending::confirmed(total), 3),
        Case { sku: "RARE", quantity: 4, pay: "pm_ok", ends: Ending::out_of_stock(), calls: 0 },
    ]
}

#[tokio::test]
async fn every_ending_leaves_stock_money_and_mail_in_agreement() {
    let world = World::start().await;
    world.stock("LAMP", PRICE, LAMPS).await;
    world.stock("RARE", PRICE, 3).await;
    world.stock("PRIZE", PRICE, LAMPS).await;
    let cases = cases();
    let buying = join_all(cases.iter().map(async |case| {
        let order = world.place(0, case.sku, case.quantity, case.pay).await;
        world.ended(order).await;
        order
    }));
    let racing = join_all((0..RACES).map(|n| cancel_while_it_is_confirmed(&world, n)));
    let (bought, raced) = tokio::join!(buying, racing);
    world.verified().await;

    let mut sent = 0;
    for (case, order) in cases.iter().zip(bought) {
        let Case { sku, pay, ends, calls, .. } = case;
        assert_eq!(world.ending(order).await, *ends, "{sku} by {pay}");
        let payment = world.get("payment", &format!("/payments/{order}")).await;
        assert_eq!(payment["attempts"], *calls, "{sku} by {pay}: {payment}");
        sent += if ends.order == "confirmed" { i64::from(case.quantity) } else { 0 };
    }
    assert_eq!(world.pieces("LAMP").await, (LAMPS - sent, 0));
    assert_eq!(world.pieces("RARE").await, (3, 0));

    let mut won = 0;
    for (order, cancelled) in raced {
        let refunded = Ending::refunded(BY_CUSTOMER, PRICE);
        let expected = if cancelled { refunded } else { Ending::confirmed(PRICE) };
        assert_eq!(world.ending(order).await, expected);
        won += i64::from(!cancelled);
    }
    assert_eq!(world.pieces("PRIZE").await, (LAMPS - won, 0));
}

/// The money is taken, and the news of it on its way, when the customer cancels: it is just taken,
/// on its way from payment, or known to order, by turns. True when the customer was faster.
async fn cancel_while_it_is_confirmed(world: &World, n: usize) -> (Uuid, bool) {
    let order = world.place(0, "PRIZE", 1, "pm_ok").await;
    match n % 3 {
        0 => world.charged(order).await,
        1 => told_by_payment(world, order).await,
        _ => drop(world.ended(order).await),
    }
    let cancelled = world.cancel(order).await;
    assert!(!cancelled || n % 3 < 2, "it was confirmed before");
    world.ended(order).await;
    (order, cancelled)
}

async fn told_by_payment(world: &World, order: Uuid) {
    let sql = "select true from messaging.outbox where subject = $1 and published_at is not null";
    let (subject, payments) = (format!("payment/{order}"), world.pg("payment"));
    eventually(SOON, || async {
        let told = sqlx::query_scalar::<_, bool>(sql).bind(&subject);
        told.fetch_optional(&payments).await.unwrap()
    })
    .await;
}
