//! Cancelling an order that nobody has finished in time.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::ports::{Orders, StoreError};

/// Cancels a pending order whose deadline has come. Returns whether it did: an order that somebody
/// works on right now is left to them, and to the next look.
///
/// # Errors
/// [`StoreError`].
pub async fn expire_order(
    orders: &mut impl Orders,
    order_id: Uuid,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let Some(mut order) = orders.take_pending(order_id).await? else { return Ok(false) };
    let timed_out = order.time_out(now);
    orders.save(order).await?;
    Ok(timed_out)
}
