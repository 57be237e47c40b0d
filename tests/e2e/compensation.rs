//! Orders that cannot be: stock, money and mail end where they began.

use crate::world::World;

struct Ending {
    cancelled: &'static str,
    available: i64,
    charged: i64,
    charges: usize,
}

async fn ends(sku_on_hand: i64, quantity: u32, pay: &str, expected: Ending) {
    let world = World::start().await;
    world.stock("LAMP", 1_000, sku_on_hand).await;
    let order = world.place(0, "LAMP", quantity, pay).await;
    let ended = world.ended(order).await;
    assert_eq!(ended["status"], "cancelled", "{ended}");
    assert_eq!(ended["cancel_reason"], expected.cancelled);
    world.quiet().await;
    let stock = world.get("inventory", "/stock/LAMP").await;
    assert_eq!(stock["available"], expected.available, "{stock}");
    assert_eq!(stock["reserved"], 0);
    assert_eq!(world.gateway.net_captured(&order.to_string()), expected.charged);
    assert_eq!(world.gateway.charges_of(&order.to_string()).len(), expected.charges);
    let mails = world.mailbox.all();
    assert_eq!(mails.len(), 1, "one mail, and it says that the order is cancelled");
    assert!(mails[0].subject.to_lowercase().contains("cancelled"), "{}", mails[0].subject);
    assert_eq!(world.lost_or_doubled().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_order_for_more_than_there_is_takes_nothing_and_charges_nothing() {
    let expected = Ending { cancelled: "out_of_stock", available: 3, charged: 0, charges: 0 };
    ends(3, 4, "pm_ok", expected).await;
}

#[tokio::test]
async fn a_declined_payment_gives_the_stock_back() {
    let expected = Ending { cancelled: "payment_declined", available: 5, charged: 0, charges: 1 };
    ends(5, 2, "pm_declined", expected).await;
}

#[tokio::test]
async fn a_charge_whose_answer_is_lost_is_looked_up_and_never_doubled() {
    let world = World::start().await;
    world.stock("LAMP", 1_000, 5).await;
    let order = world.place(0, "LAMP", 1, "pm_timeout").await;
    assert_eq!(world.ended(order).await["status"], "confirmed");
    world.quiet().await;
    assert_eq!(world.gateway.charges_of(&order.to_string()).len(), 1);
    assert_eq!(world.gateway.net_captured(&order.to_string()), 1_000);
}

#[tokio::test]
async fn a_gateway_that_fails_twice_is_asked_again() {
    let world = World::start().await;
    world.stock("LAMP", 1_000, 5).await;
    let order = world.place(0, "LAMP", 1, "pm_flaky").await;
    assert_eq!(world.ended(order).await["status"], "confirmed");
    assert_eq!(world.gateway.charges_of(&order.to_string()).len(), 1);
}
