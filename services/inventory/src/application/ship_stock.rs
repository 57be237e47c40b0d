//! Sending the goods of confirmed orders.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::ports::{Reservations, Stock, StoreError};
use crate::domain::reservation::{ReservationError, by_order};

/// Why goods could not leave.
#[derive(Debug, thiserror::Error)]
pub enum ShipStockError {
    /// The order is not known here. It was placed before it was confirmed, so it is on its way.
    #[error("order is not known")]
    Unknown,
    /// It should never have been confirmed.
    #[error(transparent)]
    Rule(#[from] ReservationError),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes what is set aside for orders out of the warehouse, unless it has left before.
///
/// # Errors
/// [`ShipStockError`].
pub async fn ship_stock(
    store: &mut (impl Stock + Reservations),
    order_ids: &[Uuid],
    now: DateTime<Utc>,
) -> Result<(), ShipStockError> {
    let mut known = by_order(store.reservations(order_ids).await?);
    let (mut shipped, mut lines) = (Vec::new(), Vec::new());
    for order_id in order_ids {
        let reservation = known.get_mut(order_id).ok_or(ShipStockError::Unknown)?;
        if reservation.ship(now)? {
            shipped.push(*order_id);
            lines.extend(reservation.lines().iter().map(|line| (*order_id, line.clone())));
        }
    }
    if shipped.is_empty() {
        return Ok(());
    }
    store.take_out(&lines).await?;
    known.retain(|order_id, _| shipped.contains(order_id));
    Ok(store.save_reservations(known.into_values().collect()).await?)
}
