//! Reads for the HTTP API. They decide nothing, so they need no transaction.

use messaging::Pool;
use uuid::Uuid;

use crate::application::views::PaymentView;

/// Reads from the service's database.
#[derive(Clone)]
pub struct Queries(Pool);

impl Queries {
    /// Reads from `pool`.
    pub fn new(pool: Pool) -> Self {
        Self(pool)
    }

    /// The payment of an order, if there is one.
    ///
    /// # Errors
    /// The database's own.
    pub async fn payment(&self, order_id: Uuid) -> Result<Option<PaymentView>, sqlx::Error> {
        sqlx::query_as!(
            PaymentView,
            "select status, amount_minor, currency, attempts, decline_reason
            from payments where order_id = $1",
            order_id,
        )
        .fetch_optional(self.0.pg())
        .await
    }
}
