//! Order on a real broker, beside stand-ins for inventory and payment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;

use common::{SOON, Shop, versions};
use contracts::catalogue::EVENTS;
use contracts::inventory::{ProductListed, StockRejected, StockReserved};
use contracts::payment::{PaymentCaptured, PaymentDeclined, PaymentRefunded};
use contracts::{Currency, Money};
use envelope::signature::{KeyDocument, KeyRing, Signer};
use envelope::{Clock, Event, Identity};
use messaging::topology::Topology;
use messaging::transport::Transport as _;
use messaging::transport::rabbitmq::RabbitMq;
use messaging::{Cause, Handlers, Messaging, Pool, Tx};
use opentelemetry::Context;
use order::presentation::messages;
use serde_json::json;
use testkit::{Database, Vhost, eventually};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Order as it runs, and services that publish what inventory and payment would.
struct World {
    here: Shop,
    inventory: Pool,
    payment: Pool,
    running: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
    _vhost: Vhost,
    _databases: [Database; 2],
}

impl World {
    async fn start() -> Self {
        let (here, vhost) = (Shop::open().await, Vhost::new().await);
        let databases = [Database::new("messaging").await, Database::new("messaging").await];
        let mut keys = Vec::new();
        let mut service = |name: &str, seed: u8, database: &Database| {
            let identity = Identity::new("shop", "test", name);
            let signer = Signer::from_seed(format!("{name}-1"), [seed; 32]);
            keys.push(signer.public_for(&identity));
            Pool::new(database.pool(), identity, signer, Clock::system())
        };
        let inventory = service("inventory", 2, &databases[0]);
        let payment = service("payment", 3, &databases[1]);
        let document = KeyDocument { keys };
        let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
        // As audit does: an event that nobody is bound to stays in the outbox.
        let everything = Topology { service: "listener".into(), bindings: vec!["#".into()] };
        let broker = RabbitMq::new(vhost.amqp_url(), "test", "shop");
        broker.provision(&everything).await.unwrap();
        let kits = [
            (&here.pool, messages::handlers(here.app.feed.changed())),
            (&inventory, Handlers::new()),
            (&payment, Handlers::new()),
        ];
        for (pool, handlers) in kits {
            let broker = RabbitMq::new(vhost.amqp_url(), "test", "shop");
            let keys = KeyRing::new(&document).unwrap();
            let kit = Messaging::new(pool.clone(), broker, keys, handlers);
            kit.provision().await.unwrap();
            for task in kit.tasks() {
                running.spawn((task.run)(stop.clone()));
            }
        }
        let _databases = databases;
        Self { here, inventory, payment, running, stop, _vhost: vhost, _databases }
    }

    async fn say(&self, from: &Pool, chain: Uuid, event: &impl Event) -> Uuid {
        self.say_as(from, chain, event, 1).await
    }

    async fn say_as(&self, from: &Pool, chain: Uuid, event: &impl Event, version: u32) -> Uuid {
        let cause = Cause::request(chain, Context::new());
        let mut tx = Tx::begin(from, cause).await.unwrap();
        let id = tx.publish(event, version).unwrap();
        tx.commit().await.unwrap();
        id
    }

    /// Lists the product `A` as inventory does, and waits until it is known.
    async fn list_a(&self) {
        let unit_price = Money::new(250, Currency::GBP);
        let (sku, name) = ("A".to_owned(), "The A".to_owned());
        let listed = ProductListed { sku, name, unit_price, on_hand: 9 };
        self.say(&self.inventory, self.inventory.new_id(), &listed).await;
        let look = || async { self.here.get("/products/A").await.status.is_success() };
        eventually(SOON, look).await;
    }

    async fn wait_for_status(&self, order_id: Uuid, status: &str) {
        let look = || async {
            let order = self.here.get(&format!("/orders/{order_id}")).await.body;
            if order["status"] == status { Ok(()) } else { Err(order.to_string()) }
        };
        eventually(SOON, look).await;
    }

    async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap().unwrap();
        }
    }
}

fn captured(order_id: Uuid) -> PaymentCaptured {
    PaymentCaptured { order_id, amount: Money::new(250, Currency::GBP), charge_id: "ch_1".into() }
}

