//! What other services tell payment. The consumer owns the transaction of each message.

use contracts::inventory::StockReserved;
use contracts::order::OrderCancelled;
use messaging::step::Signal;
use messaging::{HandlerError, HandlerResult, Handlers, ManyHandler, Received, Tx};

use crate::application::cancel_payments::cancel_payments;
use crate::application::ports::StoreError;
use crate::application::request_payments::{RequestPayment, request_payments};
use crate::domain::money::Money;
use crate::store_of_many;

/// What payment listens to. `wanted` wakes the task that asks the gateway.
pub fn handlers(wanted: &Signal) -> Handlers {
    let payment = Payment { wanted: wanted.clone() };
    Handlers::new().on_many::<StockReserved>(payment.clone()).on_many::<OrderCancelled>(payment)
}

/// Takes down what the gateway is to do. The gateway itself is not called from here.
#[derive(Debug, Clone)]
pub struct Payment {
    /// Given when there is something new to ask for.
    pub wanted: Signal,
}

impl ManyHandler<StockReserved> for Payment {
    async fn handle_many(
        &self,
        tx: &mut Tx,
        events: Vec<Received<StockReserved>>,
    ) -> HandlerResult {
        let (now, causes) = (tx.now(), Received::causes(&events, |reserved| reserved.order_id));
        let commands = events.into_iter().map(|event| {
            let StockReserved { order_id, amount, payment_method } = event.data;
            RequestPayment { order_id, amount: money(amount), payment_method }
        });
        request_payments(&mut store_of_many(tx, causes), commands.collect(), now).await?;
        tx.after_commit(&self.wanted);
        Ok(())
    }
}

impl ManyHandler<OrderCancelled> for Payment {
    async fn handle_many(
        &self,
        tx: &mut Tx,
        events: Vec<Received<OrderCancelled>>,
    ) -> HandlerResult {
        let (now, causes) = (tx.now(), Received::causes(&events, |cancelled| cancelled.order_id));
        let totals = events.into_iter().map(|event| (event.data.order_id, money(event.data.total)));
        cancel_payments(&mut store_of_many(tx, causes), totals.collect(), now).await?;
        tx.after_commit(&self.wanted);
        Ok(())
    }
}

fn money(money: contracts::Money) -> Money {
    Money::new(money.amount_minor, money.currency)
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
