//! Mails in Postgres.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use messaging::Cause;
use opentelemetry::trace::TraceContextExt as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::data::{Data, content, template_name, unreadable};
use super::{Store, integration_events};
use crate::application::ports::{Emails, StoreError};
use crate::domain::email::{Effort, Email, Status, Stored};

impl Emails for Store<'_> {
    async fn recipients(
        &mut self,
        told: BTreeMap<Uuid, Option<String>>,
    ) -> Result<HashMap<Uuid, String>, StoreError> {
        let (order_ids, addresses): (Vec<Uuid>, Vec<Option<String>>) = told.into_iter().unzip();
        let now = self.0.now();
        // An update even where nothing changes: it takes the rows' locks, in the order of the orders.
        let known = sqlx::query!(
            "insert into recipients as r (order_id, address, created_at, updated_at)
            select order_id, address, $3, $3
            from unnest($1::uuid[], $2::text[]) as t (order_id, address) order by order_id
            on conflict (order_id) do update
                set address = coalesce(r.address, excluded.address), updated_at = $3
            returning order_id, address",
            &order_ids,
            &addresses as &[Option<String>],
            now,
        )
        .fetch_all(self.0.conn())
        .await?;
        Ok(known.into_iter().filter_map(|row| Some((row.order_id, row.address?))).collect())
    }

    async fn add_all(&mut self, emails: Vec<Email>) -> Result<(), StoreError> {
        let new = self.columns(&emails);
        sqlx::query!(
            "insert into emails (id, order_id, template, recipient, data, message_id, status,
                correlation_id, causation_id, traceparent, tracestate, next_attempt_at, give_up_at,
                created_at)
            select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::jsonb[],
                $6::text[], $7::text[], $8::uuid[], $9::uuid[], $10::text[], $11::text[],
                $12::timestamptz[], $13::timestamptz[], $14::timestamptz[])
            on conflict (order_id, template) do nothing",
            &new.ids,
            &new.order_ids,
            &new.templates as &[&str],
            &new.recipients as &[Option<&str>],
            &new.data as &[Json<Data>],
            &new.message_ids as &[&str],
            &new.statuses as &[&str],
            &new.correlation_ids,
            &new.causation_ids as &[Option<Uuid>],
            &new.traceparents as &[Option<String>],
            &new.tracestates as &[Option<String>],
            &new.due_at as &[Option<DateTime<Utc>>],
            &new.give_up_at as &[Option<DateTime<Utc>>],
            &new.created_at,
        )
        .execute(self.0.conn())
        .await?;
        Ok(())
    }

    async fn waiting(&mut self, order_ids: &[Uuid]) -> Result<Vec<Email>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            r#"select id, order_id, template, recipient, data as "data: Json<Data>", message_id,
                status, attempts, failures, last_error, lease_owner is not null as "under_way!",
                next_attempt_at, give_up_at, created_at, sent_at
            from emails where order_id = any($1) and recipient is null order by id for update"#,
            order_ids,
        )
        .fetch_all(self.0.conn())
        .await?;
        Ok(rows.into_iter().map(Email::try_from).collect::<Result<_, _>>()?)
    }

    async fn find_all(&mut self, ids: &[Uuid]) -> Result<Vec<Email>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            r#"select id, order_id, template, recipient, data as "data: Json<Data>", message_id,
                status, attempts, failures, last_error, lease_owner is not null as "under_way!",
                next_attempt_at, give_up_at, created_at, sent_at
            from emails where id = any($1) order by id for update"#,
            ids,
        )
        .fetch_all(self.0.conn())
        .await?;
        Ok(rows.into_iter().map(Email::try_from).collect::<Result<_, _>>()?)
    }

    async fn save_all(&mut self, mut emails: Vec<Email>) -> Result<(), StoreError> {
        let changed = self.columns(&emails);
        let updated = sqlx::query!(
            "update emails e set recipient = t.recipient, status = t.status,
                attempts = t.attempts, failures = t.failures, last_error = t.last_error,
                lease_owner = case when t.under_way then e.lease_owner end,
                lease_until = case when t.under_way then e.lease_until end,
                next_attempt_at = t.due_at, give_up_at = t.give_up_at, sent_at = t.sent_at
            from unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::int[], $6::text[],
                    $7::bool[], $8::timestamptz[], $9::timestamptz[], $10::timestamptz[])
                as t (id, recipient, status, attempts, failures, last_error, under_way, due_at,
                    give_up_at, sent_at)
            where e.id = any($1) and e.id = t.id",
            &changed.ids,
            &changed.recipients as &[Option<&str>],
            &changed.statuses as &[&str],
            &changed.attempts,
            &changed.failures,
            &changed.last_errors as &[Option<&str>],
            &changed.under_way,
            &changed.due_at as &[Option<DateTime<Utc>>],
            &changed.give_up_at as &[Option<DateTime<Utc>>],
            &changed.sent_at as &[Option<DateTime<Utc>>],
        )
        .execute(self.0.conn())
        .await?;
        if updated.rows_affected() != emails.len() as u64 {
            let first = emails.first().map(|email| email.stored().id);
            return Err(StoreError::Conflict(first.unwrap_or_default()));
        }
        for email in &mut emails {
            self.turn_to(email.stored().id);
            if let Some(event) = email.take_event() {
                integration_events::publish(self.0, email, event)?;
            }
        }
        Ok(())
    }
}

