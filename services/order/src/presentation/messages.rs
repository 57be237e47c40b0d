//! What other services tell order. The consumer owns the transaction of each message.

use chrono::{DateTime, Utc};
use contracts::inventory::{
    PriceChanged, ProductChanged, ProductListed, StockRejected, StockReleased, StockReplenished,
    StockReserved, StockShipped,
};
use contracts::payment::{PaymentCaptured, PaymentDeclined, PaymentRefunded};
use messaging::step::Signal;
use messaging::{
    Causes, Handler, HandlerError, HandlerResult, Handlers, ManyHandler, Received, Tx,
};
use uuid::Uuid;

use crate::application::follow_product::{FollowProductError, follow_product};
use crate::application::note_progress::{NoteProgressError, note_progress};
use crate::application::ports::{Product, ProductChange, Step, StoreError};
use crate::application::settle_orders::{SettleOrderError, Verdict, settle_orders};
use crate::domain::order::CancelReason;
use crate::{store, store_of_many};

/// What order listens to. `changed` is given whenever an order may have changed.
pub fn handlers(changed: &Signal) -> Handlers {
    let settlement = || Settlement(changed.clone());
    Handlers::new()
        .on_many::<StockRejected>(settlement())
        .on_many::<PaymentCaptured>(settlement())
        .on_many::<PaymentDeclined>(settlement())
        .on_many::<StockReserved>(Progress)
        .on_many::<StockShipped>(Progress)
        .on_many::<StockReleased>(Progress)
        .on_many::<PaymentRefunded>(Progress)
        // All types of `product/<sku>`, so that their versions have no gap.
        .on_ordered::<ProductListed>(Catalogue)
        .on_ordered::<PriceChanged>(Catalogue)
        .on_ordered::<ProductChanged>(Catalogue)
        .on_ordered::<StockReplenished>(Catalogue)
}

/// Ends orders.
struct Settlement(Signal);

impl ManyHandler<StockRejected> for Settlement {
    async fn handle_many(
        &self,
        tx: &mut Tx,
        events: Vec<Received<StockRejected>>,
    ) -> HandlerResult {
        let causes = Received::causes(&events, |rejected| rejected.order_id);
        self.settle(tx, causes, Verdict::Impossible(CancelReason::OutOfStock)).await
    }
}

impl ManyHandler<PaymentDeclined> for Settlement {
    async fn handle_many(
        &self,
        tx: &mut Tx,
        events: Vec<Received<PaymentDeclined>>,
    ) -> HandlerResult {
        let causes = Received::causes(&events, |declined| declined.order_id);
        self.settle(tx, causes, Verdict::Impossible(CancelReason::PaymentDeclined)).await
    }
}

impl ManyHandler<PaymentCaptured> for Settlement {
    async fn handle_many(
        &self,
        tx: &mut Tx,
        events: Vec<Received<PaymentCaptured>>,
    ) -> HandlerResult {
        let causes = Received::causes(&events, |captured| captured.order_id);
        self.settle(tx, causes, Verdict::Paid).await
    }
}

impl Settlement {
    /// Settles the orders that these are the causes of.
    async fn settle(&self, tx: &mut Tx, causes: Causes, verdict: Verdict) -> HandlerResult {
        tx.after_commit(&self.0);
        let (now, order_ids) = (tx.now(), causes.keys().copied().collect::<Vec<_>>());
        let mut store = store_of_many(tx, causes);
        settle_orders(&mut store, &order_ids, verdict, now).await.map_err(|error| match error {
            SettleOrderError::Unknown => HandlerError::UnknownAggregate,
            SettleOrderError::Store(error) => error.into(),
        })
    }
}

/// Notes how far orders have come.
struct Progress;

impl ManyHandler<StockReserved> for Progress {
    async fn handle_many(
        &self,
        tx: &mut Tx,
        events: Vec<Received<StockReserved>>,
    ) -> HandlerResult {
        note(tx, Step::StockReserved, &events, |reserved| reserved.order_id).await
    }
}

impl ManyHandler<StockShipped> for Progress {
    async fn handle_many(&self, tx: &mut Tx, events: Vec<Received<StockShipped>>) -> HandlerResult {
        note(tx, Step::StockShipped, &events, |shipped| shipped.order_id).await
    }
}

impl ManyHandler<StockReleased> for Progress {
    async fn handle_many(
        &self,
        tx: &mut Tx,
        events: Vec<Received<StockReleased>>,
    ) -> HandlerResult {
        note(tx, Step::StockReleased, &events, |released| released.order_id).await
    }
}

impl ManyHandler<PaymentRefunded> for Progress {
    async fn handle_many(
        &self,
        tx: &mut Tx,
        events: Vec<Received<PaymentRefunded>>,
    ) -> HandlerResult {
        note(tx, Step::PaymentRefunded, &events, |refunded| refunded.order_id).await
    }
}

async fn note<E>(
    tx: &mut Tx,
    step: Step,
    events: &[Received<E>],
    order_id: fn(&E) -> Uuid,
) -> HandlerResult {
    let at = |event: &Received<E>| (order_id(&event.data), event.message.envelope.time);
    let orders: Vec<(Uuid, DateTime<Utc>)> = events.iter().map(at).collect();
    note_progress(&mut store(tx), step, &orders).await.map_err(|error| match error {
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
