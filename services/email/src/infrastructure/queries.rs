//! Reads for the HTTP API. They decide nothing, so they need no transaction.

use messaging::Pool;
use uuid::Uuid;

use crate::application::views::EmailView;

/// Reads from the service's database.
#[derive(Clone)]
pub struct Queries(Pool);

impl Queries {
    /// Reads from `pool`.
    pub fn new(pool: Pool) -> Self {
        Self(pool)
    }

    /// The mails about an order, oldest first; at most one per template.
    ///
    /// # Errors
    /// The database's own.
    pub async fn emails(&self, order_id: Uuid) -> Result<Vec<EmailView>, sqlx::Error> {
        sqlx::query_as!(
            EmailView,
            "select template, recipient, status, sent_at, message_id
            from emails where order_id = $1 order by created_at, id",
            order_id,
        )
        .fetch_all(self.0.pg())
        .await
    }
}
