//! What cancelled orders mean for their payments.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::ports::{Payments, StoreError};
use crate::domain::money::Money;
use crate::domain::payment::Payment;

/// Cancels the payments of orders: never charged if it can still be helped, given back otherwise. An
/// order whose payment is not known here yet gets a void one of its total, which whoever asks to charge
/// it will find.
///
/// # Errors
/// [`StoreError`].
pub async fn cancel_payments(
    payments: &mut impl Payments,
    mut totals: BTreeMap<Uuid, Money>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let order_ids: Vec<Uuid> = totals.keys().copied().collect();
    let mut found = payments.find_all(&order_ids).await?;
    for payment in &found {
        totals.remove(&payment.stored().order_id);
    }
    if !totals.is_empty() {
        let unknown: Vec<Uuid> = totals.keys().copied().collect();
        let void = totals.into_iter().map(|(order_id, total)| Payment::void(order_id, total, now));
        let added = payments.add_all(void.collect()).await?;
        // The wish to charge was committed between the two statements.
        let late: Vec<Uuid> = unknown.into_iter().filter(|id| !added.contains(id)).collect();
        if !late.is_empty() {
            found.extend(payments.find_all(&late).await?);
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    found.iter_mut().for_each(|payment| payment.cancel(now));
    payments.save_all(found).await
}
