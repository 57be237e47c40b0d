//! Locking the stock of several orders that are decided on together.

use uuid::Uuid;

use super::ports::{Stock, StoreError};

/// What several orders are about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    /// The SKUs of those that come with their lines.
    pub skus: Vec<String>,
    /// Those whose lines are known here already, if they are.
    pub known: Vec<Uuid>,
}

/// Locks all products that the orders are about, in the order of their SKUs. Each order alone locks in
/// that order, too; several in one transaction would not, one after the other, and two transactions
/// could wait for each other.
///
/// # Errors
/// [`StoreError`].
pub async fn lock_stock(stock: &mut impl Stock, orders: &Orders) -> Result<(), StoreError> {
    if orders.skus.is_empty() && orders.known.is_empty() {
        return Ok(());
    }
    stock.lock_all(&orders.skus, &orders.known).await
}
