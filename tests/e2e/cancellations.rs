//! A cancellation finds its order wherever it is: before anybody has heard of it, on its way, at the
//! gateway. What comes too late reserves nothing and takes no money, or gives it back.

use messaging::transport::rabbitmq::RabbitMq;
use messaging::transport::{Subscription, Transport as _};
use testkit::eventually;
use uuid::Uuid;

use crate::world::{BY_CUSTOMER, Ending, SOON, TIMED_OUT, World, topology};

const LAMPS: i64 = 100;
const PRICE: i64 = 1_250;
/// The replica of order that is in a hurry.
const HASTY: usize = 1;

#[tokio::test]
async fn a_cancelled_order_holds_nothing_wherever_its_cancellation_found_it() {
    let world = World::start().await;
    world.run("order", &[("ORDER_DEADLINE", "1s")]);
    world.ready().await;
    world.stock("LAMP", PRICE, LAMPS).await;

    // Nothing has come to inventory yet that could stand before what is placed now.
    let unreserved = cancel_without_inventory(&world).await;
    world.gate.close();
    let charging = world.place(0, "LAMP", 1, "pm_ok").await;
    world.charged(charging).await;
    let overdue = charged_past_its_deadline(&world).await;
    assert!(world.cancel(charging).await);
    for order in [charging, overdue] {
        let payment = world.get("payment", &format!("/payments/{order}")).await;
        assert_eq!(payment["status"], "pending", "nobody may guess how the call ends");
    }
    world.gate.open();
    world.verified().await;

    let mut expected = vec![
        (charging, Ending::refunded(BY_CUSTOMER, PRICE)),
        (overdue, Ending::refunded(TIMED_OUT, PRICE)),
    ];
    expected.extend(unreserved);
    for (order, ending) in expected {
        assert_eq!(world.ending(order).await, ending);
    }
    assert_eq!(world.pieces("LAMP").await, (LAMPS, 0));
}

/// An order that times out while the gateway has its money and says nothing. On a slow machine some
/// time out before they get there.
async fn charged_past_its_deadline(world: &World) -> Uuid {
    eventually(SOON * 2, || async {
        let order = world.place(HASTY, "LAMP", 1, "pm_ok").await;
        let ended = world.ended(order).await;
        let order_is_late = ended["cancel_reason"] == "timed_out";
        let charges = world.gateway.charges_of(&order.to_string()).len();
        if order_is_late && charges == 1 { Ok(order) } else { Err(ended.to_string()) }
    })
    .await
}

/// Orders that are cancelled before inventory hears of them, and what they must come to.
async fn cancel_without_inventory(world: &World) -> Vec<(Uuid, Ending)> {
    world.kill("inventory");
    let hung = Hung::start(world).await;
    let overtaken = world.place(0, "LAMP", 1, "pm_ok").await;
    let hung = hung.with_order(overtaken).await;
    let unreserved = world.place(0, "LAMP", 1, "pm_ok").await;
    let overdue = world.place(HASTY, "LAMP", 1, "pm_ok").await;
    assert!(world.cancel(overtaken).await && world.cancel(unreserved).await);
    assert_eq!(world.ended(overdue).await["cancel_reason"], "timed_out");

    // Payment knows it before it is told of any goods that were set aside.
    for order in [overtaken, unreserved, overdue] {
        becomes(world, "payment", &format!("/payments/{order}"), "void").await;
    }
    world.restart("inventory");
    world.ready().await;
    becomes(world, "inventory", &format!("/reservations/{overtaken}"), "cancelled").await;
    hung.die().await;
    vec![
        (overtaken, Ending::never_charged(BY_CUSTOMER, "cancelled")),
        (unreserved, Ending::never_charged(BY_CUSTOMER, "released")),
        (overdue, Ending::never_charged(TIMED_OUT, "released")),
    ]
}

async fn becomes(world: &World, service: &str, path: &str, status: &str) {
    eventually(SOON, || async {
        let found = world.get(service, path).await;
        if found["status"] == status { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
}

/// A replica of inventory that takes one message and hangs: for the others it comes after all that
/// was published behind it.
struct Hung(Box<dyn Subscription>);

impl Hung {
    async fn start(world: &World) -> Self {
        let broker = RabbitMq::new(world.vhost.amqp_url(), "hung", "shop");
        Self(broker.subscribe(&topology("inventory"), 1).await.unwrap())
    }

    /// Waits until it has the message that the order was placed.
    async fn with_order(mut self, order: Uuid) -> Self {
        let deliveries = tokio::time::timeout(SOON, self.0.next(1)).await.unwrap().unwrap();
        let body = String::from_utf8_lossy(&deliveries[0].body);
        assert!(body.contains("shop.order.placed.v1") && body.contains(&order.to_string()));
        self
    }

    /// The broker gives its message to somebody else.
    async fn die(self) {
        self.0.close().await;
    }
}
