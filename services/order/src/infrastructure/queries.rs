//! Reads for the HTTP API. They decide nothing, so they need no transaction.

use messaging::Pool;
use uuid::Uuid;

use crate::application::ports::Product;
use crate::application::views::{HistoryRow, LineRow, OrderRow, OrderView};

/// Reads from the service's database.
#[derive(Clone)]
pub struct Queries(Pool);

impl Queries {
    /// Reads from `pool`.
    pub fn new(pool: Pool) -> Self {
        Self(pool)
    }

    /// An order with its lines and history, if there is one.
    ///
    /// # Errors
    /// The database's own.
    pub async fn order(&self, id: Uuid) -> Result<Option<OrderView>, sqlx::Error> {
        let order = sqlx::query_as!(
            OrderRow,
            "select id, customer_id, status, cancel_reason, currency, total_minor, placed_at,
                updated_at, version, trace_id
            from orders where id = $1",
            id,
        )
        .fetch_optional(self.0.pg())
        .await?;
        let Some(order) = order else { return Ok(None) };
        let lines = sqlx::query_as!(
            LineRow,
            "select sku, quantity, unit_price_minor from order_lines where order_id = $1
            order by line",
            id,
        )
        .fetch_all(self.0.pg())
        .await?;
        // Read after the order, so it may know more; cut to what the order's version tells.
        let history = sqlx::query_as!(
            HistoryRow,
            "select status, at from order_history where order_id = $1 and version <= $2
            order by version",
            id,
            order.version,
        )
        .fetch_all(self.0.pg())
        .await?;
        Ok(Some(OrderView { order, lines, history }))
    }

    /// A product of the catalogue, if it is known.
    ///
    /// # Errors
    /// The database's own.
    pub async fn product(&self, sku: &str) -> Result<Option<Product>, sqlx::Error> {
        sqlx::query_as!(
            Product,
            "select sku, name, currency, unit_price_minor from catalogue where sku = $1",
            sku,
        )
        .fetch_optional(self.0.pg())
        .await
    }
}
