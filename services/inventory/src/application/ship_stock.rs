//! Sending the goods of a confirmed order.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::ports::{Reservations, Stock, StoreError};
use crate::domain::reservation::ReservationError;

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

/// Takes what is set aside for an order out of the warehouse, unless it has left before.
///
/// # Errors
/// [`ShipStockError`].
pub async fn ship_stock(
    store: &mut (impl Stock + Reservations),
    order_id: Uuid,
    now: DateTime<Utc>,
) -> Result<(), ShipStockError> {
    let mut reservation = store.reservation(order_id).await?.ok_or(ShipStockError::Unknown)?;
    if reservation.ship(now)? {
        store.take_out(order_id, reservation.lines()).await?;
        store.save_reservation(reservation).await?;
    }
    Ok(())
}
