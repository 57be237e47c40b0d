//! Setting goods aside for an order that was placed.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::ports::{Reservations, Stock, StoreError};
use crate::domain::reservation::{Charge, Line, Reservation, ReservationError, Status};

/// An order, as far as stock is concerned.
#[derive(Debug, Clone)]
pub struct ReserveStock {
    /// The order.
    pub order_id: Uuid,
    /// What it asks for, each SKU once.
    pub lines: Vec<Line>,
    /// What payment will need to know.
    pub charge: Charge,
}

/// Why an order could not be decided on.
#[derive(Debug, thiserror::Error)]
pub enum ReserveStockError {
    /// No order can be so.
    #[error(transparent)]
    Rule(#[from] ReservationError),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reserves all lines or rejects the order, unless it was decided on or cancelled before: then it
/// changes nothing.
///
/// # Errors
/// [`ReserveStockError`].
pub async fn reserve_stock(
    store: &mut (impl Stock + Reservations),
    command: ReserveStock,
    now: DateTime<Utc>,
) -> Result<(), ReserveStockError> {
    let ReserveStock { order_id, lines, charge } = command;
    let skus: Vec<String> = lines.iter().map(|line| line.sku.clone()).collect();
    let free = store.lock_free(&skus).await?;
    let reservation = Reservation::decide(order_id, lines, charge, &free, now)?;
    let (status, lines) = (reservation.status(), reservation.lines().to_vec());
    // Adding it is also the question whether there is one: asked before, it could come in between.
    if store.add_reservation(reservation).await? && status == Status::Reserved {
        store.set_aside(&lines).await?;
    }
    Ok(())
}
