//! Which payments this process may ask the gateway about. One holder at a time, over all replicas.

use chrono::TimeDelta;
use messaging::errand::{Leased, Taken};
use messaging::{Cause, Pool};

use crate::application::ports::Attempt;
use crate::domain::money::Money;
use crate::domain::payment::Wish;

/// How long a lease holds: longer than an attempt can take. A holder that died is found out at once
/// by its session lock; this bounds how long one that hangs can hold up a payment.
const TERM: TimeDelta = TimeDelta::seconds(30);

/// Leases on the service's payments.
#[derive(Clone)]
pub struct Leases(Pool);

impl Leases {
    /// Leases in the name of `pool`'s instance.
    pub fn new(pool: Pool) -> Self {
        Self(pool)
    }

    /// Leases at most `most` payments that are due and that nobody alive is at, the longest due
    /// first. Each counts as an attempt, and is in doubt from now on: should this process die, the
    /// next holder must not believe that nothing was sent.
    ///
    /// # Errors
    /// The database's own.
    pub async fn take(&self, most: usize) -> Result<Taken<Attempt>, sqlx::Error> {
        let (now, mut conn) = (self.0.clock().now(), self.0.connection().await?);
        // No join: the planner takes an array for short, but a table that was empty when it planned
        // for small.
        let rows = sqlx::query!(
            r#"with due as (
                select order_id, in_doubt from payments
                where next_attempt_at <= $1
                  and (lease_owner is null or lease_until < $1 or (lease_owner <> $2
                       and lease_owner not in (select messaging.live_instances())))
                order by next_attempt_at limit $3
                for update skip locked),
            leased as (
                update payments p
                set attempts = attempts + 1, in_doubt = true, lease_owner = $2, lease_until = $4
                where p.order_id = any(array(select order_id from due))
                returning p.*)
            select l.order_id as "order_id?", amount_minor as "amount_minor?",
                currency as "currency?", payment_method as "payment_method?",
                charge_id as "charge_id?", attempts as "attempts?",
                due.in_doubt as "was_in_doubt?", correlation_id as "correlation_id?",
                causation_id as "causation_id?", traceparent as "traceparent?",
                tracestate as "tracestate?",
                (select next_attempt_at from payments where next_attempt_at > $1
                 order by next_attempt_at limit 1) as next_due
            from (select 1) as always left join (leased l join due using (order_id)) on true"#,
            now,
            self.0.instance().number(),
            i64::try_from(most).unwrap_or(i64::MAX),
            now + TERM,
        )
        .fetch_all(&mut *conn)
        .await?;
        conn.put_back();
        let next_due = rows.first().and_then(|row| row.next_due);
        let leased = rows.into_iter().filter_map(|row| {
            let attempt = Attempt {
                order_id: row.order_id?,
                amount: Money::new(row.amount_minor?, row.currency?),
                wish: wish(row.charge_id, row.payment_method)?,
                number: row.attempts?.unsigned_abs(),
                in_doubt: row.was_in_doubt?,
            };
            let (traceparent, tracestate) = (row.traceparent.as_deref(), row.tracestate.as_deref());
            let (chain, causation_id) = (row.correlation_id?, row.causation_id);
            let cause = Cause::resumed(chain, causation_id, traceparent, tracestate);
            Some(Leased { attempt, cause })
        });
        Ok(Taken { leased: leased.collect(), next_due })
    }
}

/// A payment that is due wishes for its money back if it was charged, for its charge otherwise.
fn wish(charge_id: Option<String>, payment_method: Option<String>) -> Option<Wish> {
    match charge_id {
        Some(charge_id) => Some(Wish::Refund { charge_id }),
        None => Some(Wish::Charge { payment_method: payment_method? }),
    }
}
