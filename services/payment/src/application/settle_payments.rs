//! Making the gateway do what payments wish for, and taking down what came of it. The two halves
//! have no transaction in common: the gateway is asked outside of any.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::ports::{Attempt, Gateway, GatewayError, Outcome, Payments, StoreError};
use crate::domain::payment::Payment;

/// Asks the gateway. Where an earlier call may have reached it, the truth is looked up first.
///
/// Finding nothing proves nothing, as that call may still be on its way: asking again with the same
/// key is what brings the one outcome there will ever be. This holds for a cancelled order too; its
/// money then goes back.
///
/// # Errors
/// [`GatewayError`] when there is no outcome yet.
pub async fn ask(gateway: &mut impl Gateway, attempt: &Attempt) -> Result<Outcome, GatewayError> {
    if attempt.in_doubt
        && let Some(outcome) = gateway.look_up(attempt).await?
    {
        return Ok(outcome);
    }
    gateway.fulfil(attempt).await
}

/// What came of an attempt.
#[derive(Debug, Clone)]
pub struct Settled<'a> {
    /// The attempt.
    pub attempt: &'a Attempt,
    /// What the gateway said.
    pub answer: &'a Result<Outcome, GatewayError>,
    /// A draw from `[0, 1)`, for the pause after a failure.
    pub unit: f64,
}

/// Stores what came of attempts and tells of it. Returns when the gateway is to be asked again about
/// the first of them, if it is.
///
/// # Errors
/// [`StoreError`].
pub async fn record(
    payments: &mut impl Payments,
    settled: &[Settled<'_>],
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    let order_ids: Vec<Uuid> = settled.iter().map(|one| one.attempt.order_id).collect();
    let mut found = payments.find_all(&order_ids).await?;
    for one in settled {
        let of = |payment: &&mut Payment| payment.stored().order_id == one.attempt.order_id;
        if let Some(payment) = found.iter_mut().find(of) {
            take_down(payment, one, now);
        }
    }
    let again = found.iter().filter_map(|payment| payment.stored().effort.due_at).min();
    if !found.is_empty() {
        payments.save_all(found).await?;
    }
    Ok(again)
}

fn take_down(payment: &mut Payment, settled: &Settled<'_>, now: DateTime<Utc>) {
    let Settled { attempt, answer, unit } = *settled;
    match answer.clone() {
        Ok(Outcome::Captured { charge_id }) => payment.captured(charge_id, now),
        Ok(Outcome::Declined { reason }) => payment.declined(reason, now),
        Ok(Outcome::Refunded { refund_id }) => payment.refunded(refund_id, now),
        Err(error) => {
            let untouched = error == GatewayError::Unreachable && !attempt.in_doubt;
            payment.failed(attempt.number, untouched, unit, now);
        }
    }
}
