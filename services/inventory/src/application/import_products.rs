//! Listing many products at once, or making them what a file says.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::ports::{ManyProducts, StoreError};
use crate::domain::product::{Description, Product, ProductError};

/// What became of one product of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// It is new.
    Listed,
    /// It was there, and is now as described.
    Changed,
    /// It was as described already.
    Unchanged,
    /// It stays as it was, because a rule forbids the change.
    Refused(ProductError),
}

/// Lists products, or makes listed ones what their descriptions say, each SKU once. One that is
/// refused does not stop the others. Returns what became of each, in the same order.
///
/// # Errors
/// [`StoreError`].
pub async fn import_products(
    store: &mut impl ManyProducts,
    described: Vec<(String, Description)>,
    now: DateTime<Utc>,
) -> Result<Vec<Imported>, StoreError> {
    let new = |(sku, description): &(String, Description)| {
        Product::list(sku.clone(), description.clone(), now)
    };
    let listed = store.add_products(described.iter().map(new).collect()).await?;
    let (mut known, mut skus) = (HashMap::new(), Vec::new());
    skus.extend(described.iter().map(|(sku, _)| sku).filter(|sku| !listed.contains(*sku)).cloned());
    for product in store.products(&skus).await? {
        known.insert(product.sku().to_owned(), product);
    }
    let (mut outcomes, mut changed) = (Vec::with_capacity(described.len()), Vec::new());
    for (sku, description) in described {
        if listed.contains(&sku) {
            outcomes.push(Imported::Listed);
            continue;
        }
        let product = known.remove(&sku);
        let mut product = product.ok_or_else(|| StoreError::Conflict(format!("product/{sku}")))?;
        let version = product.version();
        outcomes.push(match product.describe(description, now) {
            Err(rule) => Imported::Refused(rule),
            Ok(()) if product.version() == version => Imported::Unchanged,
            Ok(()) => {
                changed.push(product);
                Imported::Changed
            }
        });
    }
    store.save_products(changed).await?;
    Ok(outcomes)
}