#[tokio::test]
async fn a_captured_payment_confirms_in_the_orders_own_chain() {
    let world = World::start().await;
    world.list_a().await;
    let order = world.here.place().await;
    let cause = world.say(&world.payment, order, &captured(order)).await;
    world.wait_for_status(order, "confirmed").await;

    assert_eq!(world.here.types(order).await, versions(&["placed", "confirmed"]));
    let told = world.here.events(order).await;
    assert_eq!(told[1]["correlationid"], json!(order));
    assert_eq!(told[1]["causationid"], json!(cause));
    eventually(SOON, || async {
        let waiting = world.here.count("messaging.outbox where published_at is null").await;
        if waiting == 0 { Ok(()) } else { Err(format!("{waiting} not published")) }
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn what_others_cannot_do_cancels_and_a_customer_who_was_faster_is_heard() {
    let world = World::start().await;
    world.list_a().await;
    let (sold_out, declined) = (world.here.place().await, world.here.place().await);
    let changed = world.here.place().await;
    assert_eq!(world.here.cancel(changed).await.status.as_u16(), 202);
    world.say(&world.payment, changed, &captured(changed)).await;
    let rejected = StockRejected { order_id: sold_out, shortages: vec![] };
    world.say(&world.inventory, sold_out, &rejected).await;
    let refusal = PaymentDeclined { order_id: declined, reason: "card_declined".into() };
    world.say(&world.payment, declined, &refusal).await;
    for order in [sold_out, declined] {
        world.wait_for_status(order, "cancelled").await;
    }
    // It came before the refusal, so it was handled.
    eventually(SOON, || async {
        let handled = world.here.count("messaging.inbox").await;
        if handled == 4 { Ok(()) } else { Err(format!("{handled} handled")) }
    })
    .await;
    for (order, reason) in
        [(sold_out, "out_of_stock"), (declined, "payment_declined"), (changed, "customer_request")]
    {
        let body = world.here.get(&format!("/orders/{order}")).await.body;
        assert_eq!(body["cancel_reason"], reason);
        assert_eq!(world.here.types(order).await, versions(&["placed", "cancelled"]));
    }
    world.end().await;
}

/// As the catalogue of contracts says.
#[test]
fn the_queue_is_bound_to_what_is_handled_and_nothing_else() {
    let is_bound = |event: &&contracts::catalogue::EventInfo| {
        event.consumers.iter().any(|consumer| consumer.service == "order")
    };
    let said: BTreeSet<String> =
        EVENTS.iter().filter(is_bound).map(|event| event.event_type.to_owned()).collect();
    assert_eq!(order::bindings().into_iter().collect::<BTreeSet<_>>(), said);
}

#[tokio::test]
async fn what_becomes_of_stock_and_money_is_shown_once_whatever_comes_twice() {
    let world = World::start().await;
    world.list_a().await;
    let order = world.here.place().await;
    let amount = Money::new(100, Currency::GBP);
    let reserved = StockReserved { order_id: order, amount, payment_method: "pm_ok".into() };
    let refunded = PaymentRefunded { order_id: order, amount, refund_id: "r-1".into() };
    let version = world.here.get(&format!("/orders/{order}")).await.body["version"].clone();
    // Two events of one kind, as a replay of the whole chain would bring.
    world.say_as(&world.inventory, order, &reserved, 1).await;
    world.say_as(&world.inventory, order, &reserved, 2).await;
    world.say(&world.payment, order, &refunded).await;
    let body = eventually(SOON, || async {
        let handled = world.here.count("messaging.inbox").await;
        let body = world.here.get(&format!("/orders/{order}")).await.body;
        if handled == 4 { Ok(body) } else { Err(format!("{handled} handled: {body}")) }
    })
    .await;
    let steps: Vec<&str> = body["progress"]
        .as_array()
        .unwrap()
        .iter()
        .map(|taken| taken["step"].as_str().unwrap())
        .collect();
    assert_eq!(steps, ["stock_reserved", "payment_refunded"]);
    assert_eq!((&body["version"], &body["status"]), (&version, &json!("pending")));
    world.end().await;
}
