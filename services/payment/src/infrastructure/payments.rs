//! Payments in Postgres.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use messaging::Cause;
use opentelemetry::trace::TraceContextExt as _;
use uuid::Uuid;

use super::{Store, integration_events};
use crate::application::ports::{Payments, StoreError};
use crate::domain::money::Money;
use crate::domain::payment::{Effort, Payment, Status, Stored};

impl Payments for Store<'_> {
    async fn find_all(&mut self, order_ids: &[Uuid]) -> Result<Vec<Payment>, StoreError> {
        let rows = sqlx::query!(
            r#"select order_id, amount_minor, currency, payment_method, status, attempts, failures,
                in_doubt, decline_reason, charge_id, refund_id, version, next_attempt_at, created_at,
                updated_at, cancelled_at, lease_owner is not null as "under_way!"
            from payments where order_id = any($1) order by order_id for update"#,
            order_ids,
        )
        .fetch_all(self.0.conn())
        .await?;
        let payments = rows.into_iter().map(|row| {
            Ok(Payment::load(Stored {
                order_id: row.order_id,
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
            }))
        });
        payments.collect()
    }

    async fn add_all(&mut self, payments: Vec<Payment>) -> Result<HashSet<Uuid>, StoreError> {
        let new = self.columns(&payments);
        let added = sqlx::query_scalar!(
            "insert into payments (order_id, amount_minor, currency, payment_method, status,
                correlation_id, causation_id, traceparent, tracestate, next_attempt_at, created_at,
                updated_at, cancelled_at)
            select order_id, amount_minor, currency, payment_method, status, correlation_id,
                causation_id, traceparent, tracestate, due_at, created_at, created_at, cancelled_at
            from unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::uuid[],
                    $7::uuid[], $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[],
                    $12::timestamptz[])
                as t (order_id, amount_minor, currency, payment_method, status, correlation_id,
                    causation_id, traceparent, tracestate, due_at, created_at, cancelled_at)
            order by order_id
            on conflict (order_id) do nothing
            returning order_id",
            &new.order_ids,
            &new.amounts,
            &new.currencies as &[&str],
            &new.payment_methods as &[Option<&str>],
            &new.statuses as &[&str],
            &new.correlation_ids,
            &new.causation_ids as &[Option<Uuid>],
            &new.traceparents as &[Option<String>],
            &new.tracestates as &[Option<String>],
            &new.due_at as &[Option<DateTime<Utc>>],
            &new.created_at,
            &new.cancelled_at as &[Option<DateTime<Utc>>],
        )
        .fetch_all(self.0.conn())
        .await?;
        Ok(added.into_iter().collect())
    }

    async fn save_all(&mut self, mut payments: Vec<Payment>) -> Result<(), StoreError> {
        let news: Vec<_> = payments.iter_mut().map(Payment::take_events).collect();
        self.update(&payments).await?;
        for (payment, events) in payments.iter().zip(news) {
            self.turn_to(payment.stored().order_id);
            for (version, event) in events {
                integration_events::publish(self.0, payment, version, event)?;
            }
        }
        Ok(())
    }
}

