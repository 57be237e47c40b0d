//! Orders in Postgres.

use uuid::Uuid;

use super::{Store, figures, integration_events};
use crate::application::ports::{Orders, StoreError};
use crate::domain::order::{Basket, CancelReason, Line, Order, Status, Stored};

impl Orders for Store<'_> {
    async fn find(&mut self, id: Uuid) -> Result<Option<Order>, StoreError> {
        // Lines never change, so they need no lock of their own.
        let row = sqlx::query!(
            r#"select id, customer_id, customer_email, payment_method, currency, total_minor, status,
                cancel_reason, version, placed_at, updated_at, deadline_at,
                array(select sku from order_lines l where l.order_id = o.id
                    order by line) as "skus!",
                array(select quantity from order_lines l where l.order_id = o.id
                    order by line) as "quantities!",
                array(select unit_price_minor from order_lines l where l.order_id = o.id
                    order by line) as "prices!"
            from orders o where id = $1 for update"#,
            id,
        )
        .fetch_optional(self.0.conn())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let lines = row.skus.into_iter().zip(row.quantities).zip(row.prices);
        Ok(Some(Order::load(Stored {
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
        })))
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

    async fn save(&mut self, mut order: Order) -> Result<(), StoreError> {
        let events = order.take_events();
        if events.is_empty() {
            return Ok(());
        }
        let versions: Vec<i32> = events.iter().map(|(version, _)| *version as i32).collect();
        // Version 0 is before the first event: the order is new.
        let read_version = order.version() - events.len() as u32;
        if read_version == 0 {
            self.insert(&order, &versions).await?;
        } else {
            self.update(&order, read_version, &versions).await?;
        }
        for (version, event) in events {
            integration_events::publish(self.0, &order, version, event)?;
            figures::count(self.0, event);
        }
        Ok(())
    }
}

impl Store<'_> {
    /// The order, its lines and its history, in one statement.
    async fn insert(&mut self, order: &Order, versions: &[i32]) -> Result<(), StoreError> {
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
            versions,
        )
        .execute(self.0.conn())
        .await?;
        Ok(())
    }

    /// The order as it is now, and what is new of its history, in one statement.
    async fn update(
        &mut self,
        order: &Order,
        read_version: u32,
        versions: &[i32],
    ) -> Result<(), StoreError> {
        let remembered = sqlx::query!(
            "with updated as (
                update orders set status = $3, cancel_reason = $4, version = $5, updated_at = $6
                where id = $1 and version = $2
                returning id
            )
            insert into order_history (order_id, version, status, at)
            select id, version, $3, $6 from updated, unnest($7::int[]) as version",
            order.id(),
            read_version as i32,
            status_name(order.status()),
            order.cancel_reason().map(reason_name),
            order.version() as i32,
            order.updated_at(),
            versions,
        )
        .execute(self.0.conn())
        .await?;
        if remembered.rows_affected() == 0 {
            return Err(StoreError::Conflict(order.id()));
        }
        Ok(())
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
