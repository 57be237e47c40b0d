//! What other services tell inventory. The consumer owns the transaction of each message.

use std::sync::Arc;

use contracts::order::{OrderCancelled, OrderConfirmed, OrderPlaced};
use envelope::Event as _;
use messaging::{
    ChunkHandler, Handler, HandlerError, HandlerResult, Handlers, Message, Received, Tx,
};

use crate::application::lock_stock::{Orders, lock_stock};
use crate::application::ports::StoreError;
use crate::application::release_stock::{ReleaseStockError, release_stock};
use crate::application::reserve_stock::{ReserveStock, ReserveStockError, reserve_stock};
use crate::application::ship_stock::{ShipStockError, ship_stock};
use crate::domain::money::Money;
use crate::domain::reservation::{Charge, Line};
use crate::store;

/// What inventory listens to.
pub fn handlers() -> Handlers {
    Handlers::new()
        .on::<OrderPlaced>(Reserving)
        .on::<OrderConfirmed>(Shipping)
        .on::<OrderCancelled>(Releasing)
        .on_chunk(Locking)
}

/// Locks the products of all orders in a transaction.
struct Locking;

impl ChunkHandler for Locking {
    async fn before_chunk(&self, tx: &mut Tx, messages: &[Arc<Message>]) -> HandlerResult {
        // Of one alone, its handler locks what it needs in the same order.
        if messages.len() < 2 {
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

impl Handler<OrderPlaced> for Reserving {
    async fn handle(&self, tx: &mut Tx, event: Received<OrderPlaced>) -> HandlerResult {
        let OrderPlaced { order_id, lines, total, payment_method, .. } = event.data;
        let lines = lines.into_iter().map(|line| Line { sku: line.sku, quantity: line.quantity });
        let amount = Money::new(total.amount_minor, total.currency);
        let charge = Charge { amount, payment_method };
        let now = tx.now();
        let command = ReserveStock { order_id, lines: lines.collect(), charge };
        reserve_stock(&mut store(tx), command, now).await.map_err(|error| match error {
            ReserveStockError::Rule(error) => HandlerError::Permanent(error.into()),
            ReserveStockError::Store(error) => error.into(),
        })
    }
}

/// Sends goods.
struct Shipping;

impl Handler<OrderConfirmed> for Shipping {
    async fn handle(&self, tx: &mut Tx, event: Received<OrderConfirmed>) -> HandlerResult {
        let now = tx.now();
        ship_stock(&mut store(tx), event.data.order_id, now).await.map_err(|error| match error {
            ShipStockError::Unknown => HandlerError::UnknownAggregate,
            ShipStockError::Rule(error) => HandlerError::Permanent(error.into()),
            ShipStockError::Store(error) => error.into(),
        })
    }
}

/// Gives goods back.
struct Releasing;

impl Handler<OrderCancelled> for Releasing {
    async fn handle(&self, tx: &mut Tx, event: Received<OrderCancelled>) -> HandlerResult {
        let now = tx.now();
        release_stock(&mut store(tx), event.data.order_id, now).await.map_err(|error| match error {
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
