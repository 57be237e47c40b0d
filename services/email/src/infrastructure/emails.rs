//! Mails in Postgres.

use chrono::{DateTime, Utc};
use opentelemetry::trace::TraceContextExt as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::data::{Data, content, template_name, unreadable};
use super::{Store, integration_events};
use crate::application::ports::{Emails, StoreError};
use crate::domain::email::{Effort, Email, Status, Stored};

impl Emails for Store<'_> {
    async fn recipient(
        &mut self,
        order_id: Uuid,
        told: Option<&str>,
    ) -> Result<Option<String>, StoreError> {
        let now = self.0.now();
        // An update even where nothing changes: it takes the row's lock.
        Ok(sqlx::query_scalar!(
            "insert into recipients as r (order_id, address, created_at, updated_at)
            values ($1, $2, $3, $3)
            on conflict (order_id) do update
                set address = coalesce(r.address, excluded.address), updated_at = $3
            returning address",
            order_id,
            told,
            now,
        )
        .fetch_one(self.0.conn())
        .await?)
    }

    async fn add(&mut self, email: Email) -> Result<bool, StoreError> {
        let stored = email.stored();
        let (correlation_id, causation_id, traceparent, tracestate) = {
            let cause = self.0.cause();
            let tracestate = cause.context().span().span_context().trace_state().header();
            let tracestate = Some(tracestate).filter(|state| !state.is_empty());
            (cause.correlation_id(), cause.causation_id(), cause.traceparent(), tracestate)
        };
        let added = sqlx::query!(
            "insert into emails (id, order_id, template, recipient, data, message_id, status,
                correlation_id, causation_id, traceparent, tracestate, next_attempt_at, give_up_at,
                created_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
            on conflict (order_id, template) do nothing",
            stored.id,
            stored.order_id,
            template_name(&stored.content),
            stored.recipient,
            Json(Data::from(&stored.content)) as _,
            stored.message_id,
            status_name(stored.status),
            correlation_id,
            causation_id,
            traceparent,
            tracestate,
            stored.effort.due_at,
            stored.effort.give_up_at,
            stored.created_at,
        )
        .execute(self.0.conn())
        .await?;
        Ok(added.rows_affected() == 1)
    }

    async fn waiting(&mut self, order_id: Uuid) -> Result<Vec<Email>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            r#"select id, order_id, template, recipient, data as "data: Json<Data>", message_id,
                status, attempts, failures, last_error, lease_owner is not null as "under_way!",
                next_attempt_at, give_up_at, created_at, sent_at
            from emails where order_id = $1 and recipient is null order by id for update"#,
            order_id,
        )
        .fetch_all(self.0.conn())
        .await?;
        Ok(rows.into_iter().map(Email::try_from).collect::<Result<_, _>>()?)
    }

    async fn find(&mut self, id: Uuid) -> Result<Option<Email>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            r#"select id, order_id, template, recipient, data as "data: Json<Data>", message_id,
                status, attempts, failures, last_error, lease_owner is not null as "under_way!",
                next_attempt_at, give_up_at, created_at, sent_at
            from emails where id = $1 for update"#,
            id,
        )
        .fetch_optional(self.0.conn())
        .await?;
        Ok(row.map(Email::try_from).transpose()?)
    }

    async fn save(&mut self, mut email: Email) -> Result<(), StoreError> {
        let event = email.take_event();
        let Stored { id, effort, .. } = email.stored();
        let updated = sqlx::query!(
            "update emails set recipient = $2, status = $3, attempts = $4, failures = $5,
                last_error = $6, lease_owner = case when $7 then lease_owner end,
                lease_until = case when $7 then lease_until end, next_attempt_at = $8,
                give_up_at = $9, sent_at = $10
            where id = $1",
            id,
            email.stored().recipient,
            status_name(email.stored().status),
            effort.attempts as i32,
            effort.failures as i32,
            email.stored().last_error,
            effort.under_way,
            effort.due_at,
            effort.give_up_at,
            email.stored().sent_at,
        )
        .execute(self.0.conn())
        .await?;
        if updated.rows_affected() != 1 {
            return Err(StoreError::Conflict(*id));
        }
        event.map_or(Ok(()), |event| integration_events::publish(self.0, &email, event))
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
