//! What other services tell email. The consumer owns the transaction of each message.

use contracts::order::{self, OrderCancelled, OrderConfirmed};
use contracts::payment::PaymentRefunded;
use messaging::step::Signal;
use messaging::{Causes, HandlerError, HandlerResult, Handlers, ManyHandler, Received, Tx};
use uuid::Uuid;

use crate::application::ports::StoreError;
use crate::application::queue_emails::{QueueEmail, queue_emails};
use crate::domain::email::{CancelReason, Content};
use crate::domain::money::Money;
use crate::store_of_many;

/// What email listens to. `wanted` wakes the task that sends mail, whose Message-IDs are given in the
/// name of `domain`.
pub fn handlers(wanted: &Signal, domain: &str) -> Handlers {
    let mail = Mail { wanted: wanted.clone(), domain: domain.to_owned() };
    Handlers::new()
        .on_many::<OrderConfirmed>(mail.clone())
        .on_many::<OrderCancelled>(mail.clone())
        .on_many::<PaymentRefunded>(mail)
}

/// Takes down what is to be sent. The mail server itself is not called from here.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Given when there is something new to send.
    pub wanted: Signal,
    /// The right-hand side of Message-IDs.
    pub domain: String,
}

/// What an event says of a mail that is to be sent: about which order, what, and to whom if it says so.
type Wish = (Uuid, Content, Option<String>);

impl Mail {
    async fn queue<E>(
        &self,
        tx: &mut Tx,
        events: Vec<Received<E>>,
        wish: fn(E) -> Wish,
    ) -> HandlerResult {
        let (now, mut causes, mut commands) = (tx.now(), Causes::new(), Vec::new());
        for Received { data, cause, .. } in events {
            let (order_id, content, customer_email) = wish(data);
            let (email_id, domain) = (tx.new_id(), self.domain.clone());
            commands.push(QueueEmail { email_id, order_id, content, customer_email, domain });
            causes.insert(order_id, cause);
        }
        queue_emails(&mut store_of_many(tx, causes), commands, now).await?;
        tx.after_commit(&self.wanted);
        Ok(())
    }
}

impl ManyHandler<OrderConfirmed> for Mail {
    async fn handle_many(
        &self,
        tx: &mut Tx,
        events: Vec<Received<OrderConfirmed>>,
    ) -> HandlerResult {
        let wish = |OrderConfirmed { order_id, customer_email, total, .. }| {
            (order_id, Content::OrderConfirmed { total: money(total) }, Some(customer_email))
        };
        self.queue(tx, events, wish).await
    }
}

impl ManyHandler<OrderCancelled> for Mail {
    async fn handle_many(
        &self,
        tx: &mut Tx,
        events: Vec<Received<OrderCancelled>>,
    ) -> HandlerResult {
        let wish = |OrderCancelled { order_id, customer_email, reason: why, total, .. }| {
            let content = Content::OrderCancelled { total: money(total), reason: reason(why) };
            (order_id, content, Some(customer_email))
        };
        self.queue(tx, events, wish).await
    }
}

impl ManyHandler<PaymentRefunded> for Mail {
    /// It does not say whose the money is: that comes, or came, with the order's own events.
    async fn handle_many(
        &self,
        tx: &mut Tx,
        events: Vec<Received<PaymentRefunded>>,
    ) -> HandlerResult {
        let wish = |PaymentRefunded { order_id, amount, .. }| {
            (order_id, Content::PaymentRefunded { amount: money(amount) }, None)
        };
        self.queue(tx, events, wish).await
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
