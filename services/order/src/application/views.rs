//! What clients see of orders.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// An order as a client sees it.
#[expect(missing_docs, reason = "the names say it")]
pub struct OrderView {
    pub order: OrderRow,
    pub lines: Vec<LineRow>,
    pub history: Vec<HistoryRow>,
}

/// The order's own row.
#[expect(missing_docs, reason = "the columns of the order table")]
pub struct OrderRow {
    pub id: Uuid,
    pub customer_id: Uuid,
    pub status: String,
    pub cancel_reason: Option<String>,
    pub currency: String,
    pub total_minor: i64,
    pub placed_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub version: i32,
    pub trace_id: Option<String>,
}

/// A line of an order.
#[expect(missing_docs, reason = "the columns of the line table")]
pub struct LineRow {
    pub sku: String,
    pub quantity: i32,
    pub unit_price_minor: i64,
}

/// A status that an order had.
#[expect(missing_docs, reason = "the columns of the history table")]
pub struct HistoryRow {
    pub status: String,
    pub at: DateTime<Utc>,
}
