//! Taking in goods that arrived.

use chrono::{DateTime, Utc};

use super::ports::{Products, StoreError};
use crate::domain::product::{Product, ProductError};

/// Why goods could not be taken in.
#[derive(Debug, thiserror::Error)]
pub enum ReplenishError {
    /// No such product.
    #[error("product is not known")]
    Unknown,
    /// It breaks a rule of products.
    #[error(transparent)]
    Rule(#[from] ProductError),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Adds `quantity` pieces, at least one, to a product's stock; returns the product as it is then.
///
/// # Errors
/// [`ReplenishError`].
pub async fn replenish(
    store: &mut impl Products,
    sku: &str,
    quantity: i64,
    now: DateTime<Utc>,
) -> Result<Product, ReplenishError> {
    let mut product = store.product(sku).await?.ok_or(ReplenishError::Unknown)?;
    product.replenish(quantity, now)?;
    store.save_product(product.clone()).await?;
    Ok(product)
}
