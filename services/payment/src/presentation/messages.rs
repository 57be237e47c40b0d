//! What other services tell payment. The consumer owns the transaction of each message.

use contracts::inventory::StockReserved;
use contracts::order::OrderCancelled;
use messaging::step::Signal;
use messaging::{Handler, HandlerError, HandlerResult, Handlers, Received, Tx};

use crate::application::cancel_payment::cancel_payment;
use crate::application::ports::StoreError;
use crate::application::request_payment::{RequestPayment, request_payment};
use crate::domain::money::Money;
use crate::store;

/// What payment listens to. `wanted` wakes the task that asks the gateway.
pub fn handlers(wanted: &Signal) -> Handlers {
    let payment = Payment { wanted: wanted.clone() };
    Handlers::new().on::<StockReserved>(payment.clone()).on::<OrderCancelled>(payment)
}

/// Takes down what the gateway is to do. The gateway itself is not called from here.
#[derive(Debug, Clone)]
pub struct Payment {
    /// Given when there is something new to ask for.
    pub wanted: Signal,
}

impl Handler<StockReserved> for Payment {
    async fn handle(&self, tx: &mut Tx, event: Received<StockReserved>) -> HandlerResult {
        let StockReserved { order_id, amount, payment_method } = event.data;
        let amount = money(amount);
        let (command, now) = (RequestPayment { order_id, amount, payment_method }, tx.now());
        request_payment(&mut store(tx), command, now).await?;
        tx.after_commit(&self.wanted);
        Ok(())
    }
}

impl Handler<OrderCancelled> for Payment {
    async fn handle(&self, tx: &mut Tx, event: Received<OrderCancelled>) -> HandlerResult {
        let (total, now) = (money(event.data.total), tx.now());
        cancel_payment(&mut store(tx), event.data.order_id, total, now).await?;
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
