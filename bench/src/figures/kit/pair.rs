//! Two services: one publishes orders, the other reserves what was ordered.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use contracts::inventory::StockReserved;
use contracts::order::OrderPlaced;
use envelope::Event as _;
use messaging::{Cause, HandlerError, HandlerResult, Handlers, ManyHandler, Received, Tx};
use testkit::Vhost;
use tokio::time::Instant;
use uuid::Uuid;

use super::events::placed;
use super::service::Service;
use crate::raw::Wire;
use crate::stage::Stage;

/// Where the orders go.
pub(crate) const ORDERS: &str = "inventory.in";
/// Where the reservations go.
pub(crate) const RESERVATIONS: &str = "reservations";
/// Deliveries under way at most, as the kit's consumer has them.
pub(crate) const PREFETCH: u16 = 128;
/// How orders are paid for that cannot be reserved, and that cannot the first time.
pub(crate) const NEVER: &str = "never";
pub(crate) const NOT_YET: &str = "not-yet";
/// Between two looks at what has arrived.
const LOOK: Duration = Duration::from_millis(20);
const STUCK_AFTER: Duration = Duration::from_secs(120);

/// When the handler began with each order; the last time counts, which is the one that took effect.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arrivals(Arc<Mutex<HashMap<Uuid, Instant>>>);

impl Arrivals {
    fn note(&self, order: Uuid) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(order, Instant::now());
    }

    /// Takes what has arrived.
    pub(crate) fn take(&self) -> HashMap<Uuid, Instant> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for so many.
    ///
    /// # Errors
    /// When they do not come.
    pub(crate) async fn wait_for(&self, count: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.0.lock().unwrap_or_else(PoisonError::into_inner).len() < count {
            ensure!(begun.elapsed() < STUCK_AFTER, "not all of {count} orders were handled");
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

/// Stores one row and tells one event of each order.
struct Reserve {
    arrivals: Arrivals,
    refused: Mutex<HashSet<Uuid>>,
}

impl ManyHandler<OrderPlaced> for Reserve {
    async fn handle_many(&self, tx: &mut Tx, events: Vec<Received<OrderPlaced>>) -> HandlerResult {
        let (mut orders, mut amounts) = (Vec::new(), Vec::new());
        for Received { data, cause, .. } in events {
            let OrderPlaced { order_id, total, payment_method, .. } = data;
            match payment_method.as_str() {
                NEVER => return Err(HandlerError::Permanent(anyhow::anyhow!("not ever"))),
                NOT_YET if self.first_time(order_id) => {
                    return Err(HandlerError::Transient(anyhow::anyhow!("not yet")));
                }
                NOT_YET => continue,
                _ => self.arrivals.note(order_id),
            }
            orders.push(order_id);
            amounts.push(total.amount_minor);
            tx.because_of(&cause);
            tx.publish(&StockReserved { order_id, amount: total, payment_method }, 1)?;
        }
        sqlx::query(
            "insert into reserved (order_id, amount, at)
            select order_id, amount, $3 from unnest($1::uuid[], $2::bigint[]) as t (order_id, amount)",
        )
        .bind(orders)
        .bind(amounts)
        .bind(tx.now())
        .execute(tx.conn())
        .await?;
        Ok(())
    }
}

impl Reserve {
    fn first_time(&self, order: Uuid) -> bool {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(order)
    }
}

/// Both services, none of their tasks running.
pub(crate) struct Pair {
    pub(crate) order: Service,
    pub(crate) inventory: Service,
    pub(crate) arrivals: Arrivals,
    pub(crate) wire: Wire,
    pub(crate) vhost: Vhost,
}

impl Pair {
    /// # Errors
    /// When a server does not answer.
    pub(crate) async fn new(stage: &Stage) -> anyhow::Result<Self> {
        let vhost = stage.broker.vhost().await;
        let arrivals = Arrivals::default();
        let reserve = Reserve { arrivals: arrivals.clone(), refused: Mutex::default() };
        let handlers = Handlers::new().on_many(reserve);
        let inventory = Service::new(stage, &vhost, "inventory", handlers).await?;
        let table = "create table reserved (order_id uuid primary key, amount bigint not null,
            at timestamptz not null)";
        sqlx::query(table).execute(&inventory.pg).await?;
        let order = Service::new(stage, &vhost, "order", Handlers::new()).await?;
        let wire = Wire::connect(vhost.amqp_url()).await?;
        wire.queue(RESERVATIONS, &[StockReserved::TYPE]).await?;
        wire.prefetch(PREFETCH).await?;
        Ok(Self { order, inventory, arrivals, wire, vhost })
    }

    /// Places one order in a transaction of its own.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn place(&self) -> anyhow::Result<(Uuid, Instant)> {
        let ids = self.place_all(1).await?;
        let first = ids.first().copied().unwrap_or_default();
        Ok((first, Instant::now()))
    }

    /// Places orders in one transaction.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn place_all(&self, count: usize) -> anyhow::Result<Vec<Uuid>> {
        let pool = &self.order.pool;
        let mut tx = Tx::begin(pool, Cause::request(pool.new_id(), Default::default())).await?;
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            let order = placed(tx.new_id(), tx.now())?;
            tx.publish(&order, 1)?;
            ids.push(order.order_id);
        }
        tx.commit().await?;
        Ok(ids)
    }

    /// Forgets everything, so that the next round begins as this one did.
    ///
    /// # Errors
    /// When a server does not answer.
    pub(crate) async fn clear(&self) -> anyhow::Result<()> {
        let all = "truncate messaging.outbox, messaging.inbox, messaging.dead_letter cascade";
        for pg in [&self.order.pg, &self.inventory.pg] {
            sqlx::query(all).execute(pg).await?;
        }
        sqlx::query("truncate reserved").execute(&self.inventory.pg).await?;
        for queue in [ORDERS, RESERVATIONS] {
            self.wire.purge(queue).await?;
        }
        self.arrivals.take();
        Ok(())
    }
}