impl Store<'_> {
    fn columns<'e>(&self, emails: &'e [Email]) -> Columns<'e> {
        let mut columns = Columns::default();
        for email in emails {
            let stored = email.stored();
            let cause = self.1.get(&stored.order_id).unwrap_or_else(|| self.0.cause());
            columns.push(stored, cause);
        }
        columns
    }
}

/// Mails as lists side by side, for `unnest`.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<Uuid>,
    order_ids: Vec<Uuid>,
    templates: Vec<&'static str>,
    recipients: Vec<Option<&'a str>>,
    data: Vec<Json<Data>>,
    message_ids: Vec<&'a str>,
    statuses: Vec<&'static str>,
    attempts: Vec<i32>,
    failures: Vec<i32>,
    last_errors: Vec<Option<&'a str>>,
    under_way: Vec<bool>,
    due_at: Vec<Option<DateTime<Utc>>>,
    give_up_at: Vec<Option<DateTime<Utc>>>,
    created_at: Vec<DateTime<Utc>>,
    sent_at: Vec<Option<DateTime<Utc>>>,
    correlation_ids: Vec<Uuid>,
    causation_ids: Vec<Option<Uuid>>,
    traceparents: Vec<Option<String>>,
    tracestates: Vec<Option<String>>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, stored: &'a Stored, cause: &Cause) {
        let effort = &stored.effort;
        self.ids.push(stored.id);
        self.order_ids.push(stored.order_id);
        self.templates.push(template_name(&stored.content));
        self.recipients.push(stored.recipient.as_deref());
        self.data.push(Json(Data::from(&stored.content)));
        self.message_ids.push(&stored.message_id);
        self.statuses.push(status_name(stored.status));
        self.attempts.push(effort.attempts as i32);
        self.failures.push(effort.failures as i32);
        self.last_errors.push(stored.last_error.as_deref());
        self.under_way.push(effort.under_way);
        self.due_at.push(effort.due_at);
        self.give_up_at.push(effort.give_up_at);
        self.created_at.push(stored.created_at);
        self.sent_at.push(stored.sent_at);
        let tracestate = cause.context().span().span_context().trace_state().header();
        self.correlation_ids.push(cause.correlation_id());
        self.causation_ids.push(cause.causation_id());
        self.traceparents.push(cause.traceparent());
        self.tracestates.push(Some(tracestate).filter(|state| !state.is_empty()));
    }
}

struct Row {
    id: Uuid,
    order_id: Uuid,
    template: String,
    recipient: Option<String>,
    data: Json<Data>,
    message_id: String,
    status: String,
    attempts: i32,
    failures: i32,
    last_error: Option<String>,
    under_way: bool,
    next_attempt_at: Option<DateTime<Utc>>,
    give_up_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    sent_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for Email {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        Ok(Self::load(Stored {
            id: row.id,
            order_id: row.order_id,
            content: content(&row.template, row.data.0)?,
            recipient: row.recipient,
            message_id: row.message_id,
            status: status_from(&row.status)?,
            effort: Effort {
                attempts: row.attempts.unsigned_abs(),
                failures: row.failures.unsigned_abs(),
                under_way: row.under_way,
                due_at: row.next_attempt_at,
                give_up_at: row.give_up_at,
            },
            last_error: row.last_error,
            created_at: row.created_at,
            sent_at: row.sent_at,
        }))
    }
}

fn status_name(status: Status) -> &'static str {
    match status {
        Status::Pending => "pending",
        Status::Sent => "sent",
        Status::Failed => "failed",
    }
}

fn status_from(name: &str) -> Result<Status, sqlx::Error> {
    match name {
        "pending" => Ok(Status::Pending),
        "sent" => Ok(Status::Sent),
        "failed" => Ok(Status::Failed),
        other => Err(unreadable("status", other)),
    }
}
