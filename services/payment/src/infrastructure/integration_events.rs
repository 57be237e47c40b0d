//! From what happened to a payment to what others are told of it.

use contracts::payment::{PaymentCaptured, PaymentDeclined, PaymentRefunded};
use contracts::{Currency, Money};
use messaging::Tx;

use crate::application::ports::StoreError;
use crate::domain::payment::{Payment, PaymentEvent};

/// Publishes one domain event of `payment` as its contract.
pub(super) fn publish(
    tx: &mut Tx,
    payment: &Payment,
    version: u32,
    event: PaymentEvent,
) -> Result<(), StoreError> {
    let order_id = payment.stored().order_id;
    match event {
        PaymentEvent::Captured { charge_id } => {
            let amount = amount(payment)?;
            tx.publish(&PaymentCaptured { order_id, charge_id, amount }, version)?;
        }
        PaymentEvent::Declined { reason } => {
            tx.publish(&PaymentDeclined { order_id, reason }, version)?;
        }
        PaymentEvent::Refunded { refund_id } => {
            let amount = amount(payment)?;
            tx.publish(&PaymentRefunded { order_id, refund_id, amount }, version)?;
        }
    }
    Ok(())
}

fn amount(payment: &Payment) -> Result<Money, StoreError> {
    let amount = payment.stored().amount.clone();
    let currency = Currency::try_from(amount.currency)
        .map_err(|error| sqlx::Error::Decode(error.to_string().into()))?;
    Ok(Money::new(amount.amount_minor, currency))
}