impl Store<'_> {
    /// What is done about a cancelled order is done because of the cancellation, so the cause is
    /// stored anew by the transaction that sees it first.
    async fn update(&mut self, payments: &[Payment]) -> Result<(), StoreError> {
        let changed = self.columns(payments);
        let updated = sqlx::query!(
            "update payments p set status = t.status, attempts = t.attempts,
                failures = t.failures, in_doubt = t.in_doubt,
                lease_owner = case when t.under_way then p.lease_owner end,
                lease_until = case when t.under_way then p.lease_until end,
                next_attempt_at = t.due_at, decline_reason = t.decline_reason,
                charge_id = t.charge_id, refund_id = t.refund_id, version = t.version,
                updated_at = t.updated_at, cancelled_at = t.cancelled_at,
                causation_id = case when p.cancelled_at is null and t.cancelled_at is not null
                    then t.causation_id else p.causation_id end,
                traceparent = case when p.cancelled_at is null and t.cancelled_at is not null
                    then t.traceparent else p.traceparent end,
                tracestate = case when p.cancelled_at is null and t.cancelled_at is not null
                    then t.tracestate else p.tracestate end
            from unnest($1::uuid[], $2::text[], $3::int[], $4::int[], $5::bool[], $6::bool[],
                    $7::timestamptz[], $8::text[], $9::text[], $10::text[], $11::int[],
                    $12::timestamptz[], $13::timestamptz[], $14::uuid[], $15::text[], $16::text[])
                as t (order_id, status, attempts, failures, in_doubt, under_way, due_at,
                    decline_reason, charge_id, refund_id, version, updated_at, cancelled_at,
                    causation_id, traceparent, tracestate)
            where p.order_id = any($1) and p.order_id = t.order_id",
            &changed.order_ids,
            &changed.statuses as &[&str],
            &changed.attempts,
            &changed.failures,
            &changed.in_doubt,
            &changed.under_way,
            &changed.due_at as &[Option<DateTime<Utc>>],
            &changed.decline_reasons as &[Option<&str>],
            &changed.charge_ids as &[Option<&str>],
            &changed.refund_ids as &[Option<&str>],
            &changed.versions,
            &changed.updated_at,
            &changed.cancelled_at as &[Option<DateTime<Utc>>],
            &changed.causation_ids as &[Option<Uuid>],
            &changed.traceparents as &[Option<String>],
            &changed.tracestates as &[Option<String>],
        )
        .execute(self.0.conn())
        .await?;
        if updated.rows_affected() != payments.len() as u64 {
            let first = payments.first().map(|payment| payment.stored().order_id);
            return Err(StoreError::Conflict(first.unwrap_or_default()));
        }
        Ok(())
    }

    fn columns<'p>(&self, payments: &'p [Payment]) -> Columns<'p> {
        let mut columns = Columns::default();
        for payment in payments {
            let stored = payment.stored();
            let cause = self.1.get(&stored.order_id).unwrap_or_else(|| self.0.cause());
            columns.push(stored, StoredCause::of(cause));
        }
        columns
    }
}

/// Payments as lists side by side, for `unnest`.
#[derive(Default)]
struct Columns<'a> {
    order_ids: Vec<Uuid>,
    amounts: Vec<i64>,
    currencies: Vec<&'a str>,
    payment_methods: Vec<Option<&'a str>>,
    statuses: Vec<&'static str>,
    attempts: Vec<i32>,
    failures: Vec<i32>,
    in_doubt: Vec<bool>,
    under_way: Vec<bool>,
    due_at: Vec<Option<DateTime<Utc>>>,
    decline_reasons: Vec<Option<&'a str>>,
    charge_ids: Vec<Option<&'a str>>,
    refund_ids: Vec<Option<&'a str>>,
    versions: Vec<i32>,
    created_at: Vec<DateTime<Utc>>,
    updated_at: Vec<DateTime<Utc>>,
    cancelled_at: Vec<Option<DateTime<Utc>>>,
    correlation_ids: Vec<Uuid>,
    causation_ids: Vec<Option<Uuid>>,
    traceparents: Vec<Option<String>>,
    tracestates: Vec<Option<String>>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, stored: &'a Stored, cause: StoredCause) {
        let effort = &stored.effort;
        self.order_ids.push(stored.order_id);
        self.amounts.push(stored.amount.amount_minor);
        self.currencies.push(&stored.amount.currency);
        self.payment_methods.push(stored.payment_method.as_deref());
        self.statuses.push(status_name(stored.status));
        self.attempts.push(effort.attempts as i32);
        self.failures.push(effort.failures as i32);
        self.in_doubt.push(effort.in_doubt);
        self.under_way.push(effort.under_way);
        self.due_at.push(effort.due_at);
        self.decline_reasons.push(stored.decline_reason.as_deref());
        self.charge_ids.push(stored.charge_id.as_deref());
        self.refund_ids.push(stored.refund_id.as_deref());
        self.versions.push(stored.version as i32);
        self.created_at.push(stored.created_at);
        self.updated_at.push(stored.updated_at);
        self.cancelled_at.push(stored.cancelled_at);
        self.correlation_ids.push(cause.correlation_id);
        self.causation_ids.push(cause.causation_id);
        self.traceparents.push(cause.traceparent);
        self.tracestates.push(cause.tracestate);
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
