//! Cancelling an order because its customer says so.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::ports::{Orders, StoreError};
use crate::domain::order::CancelReason;

/// Why an order is not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelOrderError {
    /// No such order.
    #[error("order is not known")]
    Unknown,
    /// It has ended before, in another way.
    #[error("order has ended in another way")]
    Ended,
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Cancels an order. One that its customer has cancelled before stays as it is.
///
/// # Errors
/// [`CancelOrderError`].
pub async fn cancel_order(
    orders: &mut impl Orders,
    order_id: Uuid,
    now: DateTime<Utc>,
) -> Result<(), CancelOrderError> {
    let mut order = orders.find(order_id).await?.ok_or(CancelOrderError::Unknown)?;
    if !order.cancel(CancelReason::CustomerRequest, now) {
        return Err(CancelOrderError::Ended);
    }
    Ok(orders.save(order).await?)
}
