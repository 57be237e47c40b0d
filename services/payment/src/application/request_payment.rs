//! Taking down that an order is to be charged. Charging it is another use case.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::ports::{Payments, StoreError};
use crate::domain::money::Money;
use crate::domain::payment::Payment;

/// What is to be charged.
#[derive(Debug, Clone)]
pub struct RequestPayment {
    /// For which order.
    pub order_id: Uuid,
    /// How much.
    pub amount: Money,
    /// The gateway's token for how it is paid.
    pub payment_method: String,
}

/// Stores the wish to charge an order. One that has a payment keeps it, also where that is void
/// because the cancellation came first.
///
/// # Errors
/// [`StoreError`].
pub async fn request_payment(
    payments: &mut impl Payments,
    command: RequestPayment,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let RequestPayment { order_id, amount, payment_method } = command;
    payments.add(Payment::requested(order_id, amount, payment_method, now)).await?;
    Ok(())
}
