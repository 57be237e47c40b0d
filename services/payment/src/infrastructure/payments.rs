//! Payments in Postgres.

use messaging::Cause;
use opentelemetry::trace::TraceContextExt as _;
use uuid::Uuid;

use super::{Store, integration_events};
use crate::application::ports::{Payments, StoreError};
use crate::domain::money::Money;
use crate::domain::payment::{Effort, Payment, Status, Stored};

impl Payments for Store<'_> {
    async fn find(&mut self, order_id: Uuid) -> Result<Option<Payment>, StoreError> {
        let row = sqlx::query!(
            r#"select amount_minor, currency, payment_method, status, attempts, failures, in_doubt,
                decline_reason, charge_id, refund_id, version, next_attempt_at, created_at,
                updated_at, cancelled_at, lease_owner is not null as "under_way!"
            from payments where order_id = $1 for update"#,
            order_id,
        )
        .fetch_optional(self.0.conn())
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Payment::load(Stored {
            order_id,
            amount: Money::new(row.amount_minor, row.currency),
            payment_method: row.payment_method,
            status: status_from(&row.status)?,
            effort: Effort {
                attempts: row.attempts.unsigned_abs(),
                failures: row.failures.unsigned_abs(),
                in_doubt: row.in_doubt,
                under_way: row.under_way,
                due_at: row.next_attempt_at,
            },
            decline_reason: row.decline_reason,
            charge_id: row.charge_id,
            refund_id: row.refund_id,
            version: row.version.unsigned_abs(),
            created_at: row.created_at,
            updated_at: row.updated_at,
            cancelled_at: row.cancelled_at,
        })))
    }

    async fn add(&mut self, payment: Payment) -> Result<bool, StoreError> {
        let stored = payment.stored();
        let cause = StoredCause::of(self.0.cause());
        let added = sqlx::query!(
            "insert into payments (order_id, amount_minor, currency, payment_method, status,
                correlation_id, causation_id, traceparent, tracestate, next_attempt_at, created_at,
                updated_at, cancelled_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12)
            on conflict (order_id) do nothing",
            stored.order_id,
            stored.amount.amount_minor,
            stored.amount.currency,
            stored.payment_method,
            status_name(stored.status),
            cause.correlation_id,
            cause.causation_id,
            cause.traceparent,
            cause.tracestate,
            stored.effort.due_at,
            stored.created_at,
            stored.cancelled_at,
        )
        .execute(self.0.conn())
        .await?;
        Ok(added.rows_affected() == 1)
    }

    async fn save(&mut self, mut payment: Payment) -> Result<(), StoreError> {
        let events = payment.take_events();
        self.update(payment.stored()).await?;
        for (version, event) in events {
            integration_events::publish(self.0, &payment, version, event)?;
        }
        Ok(())
    }
}

impl Store<'_> {
    /// What is done about a cancelled order is done because of the cancellation, so the cause is
    /// stored anew by the transaction that sees it first.
    async fn update(&mut self, stored: &Stored) -> Result<(), StoreError> {
        let Stored { order_id, effort, .. } = stored;
        let cause = StoredCause::of(self.0.cause());
        let updated = sqlx::query!(
            "update payments set status = $2, attempts = $3, failures = $4, in_doubt = $5,
                lease_owner = case when $6 then lease_owner end,
                lease_until = case when $6 then lease_until end,
                next_attempt_at = $7, decline_reason = $8, charge_id = $9, refund_id = $10,
                version = $11, updated_at = $12, cancelled_at = $13,
                causation_id = case when cancelled_at is null and $13::timestamptz is not null
                    then $14 else causation_id end,
                traceparent = case when cancelled_at is null and $13::timestamptz is not null
                    then $15 else traceparent end,
                tracestate = case when cancelled_at is null and $13::timestamptz is not null
                    then $16 else tracestate end
            where order_id = $1",
            order_id,
            status_name(stored.status),
            effort.attempts as i32,
            effort.failures as i32,
            effort.in_doubt,
            effort.under_way,
            effort.due_at,
            stored.decline_reason,
            stored.charge_id,
            stored.refund_id,
            stored.version as i32,
            stored.updated_at,
            stored.cancelled_at,
            cause.causation_id,
            cause.traceparent,
            cause.tracestate,
        )
        .execute(self.0.conn())
        .await?;
        if updated.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Conflict(*order_id)) }
    }
}

/// A cause as it stands in its columns.
struct StoredCause {
    correlation_id: Uuid,
    causation_id: Option<Uuid>,
    traceparent: Option<String>,
    tracestate: Option<String>,
}

impl StoredCause {
    fn of(cause: &Cause) -> Self {
        let tracestate = cause.context().span().span_context().trace_state().header();
        Self {
            correlation_id: cause.correlation_id(),
            causation_id: cause.causation_id(),
            traceparent: cause.traceparent(),
            tracestate: Some(tracestate).filter(|state| !state.is_empty()),
        }
    }
}

fn status_name(status: Status) -> &'static str {
    match status {
        Status::Pending => "pending",
        Status::Captured => "captured",
        Status::Declined => "declined",
        Status::Refunded => "refunded",
        Status::Void => "void",
    }
}

fn status_from(name: &str) -> Result<Status, sqlx::Error> {
    match name {
        "pending" => Ok(Status::Pending),
        "captured" => Ok(Status::Captured),
        "declined" => Ok(Status::Declined),
        "refunded" => Ok(Status::Refunded),
        "void" => Ok(Status::Void),
        other => Err(sqlx::Error::Decode(format!("status is {other:?}").into())),
    }
}
