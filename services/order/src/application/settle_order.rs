//! Settling an order by what others report of it: the choreography's decisions.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::ports::{Orders, StoreError};
use crate::domain::order::CancelReason;

/// What was reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The money is there.
    Paid,
    /// It cannot happen.
    Impossible(CancelReason),
}

/// Why an order could not be settled.
#[derive(Debug, thiserror::Error)]
pub enum SettleOrderError {
    /// No such order. Its events come from us, so it can only be ahead of our own commit.
    #[error("order is not known")]
    Unknown,
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Ends an order, unless it has ended before: then the first ending stands.
///
/// # Errors
/// [`SettleOrderError`].
pub async fn settle_order(
    orders: &mut impl Orders,
    order_id: Uuid,
    verdict: Verdict,
    now: DateTime<Utc>,
) -> Result<(), SettleOrderError> {
    let mut order = orders.find(order_id).await?.ok_or(SettleOrderError::Unknown)?;
    match verdict {
        Verdict::Paid => order.confirm(now),
        Verdict::Impossible(reason) => {
            order.cancel(reason, now);
        }
    }
    Ok(orders.save(order).await?)
}
