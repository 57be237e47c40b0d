//! Making the gateway do what a payment wishes for, and taking down what came of it. The two halves
//! have no transaction in common: the gateway is asked outside of any.

use chrono::{DateTime, Utc};

use super::ports::{Attempt, Gateway, GatewayError, Outcome, Payments, StoreError};

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

/// Stores what came of an attempt and tells of it. Returns when the gateway is to be asked again,
/// if it is. `unit` is a draw from `[0, 1)` for the pause after a failure.
///
/// # Errors
/// [`StoreError`].
pub async fn record(
    payments: &mut impl Payments,
    attempt: &Attempt,
    answer: &Result<Outcome, GatewayError>,
    unit: f64,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    let Some(mut payment) = payments.find(attempt.order_id).await? else {
        return Ok(None);
    };
    match answer.clone() {
        Ok(Outcome::Captured { charge_id }) => payment.captured(charge_id, now),
        Ok(Outcome::Declined { reason }) => payment.declined(reason, now),
        Ok(Outcome::Refunded { refund_id }) => payment.refunded(refund_id, now),
        Err(error) => {
            let untouched = error == GatewayError::Unreachable && !attempt.in_doubt;
            payment.failed(attempt.number, untouched, unit, now);
        }
    }
    let again = payment.stored().effort.due_at;
    payments.save(payment).await?;
    Ok(again)
}
