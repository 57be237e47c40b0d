//! Which mails this process may send. One holder at a time, over all replicas.

use chrono::TimeDelta;
use messaging::errand::{Leased, Taken};
use messaging::{Cause, Pool};
use sqlx::types::Json;

use super::data::{Data, content};
use crate::application::ports::Attempt;
use crate::domain::email::Content;

/// How long a lease holds: longer than an attempt can take. A holder that died is found out at once
/// by its session lock; this bounds how long one that hangs can hold up a mail.
const TERM: TimeDelta = TimeDelta::seconds(120);

/// Leases on the service's mails.
#[derive(Clone)]
pub struct Leases(Pool);

impl Leases {
    /// Leases in the name of `pool`'s instance.
    pub fn new(pool: Pool) -> Self {
        Self(pool)
    }

    /// Leases at most `most` mails that are due and that nobody alive is sending, the longest due
    /// first. Each counts as an attempt.
    ///
    /// # Errors
    /// The database's own.
    pub async fn take(&self, most: usize) -> Result<Taken<Attempt>, sqlx::Error> {
        let (now, mut conn) = (self.0.clock().now(), self.0.connection().await?);
        // No join: the planner takes an array for short, but a table that was empty when it planned
        // for small.
        let rows = sqlx::query!(
            r#"with due as (
                select id from emails
                where next_attempt_at <= $1
                  and (lease_owner is null or lease_until < $1 or (lease_owner <> $2
                       and lease_owner not in (select messaging.live_instances())))
                order by next_attempt_at limit $3
                for update skip locked),
            leased as (
                update emails e
                set attempts = attempts + 1, lease_owner = $2, lease_until = $4
                where e.id = any(array(select id from due))
                returning e.*)
            select id as "id?", order_id as "order_id?", template as "template?",
                recipient as "recipient?", data as "data?: Json<Data>",
                message_id as "message_id?", attempts as "attempts?",
                created_at as "created_at?", correlation_id as "correlation_id?",
                causation_id as "causation_id?", traceparent as "traceparent?",
                tracestate as "tracestate?",
                (select next_attempt_at from emails where next_attempt_at > $1
                 order by next_attempt_at limit 1) as next_due
            from (select 1) as always left join leased on true"#,
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
                email_id: row.id?,
                order_id: row.order_id?,
                content: readable(&row.template?, row.data?)?,
                recipient: row.recipient?,
                message_id: row.message_id?,
                date: row.created_at?,
                number: row.attempts?.unsigned_abs(),
            };
            let (traceparent, tracestate) = (row.traceparent.as_deref(), row.tracestate.as_deref());
            let (chain, causation_id) = (row.correlation_id?, row.causation_id);
            let cause = Cause::resumed(chain, causation_id, traceparent, tracestate);
            Some(Leased { attempt, cause })
        });
        Ok(Taken { leased: leased.collect(), next_due })
    }
}

/// None, and a word to the operator, where a newer version has written what this one cannot read:
/// its lease runs out, and another may take it.
fn readable(template: &str, data: Json<Data>) -> Option<Content> {
    content(template, data.0).inspect_err(|error| tracing::error!(%error, "unreadable email")).ok()
}
