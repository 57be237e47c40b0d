//! Listing a product, or making it what the client says.

use chrono::{DateTime, Utc};

use super::ports::{Products, StoreError};
use crate::domain::product::{Description, Product, ProductError};

/// Why a product could not be put.
#[derive(Debug, thiserror::Error)]
pub enum PutProductError {
    /// It breaks a rule of products.
    #[error(transparent)]
    Rule(#[from] ProductError),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The product as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// It is new.
    Listed(Product),
    /// It was there, and is as the client says now.
    Described(Product),
}

/// Lists a product, or makes a listed one what `description` says.
///
/// # Errors
/// [`PutProductError`].
pub async fn put_product(
    store: &mut impl Products,
    sku: String,
    description: Description,
    now: DateTime<Utc>,
) -> Result<Put, PutProductError> {
    let mut known = store.product(&sku).await?;
    if known.is_none() {
        let product = Product::list(sku.clone(), description.clone(), now);
        if store.add_product(product.clone()).await? {
            return Ok(Put::Listed(product));
        }
        // Somebody else listed it in between.
        known = store.product(&sku).await?;
    }
    let mut product = known.ok_or_else(|| StoreError::Conflict(format!("product/{sku}")))?;
    product.describe(description, now)?;
    store.save_product(product.clone()).await?;
    Ok(Put::Described(product))
}
