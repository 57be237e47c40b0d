//! From what happened to an order to what others are told of it.

use contracts::order::{CancelReason, Line, OrderCancelled, OrderConfirmed, OrderPlaced};
use contracts::{Currency, Money};
use messaging::Tx;

use crate::application::ports::StoreError;
use crate::domain::order::{self, Order, OrderEvent};

/// Publishes one domain event of `order` as its contract.
pub(super) fn publish(
    tx: &mut Tx,
    order: &Order,
    version: u32,
    event: OrderEvent,
) -> Result<(), StoreError> {
    let order_id = order.id();
    let customer_email = order.basket().customer_email.clone();
    match event {
        OrderEvent::Placed => {
            let placed = OrderPlaced {
                order_id,
                customer_id: order.basket().customer_id,
                customer_email,
                lines: order.basket().lines.iter().map(line).collect(),
                total: total(order)?,
                payment_method: order.basket().payment_method.clone(),
                placed_at: order.placed_at(),
            };
            tx.publish(&placed, version)?;
        }
        OrderEvent::Confirmed => {
            let confirmed_at = order.updated_at();
            let total = total(order)?;
            tx.publish(&OrderConfirmed { order_id, customer_email, total, confirmed_at }, version)?;
        }
        OrderEvent::Cancelled(why) => {
            let (reason, total, cancelled_at) = (reason(why), total(order)?, order.updated_at());
            let cancelled =
                OrderCancelled { order_id, customer_email, reason, total, cancelled_at };
            tx.publish(&cancelled, version)?;
        }
    }
    Ok(())
}

fn line(line: &order::Line) -> Line {
    Line { sku: line.sku.clone(), quantity: line.quantity }
}

fn total(order: &Order) -> Result<Money, StoreError> {
    let total = order.total();
    let currency = Currency::try_from(total.currency)
        .map_err(|error| sqlx::Error::Decode(error.to_string().into()))?;
    Ok(Money::new(total.amount_minor, currency))
}

fn reason(reason: order::CancelReason) -> CancelReason {
    match reason {
        order::CancelReason::OutOfStock => CancelReason::OutOfStock,
        order::CancelReason::PaymentDeclined => CancelReason::PaymentDeclined,
        order::CancelReason::CustomerRequest => CancelReason::CustomerRequest,
        order::CancelReason::TimedOut => CancelReason::TimedOut,
    }
}
