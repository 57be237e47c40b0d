//! Setting goods aside for orders that were placed.

use std::collections::BTreeSet;

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

/// Reserves all lines of an order or rejects it, one order after the other, unless it was decided on or
/// cancelled before: then nothing is changed.
///
/// # Errors
/// [`ReserveStockError`].
pub async fn reserve_stock(
    store: &mut (impl Stock + Reservations),
    commands: Vec<ReserveStock>,
    now: DateTime<Utc>,
) -> Result<(), ReserveStockError> {
    let skus: BTreeSet<&String> = commands.iter().flat_map(|c| &c.lines).map(|l| &l.sku).collect();
    let skus: Vec<String> = skus.into_iter().cloned().collect();
    let mut free = store.lock_free(&skus).await?;
    let (mut reservations, mut set_aside) = (Vec::new(), Vec::new());
    for ReserveStock { order_id, lines, charge } in commands {
        let reservation = Reservation::decide(order_id, lines, charge, &free, now)?;
        if reservation.status() == Status::Reserved {
            for line in reservation.lines() {
                *free.entry(line.sku.clone()).or_default() -= i64::from(line.quantity);
                set_aside.push((order_id, line.clone()));
            }
        }
        reservations.push(reservation);
    }
    let all = reservations.len();
    let rejected = reservations.iter().any(|one| one.status() == Status::Rejected);
    // Adding them is also the question whether there are some: asked before, one could come in between.
    let added = store.add_reservations(reservations).await?;
    if rejected && all > 1 && added.len() < all {
        // What one that was known did not take was there for those behind it.
        return Err(StoreError::Conflict("reservations".to_owned()).into());
    }
    set_aside.retain(|(order_id, _)| added.contains(order_id));
    let lines: Vec<Line> = set_aside.into_iter().map(|(_, line)| line).collect();
    if lines.is_empty() { Ok(()) } else { Ok(store.set_aside(&lines).await?) }
}
