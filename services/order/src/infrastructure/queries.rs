//! Reads for the HTTP API. They decide nothing, so they need no transaction.

use messaging::Pool;
use uuid::Uuid;

use super::lists::complete;
use crate::application::ports::Product;
use crate::application::views::{OrderRow, OrderView, Pending};

/// Reads from the service's database.
#[derive(Clone)]
pub struct Queries(pub(super) Pool);

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
        let mut conn = self.0.connection().await?;
        let order = sqlx::query_as!(
            OrderRow,
            "select id, customer_id, status, cancel_reason, currency, total_minor, placed_at,
                updated_at, version, trace_id
            from orders where id = $1",
            id,
        )
        .fetch_optional(&mut *conn)
        .await?;
        let order = complete(&mut conn, order.into_iter().collect()).await?.pop();
        conn.put_back();
        Ok(order)
    }

    /// How many orders wait for their end, and since when. It reads the entries of those that do and no
    /// other: in the index by deadline, and the first one by age.
    ///
    /// # Errors
    /// The database's own.
    pub async fn pending(&self) -> Result<Pending, sqlx::Error> {
        sqlx::query_as!(
            Pending,
            r#"select (select count(*) from orders where status = 'pending') as "orders!",
                (select min(placed_at) from orders where status = 'pending') as oldest"#,
        )
        .fetch_one(self.0.pg())
        .await
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
