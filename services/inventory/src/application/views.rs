//! What clients see of stock and reservations.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The stock of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the product table")]
pub struct StockView {
    pub sku: String,
    pub on_hand: i64,
    pub reserved: i64,
    pub created_at: DateTime<Utc>,
}

/// A place in the list of stock: that of the product listed then under this SKU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockPlace {
    /// When the product was listed.
    pub created_at: DateTime<Utc>,
    /// Tells products of the same time apart.
    pub sku: String,
}

/// A reservation, with its lines in two lists side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the reservation and line tables")]
pub struct ReservationView {
    pub order_id: Uuid,
    pub status: String,
    pub amount_minor: Option<i64>,
    pub currency: Option<String>,
    pub version: i32,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub skus: Vec<String>,
    pub quantities: Vec<i64>,
}
