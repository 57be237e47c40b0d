//! Giving back the goods of cancelled orders.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::ports::{Reservations, Stock, StoreError};
use crate::domain::reservation::{Reservation, ReservationError, by_order};

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

/// Frees what is set aside for orders, if anything is. An order that is not known yet is remembered, so
/// that it reserves nothing when it comes.
///
/// # Errors
/// [`ReleaseStockError`].
pub async fn release_stock(
    store: &mut (impl Stock + Reservations),
    order_ids: &[Uuid],
    now: DateTime<Utc>,
) -> Result<(), ReleaseStockError> {
    let mut known = by_order(known_or_remembered(store, order_ids, now).await?);
    let (mut released, mut lines) = (Vec::new(), Vec::new());
    for order_id in order_ids {
        let Some(reservation) = known.get_mut(order_id) else { continue };
        if reservation.release(now)? {
            released.push(*order_id);
            lines.extend_from_slice(reservation.lines());
        }
    }
    if released.is_empty() {
        return Ok(());
    }
    store.set_free(&lines).await?;
    known.retain(|order_id, _| released.contains(order_id));
    Ok(store.save_reservations(known.into_values().collect()).await?)
}

/// The reservations of those that were known; the others are remembered as cancelled now.
async fn known_or_remembered(
    store: &mut impl Reservations,
    order_ids: &[Uuid],
    now: DateTime<Utc>,
) -> Result<Vec<Reservation>, StoreError> {
    let mut known = store.reservations(order_ids).await?;
    let is_known = |id| known.iter().any(|reservation| reservation.order_id() == id);
    let mut new: Vec<Uuid> = order_ids.iter().copied().filter(|id| !is_known(*id)).collect();
    new.sort_unstable();
    new.dedup();
    if new.is_empty() {
        return Ok(known);
    }
    let cancelled = new.iter().map(|order_id| Reservation::cancelled(*order_id, now));
    let added = store.add_reservations(cancelled.collect()).await?;
    // The order came in between, and was decided on.
    new.retain(|order_id| !added.contains(order_id));
    if !new.is_empty() {
        known.extend(store.reservations(&new).await?);
    }
    Ok(known)
}
