//! What other services tell inventory. The consumer owns the transaction of each message.

use std::sync::Arc;

use contracts::order::{OrderCancelled, OrderConfirmed, OrderPlaced};
use envelope::Event as _;
use messaging::{
    ChunkHandler, HandlerError, HandlerResult, Handlers, ManyHandler, Message, Received, Tx,
};
use uuid::Uuid;

use crate::application::lock_stock::{Orders, lock_stock};
use crate::application::ports::StoreError;
use crate::application::release_stock::{ReleaseStockError, release_stock};
use crate::application::reserve_stock::{ReserveStock, ReserveStockError, reserve_stock};
use crate::application::ship_stock::{ShipStockError, ship_stock};
use crate::domain::money::Money;
use crate::domain::reservation::{Charge, Line};
use crate::{store, store_of_many};

/// What inventory listens to.
pub fn handlers() -> Handlers {
    Handlers::new()
        .on_many::<OrderPlaced>(Reserving)
        .on_many::<OrderConfirmed>(Shipping)
        .on_many::<OrderCancelled>(Releasing)
        .on_chunk(Locking)
}

/// Locks the products of all orders in a transaction.
struct Locking;

impl ChunkHandler for Locking {
    async fn before_chunk(&self, tx: &mut Tx, messages: &[Arc<Message>]) -> HandlerResult {
        // The handler of orders that are placed begins with the same locks, and one message alone meets
        // no other within its transaction.
        let placed = |message: &Arc<Message>| message.short_type == OrderPlaced::TYPE;
        if messages.len() < 2 || messages.iter().all(placed) {
            return Ok(());
        }
        let mut orders = Orders::default();
        for message in messages {
            match message.short_type.as_str() {
                OrderPlaced::TYPE => {
                    let placed = message.envelope.data::<OrderPlaced>().map_err(permanent)?;
                    orders.skus.extend(placed.lines.into_iter().map(|line| line.sku));
                }
                OrderConfirmed::TYPE => {
                    let confirmed = message.envelope.data::<OrderConfirmed>().map_err(permanent)?;
                    orders.known.push(confirmed.order_id);
                }
                OrderCancelled::TYPE => {
                    let cancelled = message.envelope.data::<OrderCancelled>().map_err(permanent)?;
                    orders.known.push(cancelled.order_id);
                }
                _ => {}
            }
        }
        Ok(lock_stock(&mut store(tx), &orders).await?)
    }
}

fn permanent(error: impl Into<anyhow::Error>) -> HandlerError {
    HandlerError::Permanent(error.into())
}

/// Sets goods aside.
struct Reserving;

impl ManyHandler<OrderPlaced> for Reserving {
    async fn handle_many(&self, tx: &mut Tx, events: Vec<Received<OrderPlaced>>) -> HandlerResult {
        let (now, causes) = (tx.now(), Received::causes(&events, |placed| placed.order_id));
        let commands = events.into_iter().map(|event| command(event.data)).collect();
        let mut store = store_of_many(tx, causes);
        reserve_stock(&mut store, commands, now).await.map_err(|error| match error {
            ReserveStockError::Rule(error) => HandlerError::Permanent(error.into()),
            ReserveStockError::Store(error) => error.into(),
        })
    }
}

fn command(placed: OrderPlaced) -> ReserveStock {
    let OrderPlaced { order_id, lines, total, payment_method, .. } = placed;
    let lines = lines.into_iter().map(|line| Line { sku: line.sku, quantity: line.quantity });
    let amount = Money::new(total.amount_minor, total.currency);
    ReserveStock { order_id, lines: lines.collect(), charge: Charge { amount, payment_method } }
}

/// Sends goods.
struct Shipping;

impl ManyHandler<OrderConfirmed> for Shipping {
    async fn handle_many(
        &self,
        tx: &mut Tx,
        events: Vec<Received<OrderConfirmed>>,
    ) -> HandlerResult {
        let (now, causes) = (tx.now(), Received::causes(&events, |confirmed| confirmed.order_id));
        let order_ids: Vec<Uuid> = events.iter().map(|event| event.data.order_id).collect();
        let mut store = store_of_many(tx, causes);
        ship_stock(&mut store, &order_ids, now).await.map_err(|error| match error {
            ShipStockError::Unknown => HandlerError::UnknownAggregate,
            ShipStockError::Rule(error) => HandlerError::Permanent(error.into()),
            ShipStockError::Store(error) => error.into(),
        })
    }
}

/// Gives goods back.
struct Releasing;

impl ManyHandler<OrderCancelled> for Releasing {
    async fn handle_many(
        &self,
        tx: &mut Tx,
        events: Vec<Received<OrderCancelled>>,
    ) -> HandlerResult {
        let (now, causes) = (tx.now(), Received::causes(&events, |cancelled| cancelled.order_id));
        let order_ids: Vec<Uuid> = events.iter().map(|event| event.data.order_id).collect();
        let mut store = store_of_many(tx, causes);
        release_stock(&mut store, &order_ids, now).await.map_err(|error| match error {
            ReleaseStockError::Rule(error) => HandlerError::Permanent(error.into()),
            ReleaseStockError::Store(error) => error.into(),
        })
    }
}

impl From<StoreError> for HandlerError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Database(error) => Self::Database(error),
            StoreError::Event(error) => error.into(),
            full @ StoreError::Full => Self::Transient(full.into()),
            conflict @ StoreError::Conflict(_) => Self::Transient(conflict.into()),
        }
    }
}
