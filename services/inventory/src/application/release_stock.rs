//! Giving back the goods of a cancelled order.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::ports::{Reservations, Stock, StoreError};
use crate::domain::reservation::{Reservation, ReservationError};

/// Why goods could not be given back.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseStockError {
    /// The order should never have been cancelled.
    #[error(transparent)]
    Rule(#[from] ReservationError),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Frees what is set aside for an order, if anything is. An order that is not known yet is
/// remembered, so that it reserves nothing when it comes.
///
/// # Errors
/// [`ReleaseStockError`].
pub async fn release_stock(
    store: &mut (impl Stock + Reservations),
    order_id: Uuid,
    now: DateTime<Utc>,
) -> Result<(), ReleaseStockError> {
    let Some(mut reservation) = known_or_remembered(store, order_id, now).await? else {
        return Ok(());
    };
    if reservation.release(now)? {
        store.set_free(reservation.lines()).await?;
        store.save_reservation(reservation).await?;
    }
    Ok(())
}

/// None when the order was not known, and now is remembered as cancelled.
async fn known_or_remembered(
    store: &mut impl Reservations,
    order_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<Reservation>, StoreError> {
    if let Some(reservation) = store.reservation(order_id).await? {
        return Ok(Some(reservation));
    }
    if store.add_reservation(Reservation::cancelled(order_id, now)).await? {
        return Ok(None);
    }
    // The order came in between, and was decided on.
    let reservation = store.reservation(order_id).await?;
    reservation.map(Some).ok_or_else(|| StoreError::Conflict(format!("reservation/{order_id}")))
}
