//! The raw limit of an order's way: what its commits, hops and calls take one after the other, with
//! nothing between them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use testkit::Database;
use tokio::time::interval;
use uuid::Uuid;

use crate::stage::Stage;
use crate::world::load::millis;
use crate::world::{World, drop_database};

const QUEUE: &str = "bench.raw";
/// A row of a service's own, which an order adds or changes at every step.
const TABLE: &str = "create table state (id uuid primary key, version int not null, body bytea)";

/// What is on the way of an order from the request until the stream tells that it is confirmed.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A transaction.
    Commit(&'static [Write]),
    /// Publish, confirm, deliver, acknowledge.
    Hop,
    /// A call of the payment gateway.
    Call,
}

/// A statement of a transaction.
#[derive(Debug, Clone, Copy)]
enum Write {
    Inbox,
    New,
    Change,
    Outbox,
}

use Step::{Call, Commit, Hop};
use Write::{Change, Inbox, New, Outbox};

/// Seven commits, three hops, one call. The request itself and the stream are not in it.
const WAY: [Step; 11] = [
    // order: the request
    Commit(&[New, Outbox]),
    Hop,
    // inventory: reserves
    Commit(&[Inbox, New, Outbox]),
    Hop,
    // payment: the wish, its lease, the call, its outcome
    Commit(&[Inbox, New]),
    Commit(&[Change]),
    Call,
    Commit(&[Change, Outbox]),
    Hop,
    // order: confirms, and numbers the change for the stream
    Commit(&[Inbox, Change, Outbox]),
    Commit(&[Change]),
];

/// Everything that the way needs, connected.
pub(super) struct Chain<'a> {
    world: &'a World,
    database: Database,
    postgres: PgConnection,
    publisher: Channel,
    deliveries: Consumer,
    body: Vec<u8>,
    _connections: [Connection; 2],
}

impl<'a> Chain<'a> {
    /// Connects to the stage's servers and the world's gateway. Messages and rows have the size that
    /// the world's have.
    ///
    /// # Errors
    /// When a server refuses.
    pub(super) async fn connect(stage: &Stage, world: &'a World) -> anyhow::Result<Self> {
        let size = "select coalesce(avg(length(body)), 0)::bigint from messaging.outbox";
        let size = world.count(shop::verify::Service::Order, size).await?;
        ensure!(size > 0, "no order was placed yet");
        let database = stage.postgres.database("messaging").await;
        let mut postgres = PgConnection::connect(database.local_url()).await?;
        sqlx::query(TABLE).execute(&mut postgres).await?;
        let connect =
            || Connection::connect(world.vhost.amqp_url(), ConnectionProperties::default());
        let connections = [connect().await?, connect().await?];
        let publisher = connections[0].create_channel().await?;
        publisher.confirm_select(ConfirmSelectOptions::default()).await?;
        let consumer = connections[1].create_channel().await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        consumer.queue_declare(QUEUE.into(), durable, arguments).await?;
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let deliveries = consumer.basic_consume(QUEUE.into(), "".into(), options, none).await?;
        let body = vec![b'x'; usize::try_from(size)?];
        let _connections = connections;
        Ok(Self { world, database, postgres, publisher, deliveries, body, _connections })
    }

    /// Goes the way so often per second, and gives how long it took each time, in milliseconds, less
    /// the first second's.
    ///
    /// # Errors
    /// When a server refuses.
    pub(super) async fn times(&mut self, rate: u32, during: Duration) -> anyhow::Result<Vec<f64>> {
        let mut ticks = interval(Duration::from_secs(1) / rate);
        let (begun, warm) = (Instant::now(), Duration::from_secs(1));
        let mut times = Vec::new();
        let mut n = 0;
        while begun.elapsed() < warm + during {
            ticks.tick().await;
            let (sent, counts) = (Instant::now(), begun.elapsed() >= warm);
            n += 1;
            for (place, step) in WAY.iter().enumerate() {
                match step {
                    Commit(writes) => self.commit(id(n, place), id(n, 0), writes).await?,
                    Hop => self.hop().await?,
                    Call => self.call(id(n, 0)).await?,
                }
            }
            if counts {
                times.push(millis(sent.elapsed()));
            }
        }
        Ok(times)
    }

    /// Drops its database.
    ///
    /// # Errors
    /// Postgres' own.
    pub(super) async fn close(self, stage: &Stage) -> anyhow::Result<()> {
        let Self { database, postgres, .. } = self;
        postgres.close().await?;
        drop_database(stage, database.name()).await
    }

    async fn commit(&mut self, step: Uuid, order: Uuid, writes: &[Write]) -> anyhow::Result<()> {
        let postgres = &mut self.postgres;
        let alone = writes.len() == 1;
        if !alone {
            sqlx::query("begin").execute(&mut *postgres).await?;
        }
        for write in writes {
            let query = match write {
                New => sqlx::query("insert into state values ($1, 1, $2)"),
                Change => {
                    sqlx::query("update state set version = version + 1, body = $2 where id = $1")
                }
                Inbox => sqlx::query(
                    "insert into messaging.inbox values
                        ('raw', 'raw', $1, 'raw', 'raw', 1, substring($2 for 32), 'raw', now())",
                ),
                Outbox => sqlx::query(
                    "insert into messaging.outbox (event_id, type, subject, aggversion, partition,
                        correlation_id, body, signature, key_id, created_at)
                    values ($1, 'raw', $1::text, 1, 0, $1, $2, substring($2 for 64), 'raw', now())",
                ),
            };
            let of = if matches!(write, Change) { order } else { step };
            query.bind(of).bind(&self.body).execute(&mut *postgres).await?;
        }
        if !alone {
            sqlx::query("commit").execute(&mut *postgres).await?;
        }
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "the broker without the kit is what is measured")]
    async fn hop(&mut self) -> anyhow::Result<()> {
        let persistent = BasicProperties::default().with_delivery_mode(2);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let publisher = &self.publisher;
        let sent =
            publisher.basic_publish("".into(), QUEUE.into(), options, &self.body, persistent);
        let (confirm, delivery) = (sent.await?, self.deliveries.next());
        let (confirm, delivery) = tokio::join!(confirm, delivery);
        ensure!(confirm?.is_ack(), "the broker refuses");
        let delivery = delivery.context("no more deliveries")??;
        delivery.acker.ack(BasicAckOptions::default()).await?;
        Ok(())
    }

    async fn call(&self, order: Uuid) -> anyhow::Result<()> {
        let charge = json!({"order_id": order, "amount_minor": 1_000, "currency": "GBP",
            "payment_method": "pm_ok"});
        let url = format!("{}/charges", self.world.gateway.program.url);
        let request = self.world.http.post(url).header("Idempotency-Key", order.to_string());
        request.json(&charge).send().await?.error_for_status()?.bytes().await?;
        Ok(())
    }
}

/// Of the n-th order's step; no service makes such ids.
fn id(n: u64, step: usize) -> Uuid {
    Uuid::from_u64_pair(n, step as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_is_what_the_report_says() {
        let count = |wanted: fn(&Step) -> bool| WAY.iter().filter(|step| wanted(step)).count();
        let commits = count(|step| matches!(step, Commit(_)));
        let (hops, calls) = (count(|step| matches!(step, Hop)), count(|step| matches!(step, Call)));
        assert_eq!((commits, hops, calls), (7, 3, 1));
        assert_ne!(id(1, 2), id(2, 1));
    }
}
