//! Settling orders by what others report of them: the choreography's decisions.

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

/// Ends orders, unless they have ended before: then the first ending stands.
///
/// # Errors
/// [`SettleOrderError`].
pub async fn settle_orders(
    orders: &mut impl Orders,
    order_ids: &[Uuid],
    verdict: Verdict,
    now: DateTime<Utc>,
) -> Result<(), SettleOrderError> {
    let mut found = orders.find_all(order_ids).await?;
    if !order_ids.iter().all(|id| found.iter().any(|order| order.id() == *id)) {
        return Err(SettleOrderError::Unknown);
    }
    for order in &mut found {
        match verdict {
            Verdict::Paid => order.confirm(now),
            Verdict::Impossible(reason) => {
                order.cancel(reason, now);
            }
        }
    }
    Ok(orders.save_all(found).await?)
}
