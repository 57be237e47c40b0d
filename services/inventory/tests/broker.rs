//! Inventory on a real broker, beside a stand-in for order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Warehouse, versions};
use contracts::order::{CancelReason, Line, OrderCancelled, OrderConfirmed, OrderPlaced};
use contracts::{Currency, Money};
use envelope::signature::{KeyDocument, KeyRing, Signer};
use envelope::{Clock, Event, Identity};
use inventory::presentation::messages;
use messaging::topology::Topology;
use messaging::transport::Transport as _;
use messaging::transport::rabbitmq::RabbitMq;
use messaging::{Cause, Handlers, Messaging, Pool, Tx};
use opentelemetry::Context;
use testkit::{Database, Vhost, eventually};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(30);
const TOTAL: Money = Money::new(700, Currency::GBP);

/// Inventory as it runs, and a service that publishes what order would.
struct World {
    here: Warehouse,
    orders: Pool,
    vhost: Vhost,
    running: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
    _database: Database,
}

impl World {
    async fn start() -> Self {
        let (here, vhost) = (Warehouse::open().await, Vhost::new().await);
        let database = Database::new("messaging").await;
        let identity = Identity::new("shop", "test", "order");
        let signer = Signer::from_seed("order-1", [1; 32]);
        let document = KeyDocument { keys: vec![signer.public_for(&identity)] };
        let orders = Pool::new(database.pool(), identity, signer, Clock::system());
        let kit = |pool: &Pool, handlers| {
            let broker = RabbitMq::new(vhost.amqp_url(), "test", "shop");
            Messaging::new(pool.clone(), broker, KeyRing::new(&document).unwrap(), handlers)
        };
        let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
        // As audit does: an event that nobody is bound to stays in the outbox.
        let everything = Topology { service: "listener".into(), bindings: vec!["#".into()] };
        let broker = RabbitMq::new(vhost.amqp_url(), "test", "shop");
        broker.provision(&everything).await.unwrap();
        for kit in [kit(&here.pool, messages::handlers()), kit(&orders, Handlers::new())] {
            kit.provision().await.unwrap();
            for task in kit.tasks() {
                running.spawn((task.run)(stop.clone()));
            }
        }
        Self { here, orders, vhost, running, stop, _database: database }
    }

    /// Publishes what happened to an order; returns the event's id.
    async fn say(&self, order_id: Uuid, event: &impl Event, version: u32) -> Uuid {
        let cause = Cause::request(order_id, Context::new());
        let mut tx = Tx::begin(&self.orders, cause).await.unwrap();
        let id = tx.publish(event, version).unwrap();
        tx.commit().await.unwrap();
        id
    }

    async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap().unwrap();
        }
    }

    async fn wait_for_status(&self, order_id: Uuid, status: &str) {
        let look = || async {
            let sql = "select status from reservations where order_id = $1";
            let query = sqlx::query_scalar(sql).bind(order_id);
            let found: Option<String> = query.fetch_optional(self.here.pool.pg()).await.unwrap();
            if found.as_deref() == Some(status) { Ok(()) } else { Err(format!("{found:?}")) }
        };
        eventually(SOON, look).await;
    }
}

fn placed(order_id: Uuid, quantity: u32) -> OrderPlaced {
    OrderPlaced {
        order_id,
        customer_id: Uuid::nil(),
        customer_email: "a@example.com".into(),
        lines: vec![Line { sku: "A".into(), quantity }],
        total: TOTAL,
        payment_method: "pm_ok".into(),
        placed_at: chrono::DateTime::UNIX_EPOCH,
    }
}

fn confirmed(order_id: Uuid) -> OrderConfirmed {
    let confirmed_at = chrono::DateTime::UNIX_EPOCH;
    OrderConfirmed { order_id, customer_email: "a@example.com".into(), total: TOTAL, confirmed_at }
}

