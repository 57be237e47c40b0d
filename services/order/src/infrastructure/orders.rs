//! Orders in Postgres.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Store, figures, integration_events};
use crate::application::ports::{Orders, StoreError};
use crate::domain::order::{Basket, CancelReason, Line, Order, OrderEvent, Status, Stored};

impl Orders for Store<'_> {
    async fn find_all(&mut self, ids: &[Uuid]) -> Result<Vec<Order>, StoreError> {
        // Lines never change, so they need no lock of their own.
        let rows = sqlx::query!(
            r#"select id, customer_id, customer_email, payment_method, currency, total_minor, status,
                cancel_reason, version, placed_at, updated_at, deadline_at,
                array(select sku from order_lines l where l.order_id = o.id
                    order by line) as "skus!",
                array(select quantity from order_lines l where l.order_id = o.id
                    order by line) as "quantities!",
                array(select unit_price_minor from order_lines l where l.order_id = o.id
                    order by line) as "prices!"
            from orders o where id = any($1) order by id for update"#,
            ids,
        )
        .fetch_all(self.0.conn())
        .await?;
        let orders = rows.into_iter().map(|row| {
            let lines = row.skus.into_iter().zip(row.quantities).zip(row.prices);
            Ok(Order::load(Stored {
                id: row.id,
                basket: Basket {
                    customer_id: row.customer_id,
                    customer_email: row.customer_email,
                    payment_method: row.payment_method,
                    lines: lines.map(line).collect(),
                    currency: row.currency,
                },
                total_minor: row.total_minor,
                status: status_from(&row.status)?,
                cancel_reason: row.cancel_reason.as_deref().map(reason_from).transpose()?,
                version: row.version.unsigned_abs(),
                placed_at: row.placed_at,
                updated_at: row.updated_at,
                deadline_at: row.deadline_at,
            }))
        });
        orders.collect()
    }

    async fn take_pending(&mut self, id: Uuid) -> Result<Option<Order>, StoreError> {
        let taken = sqlx::query_scalar!(
            "select id from orders where id = $1 and status = 'pending' for update skip locked",
            id,
        )
        .fetch_optional(self.0.conn())
        .await?;
        match taken {
            Some(id) => self.find(id).await,
            None => Ok(None),
        }
    }

    async fn save_all(&mut self, orders: Vec<Order>) -> Result<(), StoreError> {
        let (mut changes, mut news) = (Columns::default(), Vec::new());
        for mut order in orders {
            let events = order.take_events();
            if events.is_empty() {
                continue;
            }
            // Version 0 is before the first event: the order is new.
            match order.version() - events.len() as u32 {
                0 => self.insert(&order, &events).await?,
                read_version => changes.push(&order, read_version, &events),
            }
            news.push((order, events));
        }
        if !changes.ids.is_empty() {
            self.update(&changes).await?;
        }
        for (order, events) in news {
            self.turn_to(order.id());
            for (version, event) in events {
                integration_events::publish(self.0, &order, version, event)?;
                figures::count(self.0, event);
            }
        }
        Ok(())
    }
}

