//! Keeping the catalogue in step with inventory.

use super::ports::{Catalogue, ProductChange, StoreError};

/// Why a change could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowProductError {
    /// The product was never listed here.
    #[error("product is not known")]
    Unknown,
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Follows a change to a product.
///
/// # Errors
/// [`FollowProductError`].
pub async fn follow_product(
    catalogue: &mut impl Catalogue,
    change: ProductChange,
) -> Result<(), FollowProductError> {
    if catalogue.follow(change).await? { Ok(()) } else { Err(FollowProductError::Unknown) }
}
