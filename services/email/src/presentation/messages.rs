//! What other services tell email. The consumer owns the transaction of each message.

use contracts::order::{self, OrderCancelled, OrderConfirmed};
use contracts::payment::PaymentRefunded;
use messaging::step::Signal;
use messaging::{Handler, HandlerError, HandlerResult, Handlers, Received, Tx};
use uuid::Uuid;

use crate::application::ports::StoreError;
use crate::application::queue_email::{QueueEmail, queue_email};
use crate::domain::email::{CancelReason, Content};
use crate::domain::money::Money;
use crate::store;

/// What email listens to. `wanted` wakes the task that sends mail, whose Message-IDs are given in the
/// name of `domain`.
pub fn handlers(wanted: &Signal, domain: &str) -> Handlers {
    let mail = Mail { wanted: wanted.clone(), domain: domain.to_owned() };
    Handlers::new()
        .on::<OrderConfirmed>(mail.clone())
        .on::<OrderCancelled>(mail.clone())
        .on::<PaymentRefunded>(mail)
}

/// Takes down what is to be sent. The mail server itself is not called from here.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Given when there is something new to send.
    pub wanted: Signal,
    /// The right-hand side of Message-IDs.
    pub domain: String,
}

impl Mail {
    async fn queue(
        &self,
        tx: &mut Tx,
        order_id: Uuid,
        content: Content,
        customer_email: Option<String>,
    ) -> HandlerResult {
        let (email_id, now, domain) = (tx.new_id(), tx.now(), self.domain.clone());
        let command = QueueEmail { email_id, order_id, content, customer_email, domain };
        queue_email(&mut store(tx), command, now).await?;
        tx.after_commit(&self.wanted);
        Ok(())
    }
}

impl Handler<OrderConfirmed> for Mail {
    async fn handle(&self, tx: &mut Tx, event: Received<OrderConfirmed>) -> HandlerResult {
        let OrderConfirmed { order_id, customer_email, total, .. } = event.data;
        let content = Content::OrderConfirmed { total: money(total) };
        self.queue(tx, order_id, content, Some(customer_email)).await
    }
}

impl Handler<OrderCancelled> for Mail {
    async fn handle(&self, tx: &mut Tx, event: Received<OrderCancelled>) -> HandlerResult {
        let OrderCancelled { order_id, customer_email, reason: why, total, .. } = event.data;
        let content = Content::OrderCancelled { total: money(total), reason: reason(why) };
        self.queue(tx, order_id, content, Some(customer_email)).await
    }
}

impl Handler<PaymentRefunded> for Mail {
    /// It does not say whose the money is: that comes, or came, with the order's own events.
    async fn handle(&self, tx: &mut Tx, event: Received<PaymentRefunded>) -> HandlerResult {
        let PaymentRefunded { order_id, amount, .. } = event.data;
        let content = Content::PaymentRefunded { amount: money(amount) };
        self.queue(tx, order_id, content, None).await
    }
}

fn money(money: contracts::Money) -> Money {
    Money::new(money.amount_minor, money.currency)
}

fn reason(reason: order::CancelReason) -> CancelReason {
    match reason {
        order::CancelReason::OutOfStock => CancelReason::OutOfStock,
        order::CancelReason::PaymentDeclined => CancelReason::PaymentDeclined,
        order::CancelReason::CustomerRequest => CancelReason::CustomerRequest,
        order::CancelReason::TimedOut => CancelReason::TimedOut,
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
