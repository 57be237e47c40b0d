//! Reads of many rows at once.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Queries;
use super::orders::status_name;
use super::progress::progress;
use crate::application::views::{
    HistoryRow, LineRow, ListedProduct, OrderFilter, OrderPlace, OrderRow, OrderView, PendingRow,
    ProductPlace,
};

/// Behind all that there are.
const LATEST: OrderPlace = OrderPlace { at: DateTime::<Utc>::MAX_UTC, id: Uuid::max() };
/// Before all that there are.
const EARLIEST: OrderPlace = OrderPlace { at: DateTime::UNIX_EPOCH, id: Uuid::nil() };

impl Queries {
    /// At most `limit` orders that pass `filter`, newest first. Four statements.
    ///
    /// # Errors
    /// The database's own.
    pub async fn orders(
        &self,
        filter: OrderFilter,
        limit: i64,
    ) -> Result<Vec<OrderView>, sqlx::Error> {
        let before = filter.before.unwrap_or(LATEST);
        let status = filter.status.map(status_name);
        // A query each, so that no plan is made for all filters.
        let orders = match (filter.customer_id, status) {
            (Some(customer_id), status) => {
                self.of_customer(customer_id, status, before, limit).await
            }
            (None, Some(status)) => self.of_status(status, before, limit).await,
            (None, None) => self.of_all(before, limit).await,
        };
        let orders = orders?;
        let mut conn = self.0.connection().await?;
        let orders = complete(&mut conn, orders).await?;
        conn.put_back();
        Ok(orders)
    }

    async fn of_all(&self, before: OrderPlace, limit: i64) -> Result<Vec<OrderRow>, sqlx::Error> {
        sqlx::query_as!(
            OrderRow,
            "select id, customer_id, status, cancel_reason, currency, total_minor, placed_at,
                updated_at, version, trace_id
            from orders where (placed_at, id) < ($1, $2)
            order by placed_at desc, id desc limit $3",
            before.at,
            before.id,
            limit,
        )
        .fetch_all(self.0.pg())
        .await
    }

    async fn of_status(
        &self,
        status: &str,
        before: OrderPlace,
        limit: i64,
    ) -> Result<Vec<OrderRow>, sqlx::Error> {
        sqlx::query_as!(
            OrderRow,
            "select id, customer_id, status, cancel_reason, currency, total_minor, placed_at,
                updated_at, version, trace_id
            from orders where status = $1 and (placed_at, id) < ($2, $3)
            order by placed_at desc, id desc limit $4",
            status,
            before.at,
            before.id,
            limit,
        )
        .fetch_all(self.0.pg())
        .await
    }

    async fn of_customer(
        &self,
        customer_id: Uuid,
        status: Option<&str>,
        before: OrderPlace,
        limit: i64,
    ) -> Result<Vec<OrderRow>, sqlx::Error> {
        sqlx::query_as!(
            OrderRow,
            "select id, customer_id, status, cancel_reason, currency, total_minor, placed_at,
                updated_at, version, trace_id
            from orders
            where customer_id = $1 and (placed_at, id) < ($2, $3)
                and ($4::text is null or status = $4)
            order by placed_at desc, id desc limit $5",
            customer_id,
            before.at,
            before.id,
            status,
            limit,
        )
        .fetch_all(self.0.pg())
        .await
    }

    /// At most `limit` pending orders behind `after` in the order of their deadlines.
    ///
    /// # Errors
    /// The database's own.
    pub async fn pending_by_deadline(
        &self,
        after: Option<OrderPlace>,
        limit: i64,
    ) -> Result<Vec<PendingRow>, sqlx::Error> {
        let after = after.unwrap_or(EARLIEST);
        sqlx::query_as!(
            PendingRow,
            "select id, deadline_at, traceparent from orders
            where status = 'pending' and (deadline_at, id) > ($1, $2)
            order by deadline_at, id limit $3",
            after.at,
            after.id,
            limit,
        )
        .fetch_all(self.0.pg())
        .await
    }

    /// At most `limit` products before `before`, those first that the catalogue heard of last.
    ///
    /// # Errors
    /// The database's own.
    pub async fn products(
        &self,
        before: Option<ProductPlace>,
        limit: i64,
    ) -> Result<Vec<ListedProduct>, sqlx::Error> {
        let latest = || ProductPlace { listed_at: LATEST.at, sku: String::new() };
        let before = before.unwrap_or_else(latest);
        sqlx::query_as!(
            ListedProduct,
            "select sku, name, currency, unit_price_minor, listed_at from catalogue
            where (listed_at, sku) < ($1, $2)
            order by listed_at desc, sku desc limit $3",
            before.listed_at,
            before.sku,
            limit,
        )
        .fetch_all(self.0.pg())
        .await
    }
}

/// These orders with their lines, history and progress, in the same order.
pub(super) async fn complete(
    conn: &mut PgConnection,
    orders: Vec<OrderRow>,
) -> Result<Vec<OrderView>, sqlx::Error> {
    if orders.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = orders.iter().map(|order| order.id).collect();
    let versions: Vec<i32> = orders.iter().map(|order| order.version).collect();
    let mut lines = by_order(lines(conn, &ids).await?, |line| line.order_id);
    let mut history = by_order(history(conn, &ids, &versions).await?, |entry| entry.order_id);
    let mut progress = by_order(progress(conn, &ids).await?, |step| step.order_id);
    let complete = |order: OrderRow| {
        let lines = lines.remove(&order.id).unwrap_or_default();
        let history = history.remove(&order.id).unwrap_or_default();
        let progress = progress.remove(&order.id).unwrap_or_default();
        OrderView { order, lines, history, progress }
    };
    Ok(orders.into_iter().map(complete).collect())
}

async fn lines(conn: &mut PgConnection, order_ids: &[Uuid]) -> Result<Vec<LineRow>, sqlx::Error> {
    sqlx::query_as!(
        LineRow,
        "select order_id, sku, quantity, unit_price_minor from order_lines
        where order_id = any($1) order by order_id, line",
        order_ids,
    )
    .fetch_all(conn)
    .await
}

/// Read after the orders, so it may know more: it is cut to what their versions tell.
async fn history(
    conn: &mut PgConnection,
    order_ids: &[Uuid],
    versions: &[i32],
) -> Result<Vec<HistoryRow>, sqlx::Error> {
    sqlx::query_as!(
        HistoryRow,
        "select h.order_id, h.status, h.at
        from order_history h
        join unnest($1::uuid[], $2::int[]) as o (id, version)
            on h.order_id = o.id and h.version <= o.version
        order by h.order_id, h.version",
        order_ids,
        versions,
    )
    .fetch_all(conn)
    .await
}

fn by_order<T>(rows: Vec<T>, order_id: impl Fn(&T) -> Uuid) -> HashMap<Uuid, Vec<T>> {
    let mut groups: HashMap<Uuid, Vec<T>> = HashMap::new();
    for row in rows {
        groups.entry(order_id(&row)).or_default().push(row);
    }
    groups
}
