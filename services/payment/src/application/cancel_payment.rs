//! What a cancelled order means for its payment.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::ports::{Payments, StoreError};
use crate::domain::money::Money;
use crate::domain::payment::Payment;

/// Cancels the payment of an order: never charged if it can still be helped, given back otherwise.
/// An order whose payment is not known here yet gets a void one, which whoever asks to charge it
/// will find.
///
/// # Errors
/// [`StoreError`].
pub async fn cancel_payment(
    payments: &mut impl Payments,
    order_id: Uuid,
    total: Money,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let mut found = payments.find(order_id).await?;
    if found.is_none() {
        if payments.add(Payment::void(order_id, total, now)).await? {
            return Ok(());
        }
        // The wish to charge was committed between the two statements.
        found = payments.find(order_id).await?;
    }
    let mut payment = found.ok_or(StoreError::Conflict(order_id))?;
    payment.cancel(now);
    payments.save(payment).await
}
