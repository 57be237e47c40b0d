//! Listing products that are not known yet, and leaving all others as they are.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::ports::{ManyProducts, StoreError};
use crate::domain::product::{Description, Product};

/// Lists those of the products whose SKUs are new; gives these SKUs.
///
/// # Errors
/// [`StoreError`].
pub async fn seed_products(
    store: &mut impl ManyProducts,
    described: Vec<(String, Description)>,
    now: DateTime<Utc>,
) -> Result<HashSet<String>, StoreError> {
    let list = |(sku, description)| Product::list(sku, description, now);
    store.add_products(described.into_iter().map(list).collect()).await
}