fn cancelled(order_id: Uuid) -> OrderCancelled {
    OrderCancelled {
        order_id,
        customer_email: "a@example.com".into(),
        reason: CancelReason::CustomerRequest,
        total: TOTAL,
        cancelled_at: chrono::DateTime::UNIX_EPOCH,
    }
}

#[tokio::test]
async fn an_order_is_reserved_shipped_and_told_in_the_orders_own_chain() {
    let world = World::start().await;
    world.here.has("A", 10).await;
    let order = world.here.order();
    let cause = world.say(order, &placed(order, 4), 1).await;
    world.wait_for_status(order, "reserved").await;
    world.say(order, &confirmed(order), 2).await;
    world.wait_for_status(order, "shipped").await;

    assert_eq!(world.here.stock("A").await, (6, 0));
    let subject = format!("reservation/{order}");
    let expected = versions(&[("stock_reserved", 1), ("stock_shipped", 2)]);
    assert_eq!(world.here.types(&subject).await, expected);
    let (body, correlation): (Vec<u8>, Uuid) = sqlx::query_as(
        "select body, correlation_id from messaging.outbox where subject = $1 and aggversion = 1",
    )
    .bind(&subject)
    .fetch_one(world.here.pool.pg())
    .await
    .unwrap();
    let envelope = envelope::Envelope::decode(&body).unwrap();
    assert_eq!((correlation, envelope.causationid), (order, Some(cause)));
    eventually(SOON, || async {
        let waiting = "select count(*) from messaging.outbox where published_at is null";
        let waiting: i64 =
            sqlx::query_scalar(waiting).fetch_one(world.here.pool.pg()).await.unwrap();
        if waiting == 0 { Ok(()) } else { Err(format!("{waiting} not published")) }
    })
    .await;
    world.here.assert_balanced().await;
    world.end().await;
}

#[tokio::test]
async fn a_confirmation_that_overtakes_its_order_is_tried_again_until_the_order_is_there() {
    let world = World::start().await;
    world.here.has("A", 10).await;
    let order = world.here.order();
    world.say(order, &confirmed(order), 2).await;
    eventually(SOON, || async {
        let waiting = world.vhost.depth("inventory.retry.1s").await;
        if waiting == Some(1) { Ok(()) } else { Err(format!("{waiting:?}")) }
    })
    .await;
    world.say(order, &placed(order, 4), 1).await;
    world.wait_for_status(order, "shipped").await;
    assert_eq!(world.here.stock("A").await, (6, 0));
    world.here.assert_balanced().await;
    world.end().await;
}

#[tokio::test]
async fn what_should_never_happen_is_parked_and_the_orders_behind_it_go_on() {
    let world = World::start().await;
    world.here.has("A", 10).await;
    let (shipped, next) = (world.here.order(), world.here.order());
    world.say(shipped, &placed(shipped, 4), 1).await;
    world.say(shipped, &confirmed(shipped), 2).await;
    world.wait_for_status(shipped, "shipped").await;
    let broken = world.say(shipped, &cancelled(shipped), 3).await;
    world.say(next, &placed(next, 1), 1).await;
    world.wait_for_status(next, "reserved").await;

    let look = || async {
        let sql = "select reason_code, reason from messaging.dead_letter where event_id = $1";
        let query = sqlx::query_as(sql).bind(broken);
        let parked: Option<(String, String)> =
            query.fetch_optional(world.here.pool.pg()).await.unwrap();
        parked
    };
    let (code, reason) = eventually(SOON, look).await;
    assert_eq!(code, "rejected");
    assert!(reason.contains("shipped cannot be cancelled"), "{reason}");
    assert_eq!(world.here.stock("A").await, (6, 1));
    world.here.assert_balanced().await;
    world.end().await;
}

#[test]
fn the_queue_is_bound_to_what_is_handled_and_nothing_else() {
    assert_eq!(
        inventory::bindings(),
        ["order.cancelled.v1", "order.confirmed.v1", "order.placed.v1"]
    );
}
