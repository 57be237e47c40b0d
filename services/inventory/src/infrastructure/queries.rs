//! Reads for the HTTP API. They decide nothing, so they need no transaction.

use messaging::Pool;
use uuid::Uuid;

use crate::application::views::{ReservationView, StockPlace, StockView};

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
            "select sku, on_hand, reserved, created_at from products where sku = $1",
            sku,
        )
        .fetch_optional(self.0.pg())
        .await
    }

    /// At most `limit` products before `before`, those first that were listed last.
    ///
    /// # Errors
    /// The database's own.
    pub async fn stock_before(
        &self,
        before: Option<StockPlace>,
        limit: i64,
    ) -> Result<Vec<StockView>, sqlx::Error> {
        let (created_at, sku) = before.map(|before| (before.created_at, before.sku)).unzip();
        sqlx::query_as!(
            StockView,
            "select sku, on_hand, reserved, created_at from products
            where (created_at, sku) < (coalesce($1, 'infinity'::timestamptz), coalesce($2, ''))
            order by created_at desc, sku desc limit $3",
            created_at,
            sku,
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
