//! What clients see of orders.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::order::Status;

/// An order as a client sees it.
#[expect(missing_docs, reason = "the names say it")]
pub struct OrderView {
    pub order: OrderRow,
    pub lines: Vec<LineRow>,
    pub history: Vec<HistoryRow>,
    pub progress: Vec<ProgressRow>,
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
    pub order_id: Uuid,
    pub sku: String,
    pub quantity: i32,
    pub unit_price_minor: i64,
}

/// An order that waits for its end.
#[expect(missing_docs, reason = "the columns of the order table")]
pub struct PendingRow {
    pub id: Uuid,
    pub deadline_at: DateTime<Utc>,
    pub traceparent: Option<String>,
}

/// The orders that wait for their end, as a whole.
pub struct Pending {
    /// How many.
    pub orders: i64,
    /// Since when the oldest does, if there is one.
    pub oldest: Option<DateTime<Utc>>,
}

/// Which orders are listed; what is absent does not matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OrderFilter {
    /// Whose.
    pub customer_id: Option<Uuid>,
    /// Where they stand.
    pub status: Option<Status>,
    /// Placed before this one.
    pub before: Option<OrderPlace>,
}

/// An order's place among all, by a time of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderPlace {
    /// When.
    pub at: DateTime<Utc>,
    /// Which of those of the same time.
    pub id: Uuid,
}

/// A product of the catalogue's list.
#[expect(missing_docs, reason = "the columns of the catalogue")]
pub struct ListedProduct {
    pub sku: String,
    pub name: String,
    pub currency: String,
    pub unit_price_minor: i64,
    pub listed_at: DateTime<Utc>,
}

/// A product's place among all, by when it was first heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductPlace {
    /// When.
    pub listed_at: DateTime<Utc>,
    /// Which of those of the same time.
    pub sku: String,
}

/// A status that an order had.
#[expect(missing_docs, reason = "the columns of the history table")]
pub struct HistoryRow {
    pub order_id: Uuid,
    pub status: String,
    pub at: DateTime<Utc>,
}

/// A step that an order took beside its status.
#[expect(missing_docs, reason = "the columns of the progress table")]
pub struct ProgressRow {
    pub order_id: Uuid,
    pub step: String,
    pub at: DateTime<Utc>,
}

/// A change of an order's status.
pub struct ChangeRow {
    /// Its number among the changes of all orders, once it has one.
    pub feed: Option<i64>,
    /// Whose.
    pub order_id: Uuid,
    /// Its number among the order's own.
    pub version: i32,
    /// Since then.
    pub status: String,
    /// Of a cancellation.
    pub cancel_reason: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
}