impl Store<'_> {
    /// The order, its lines and its history, in one statement.
    async fn insert(
        &mut self,
        order: &Order,
        events: &[(u32, OrderEvent)],
    ) -> Result<(), StoreError> {
        let versions: Vec<i32> = events.iter().map(|(version, _)| *version as i32).collect();
        let basket = order.basket();
        let total = order.total();
        let (traceparent, trace_id) = {
            let cause = self.0.cause();
            (cause.traceparent(), messaging::trace::trace_id(cause.context()))
        };
        let skus: Vec<String> = basket.lines.iter().map(|l| l.sku.clone()).collect();
        let quantities: Vec<i32> = basket.lines.iter().map(|l| l.quantity as i32).collect();
        let prices: Vec<i64> = basket.lines.iter().map(|l| l.unit_price_minor).collect();
        sqlx::query!(
            "with placed as (
                insert into orders (id, customer_id, customer_email, payment_method, currency,
                    total_minor, status, version, placed_at, updated_at, trace_id, traceparent,
                    deadline_at)
                values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10, $11, $12)
            ), lines as (
                insert into order_lines (order_id, line, sku, quantity, unit_price_minor)
                select $1, n, sku, quantity, price
                from unnest($13::text[], $14::int[], $15::bigint[])
                    with ordinality as t (sku, quantity, price, n)
            )
            insert into order_history (order_id, version, status, at)
            select $1, version, $7, $9 from unnest($16::int[]) as version",
            order.id(),
            basket.customer_id,
            basket.customer_email,
            basket.payment_method,
            total.currency,
            total.amount_minor,
            status_name(order.status()),
            order.version() as i32,
            order.placed_at(),
            trace_id,
            traceparent,
            order.deadline_at(),
            &skus,
            &quantities,
            &prices,
            &versions,
        )
        .execute(self.0.conn())
        .await?;
        Ok(())
    }

    /// The orders as they are now, and what is new of their history, in one statement.
    async fn update(&mut self, changes: &Columns) -> Result<(), StoreError> {
        let remembered = sqlx::query!(
            "with updated as (
                update orders o set status = t.status, cancel_reason = t.cancel_reason,
                    version = t.version, updated_at = t.updated_at
                from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::int[],
                        $6::timestamptz[])
                    as t (id, seen, status, cancel_reason, version, updated_at)
                where o.id = any($1) and o.id = t.id and o.version = t.seen
                returning o.id, o.status, o.updated_at
            )
            insert into order_history (order_id, version, status, at)
            select u.id, h.version, u.status, u.updated_at
            from updated u join unnest($7::uuid[], $8::int[]) as h (id, version) on h.id = u.id",
            &changes.ids,
            &changes.seen,
            &changes.statuses as &[&str],
            &changes.reasons as &[Option<&str>],
            &changes.versions,
            &changes.updated_at,
            &changes.history_of,
            &changes.history,
        )
        .execute(self.0.conn())
        .await?;
        if remembered.rows_affected() != changes.history.len() as u64 {
            let first = changes.ids.first().copied().unwrap_or_default();
            return Err(StoreError::Conflict(first));
        }
        Ok(())
    }
}

/// Changes of orders as lists side by side, for `unnest`.
#[derive(Default)]
struct Columns {
    ids: Vec<Uuid>,
    /// The versions that they had when they were read.
    seen: Vec<i32>,
    statuses: Vec<&'static str>,
    reasons: Vec<Option<&'static str>>,
    versions: Vec<i32>,
    updated_at: Vec<DateTime<Utc>>,
    /// The versions that are new, with the order of each.
    history_of: Vec<Uuid>,
    history: Vec<i32>,
}

impl Columns {
    fn push(&mut self, order: &Order, read_version: u32, events: &[(u32, OrderEvent)]) {
        self.ids.push(order.id());
        self.seen.push(read_version as i32);
        self.statuses.push(status_name(order.status()));
        self.reasons.push(order.cancel_reason().map(reason_name));
        self.versions.push(order.version() as i32);
        self.updated_at.push(order.updated_at());
        for (version, _) in events {
            self.history_of.push(order.id());
            self.history.push(*version as i32);
        }
    }
}

fn line(((sku, quantity), unit_price_minor): ((String, i32), i64)) -> Line {
    Line { sku, quantity: quantity.unsigned_abs(), unit_price_minor }
}

pub(super) fn status_name(status: Status) -> &'static str {
    match status {
        Status::Pending => "pending",
        Status::Confirmed => "confirmed",
        Status::Cancelled => "cancelled",
    }
}

fn status_from(name: &str) -> Result<Status, sqlx::Error> {
    match name {
        "pending" => Ok(Status::Pending),
        "confirmed" => Ok(Status::Confirmed),
        "cancelled" => Ok(Status::Cancelled),
        other => Err(unreadable("status", other)),
    }
}

pub(super) fn reason_name(reason: CancelReason) -> &'static str {
    match reason {
        CancelReason::OutOfStock => "out_of_stock",
        CancelReason::PaymentDeclined => "payment_declined",
        CancelReason::CustomerRequest => "customer_request",
        CancelReason::TimedOut => "timed_out",
    }
}

fn reason_from(name: &str) -> Result<CancelReason, sqlx::Error> {
    match name {
        "out_of_stock" => Ok(CancelReason::OutOfStock),
        "payment_declined" => Ok(CancelReason::PaymentDeclined),
        "customer_request" => Ok(CancelReason::CustomerRequest),
        "timed_out" => Ok(CancelReason::TimedOut),
        other => Err(unreadable("cancel_reason", other)),
    }
}

fn unreadable(column: &str, value: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("{column} is {value:?}").into())
}
