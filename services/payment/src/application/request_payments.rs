//! Taking down that orders are to be charged. Charging them is another use case.

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

/// Stores the wish to charge each order. One that has a payment keeps it, also where that is void
/// because the cancellation came first.
///
/// # Errors
/// [`StoreError`].
pub async fn request_payments(
    payments: &mut impl Payments,
    commands: Vec<RequestPayment>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let requested = commands.into_iter().map(|command| {
        let RequestPayment { order_id, amount, payment_method } = command;
        Payment::requested(order_id, amount, payment_method, now)
    });
    payments.add_all(requested.collect()).await?;
    Ok(())
}
