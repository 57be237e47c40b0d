//! Reads for the HTTP API. They decide nothing, so they need no transaction.

use messaging::Pool;
use uuid::Uuid;

use crate::application::views::{ReservationView, StockView};

/// Reads from the service's database.
#[derive(Clone)]
pub struct Queries(Pool);

impl Queries {
    /// Reads from `pool`.
    pub fn new(pool: Pool) -> Self {
        Self(pool)
    }

    /// The stock of a product, if it is known.
    ///
    /// # Errors
    /// The database's own.
    pub async fn stock(&self, sku: &str) -> Result<Option<StockView>, sqlx::Error> {
        sqlx::query_as!(
            StockView,
            "select sku, on_hand, reserved from products where sku = $1",
            sku,
        )
        .fetch_optional(self.0.pg())
        .await
    }

    /// At most `limit` products in the order of their SKUs, from the first behind `after` on.
    ///
    /// # Errors
    /// The database's own.
    pub async fn stock_behind(
        &self,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<StockView>, sqlx::Error> {
        sqlx::query_as!(
            StockView,
            "select sku, on_hand, reserved from products where sku > $1 order by sku limit $2",
            // No SKU is empty, so the empty text is before all.
            after.unwrap_or_default(),
            limit,
        )
        .fetch_all(self.0.pg())
        .await
    }

    /// The reservation of an order, if the order is known.
    ///
    /// # Errors
    /// The database's own.
    pub async fn reservation(
        &self,
        order_id: Uuid,
    ) -> Result<Option<ReservationView>, sqlx::Error> {
        sqlx::query_as!(
            ReservationView,
            r#"select order_id, status, amount_minor, currency, version, created_at, updated_at,
                array(select sku from reservation_lines l where l.order_id = r.order_id
                    order by sku) as "skus!",
                array(select quantity from reservation_lines l where l.order_id = r.order_id
                    order by sku) as "quantities!"
            from reservations r where order_id = $1"#,
            order_id,
        )
        .fetch_optional(self.0.pg())
        .await
    }
}
