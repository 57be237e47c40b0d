//! What other services tell order. The consumer owns the transaction of each message.

use contracts::inventory::{
    PriceChanged, ProductChanged, ProductListed, StockRejected, StockReleased, StockReplenished,
    StockReserved, StockShipped,
};
use contracts::payment::{PaymentCaptured, PaymentDeclined, PaymentRefunded};
use messaging::step::Signal;
use messaging::{Handler, HandlerError, HandlerResult, Handlers, Message, Received, Tx};
use uuid::Uuid;

use crate::application::follow_product::{FollowProductError, follow_product};
use crate::application::note_progress::{NoteProgressError, note_progress};
use crate::application::ports::{Product, ProductChange, Step, StoreError};
use crate::application::settle_order::{SettleOrderError, Verdict, settle_order};
use crate::domain::order::CancelReason;
use crate::store;

/// What order listens to. `changed` is given whenever an order may have changed.
pub fn handlers(changed: &Signal) -> Handlers {
    let settlement = || Settlement(changed.clone());
    Handlers::new()
        .on::<StockRejected>(settlement())
        .on::<PaymentCaptured>(settlement())
        .on::<PaymentDeclined>(settlement())
        .on::<StockReserved>(Progress)
        .on::<StockShipped>(Progress)
        .on::<StockReleased>(Progress)
        .on::<PaymentRefunded>(Progress)
        // All types of `product/<sku>`, so that their versions have no gap.
        .on_ordered::<ProductListed>(Catalogue)
        .on_ordered::<PriceChanged>(Catalogue)
        .on_ordered::<ProductChanged>(Catalogue)
        .on_ordered::<StockReplenished>(Catalogue)
}

/// Ends orders.
struct Settlement(Signal);

impl Handler<StockRejected> for Settlement {
    async fn handle(&self, tx: &mut Tx, event: Received<StockRejected>) -> HandlerResult {
        self.settle(tx, event.data.order_id, Verdict::Impossible(CancelReason::OutOfStock)).await
    }
}

impl Handler<PaymentDeclined> for Settlement {
    async fn handle(&self, tx: &mut Tx, event: Received<PaymentDeclined>) -> HandlerResult {
        self.settle(tx, event.data.order_id, Verdict::Impossible(CancelReason::PaymentDeclined))
            .await
    }
}

impl Handler<PaymentCaptured> for Settlement {
    async fn handle(&self, tx: &mut Tx, event: Received<PaymentCaptured>) -> HandlerResult {
        self.settle(tx, event.data.order_id, Verdict::Paid).await
    }
}

impl Settlement {
    async fn settle(&self, tx: &mut Tx, order_id: Uuid, verdict: Verdict) -> HandlerResult {
        tx.after_commit(&self.0);
        let now = tx.now();
        settle_order(&mut store(tx), order_id, verdict, now).await.map_err(|error| match error {
            SettleOrderError::Unknown => HandlerError::UnknownAggregate,
            SettleOrderError::Store(error) => error.into(),
        })
    }
}

/// Notes how far orders have come.
struct Progress;

impl Handler<StockReserved> for Progress {
    async fn handle(&self, tx: &mut Tx, event: Received<StockReserved>) -> HandlerResult {
        note(tx, event.data.order_id, Step::StockReserved, &event.message).await
    }
}

impl Handler<StockShipped> for Progress {
    async fn handle(&self, tx: &mut Tx, event: Received<StockShipped>) -> HandlerResult {
        note(tx, event.data.order_id, Step::StockShipped, &event.message).await
    }
}

impl Handler<StockReleased> for Progress {
    async fn handle(&self, tx: &mut Tx, event: Received<StockReleased>) -> HandlerResult {
        note(tx, event.data.order_id, Step::StockReleased, &event.message).await
    }
}

impl Handler<PaymentRefunded> for Progress {
    async fn handle(&self, tx: &mut Tx, event: Received<PaymentRefunded>) -> HandlerResult {
        note(tx, event.data.order_id, Step::PaymentRefunded, &event.message).await
    }
}

async fn note(tx: &mut Tx, order_id: Uuid, step: Step, message: &Message) -> HandlerResult {
    let at = message.envelope.time;
    note_progress(&mut store(tx), order_id, step, at).await.map_err(|error| match error {
        NoteProgressError::Unknown => HandlerError::UnknownAggregate,
        NoteProgressError::Store(error) => error.into(),
    })
}

/// Follows inventory's products.
struct Catalogue;

impl Handler<ProductListed> for Catalogue {
    async fn handle(&self, tx: &mut Tx, event: Received<ProductListed>) -> HandlerResult {
        let ProductListed { sku, name, unit_price, .. } = event.data;
        let (currency, unit_price_minor) =
            (unit_price.currency.to_string(), unit_price.amount_minor);
        follow(tx, ProductChange::Listed(Product { sku, name, currency, unit_price_minor })).await
    }
}

impl Handler<PriceChanged> for Catalogue {
    async fn handle(&self, tx: &mut Tx, event: Received<PriceChanged>) -> HandlerResult {
        let PriceChanged { sku, unit_price } = event.data;
        let (currency, unit_price_minor) =
            (unit_price.currency.to_string(), unit_price.amount_minor);
        follow(tx, ProductChange::Repriced { sku, currency, unit_price_minor }).await
    }
}

impl Handler<ProductChanged> for Catalogue {
    async fn handle(&self, tx: &mut Tx, event: Received<ProductChanged>) -> HandlerResult {
        let ProductChanged { sku, name, .. } = event.data;
        follow(tx, ProductChange::Renamed { sku, name }).await
    }
}

impl Handler<StockReplenished> for Catalogue {
    /// The catalogue knows no stock; it only must not miss the version.
    async fn handle(&self, _: &mut Tx, _: Received<StockReplenished>) -> HandlerResult {
        Ok(())
    }
}

async fn follow(tx: &mut Tx, change: ProductChange) -> HandlerResult {
    follow_product(&mut store(tx), change).await.map_err(|error| match error {
        FollowProductError::Unknown => HandlerError::UnknownAggregate,
        FollowProductError::Store(error) => error.into(),
    })
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
