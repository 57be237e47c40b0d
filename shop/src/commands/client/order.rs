//! The order service.

use std::fmt;

use chrono::{DateTime, Utc};
use contracts::Money;
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::call::{CallError, Http};

/// A client of the order service.
#[derive(Debug, Clone)]
pub struct OrderApi(Http);

/// The body of `POST /orders`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewOrder {
    /// Who.
    pub customer_id: Uuid,
    /// Where the mail goes.
    pub customer_email: String,
    /// What, each SKU once.
    pub lines: Vec<NewLine>,
    /// The gateway's token for how it is paid.
    pub payment_method: String,
}

/// Pieces of one product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewLine {
    /// Which.
    pub sku: String,
    /// How many, 1 to 1000.
    pub quantity: u32,
}

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not decided yet.
    Pending,
    /// Paid.
    Confirmed,
    /// Nothing is delivered, nothing is paid.
    Cancelled,
}

impl Status {
    /// Whether nothing follows.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        self != Self::Pending
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
        })
    }
}

/// A status that the order had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Which.
    pub status: Status,
    /// Since when.
    pub at: DateTime<Utc>,
}

/// An order as the service shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderDocument {
    /// Which.
    pub order_id: Uuid,
    /// Where it stands.
    pub status: Status,
    /// Why it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<String>,
    /// What it costs.
    pub total: Money,
    /// When it was placed.
    pub placed_at: DateTime<Utc>,
    /// The trace that it began in.
    #[serde(default)]
    pub trace_id: Option<String>,
    /// Every status so far, oldest first.
    pub history: Vec<HistoryEntry>,
}

impl OrderDocument {
    /// Milliseconds from being placed to the terminal status, if it has one.
    #[must_use]
    pub fn placed_to_terminal_ms(&self) -> Option<f64> {
        let last = self.history.last().filter(|entry| entry.status.is_terminal())?;
        let took = last.at.signed_duration_since(self.placed_at).num_microseconds()?;
        Some(took as f64 / 1e3)
    }
}

#[derive(Deserialize)]
struct ProductDocument {
    unit_price: Money,
}

impl OrderApi {
    /// A client of the service at `base`.
    ///
    /// # Errors
    /// When the machine gives no HTTP client.
    pub fn new(base: String) -> anyhow::Result<Self> {
        Http::new(base).map(Self)
    }

    /// Places an order. The same key with the same order gives the same answer, however often.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn place(&self, key: &str, order: &NewOrder) -> Result<OrderDocument, CallError> {
        let request = self.0.post("/orders").header("idempotency-key", key).json(order);
        self.0.send(request).await.map(|(_, document)| document)
    }

    /// An order.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn order(&self, id: Uuid) -> Result<OrderDocument, CallError> {
        self.0.send(self.0.get(&format!("/orders/{id}"))).await.map(|(_, document)| document)
    }

    /// The price of a product in the order service's catalogue; none while it is not known there.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn price(&self, sku: &str) -> Result<Option<Money>, CallError> {
        match self.0.send::<ProductDocument>(self.0.get(&format!("/products/{sku}"))).await {
            Ok((_, product)) => Ok(Some(product.unit_price)),
            Err(CallError::Refused { problem, .. })
                if problem.status == StatusCode::NOT_FOUND.as_u16() =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const CANCELLED: &str = r#"{"order_id":"0192f0c4-0000-7000-8000-000000000001",
        "customer_id":"0192f0c4-0000-7000-8000-000000000002","status":"cancelled",
        "cancel_reason":"out_of_stock","lines":[],
        "total":{"amount_minor":1998,"currency":"GBP"},"version":2,"trace_id":null,
        "placed_at":"2024-05-01T10:00:00.000000Z","updated_at":"2024-05-01T10:00:00.012500Z",
        "history":[{"status":"pending","at":"2024-05-01T10:00:00.000000Z"},
            {"status":"cancelled","at":"2024-05-01T10:00:00.012500Z"}]}"#;

    #[test]
    fn the_time_to_the_end_comes_from_the_services_own_history() {
        let mut order: OrderDocument = serde_json::from_str(CANCELLED).unwrap();
        assert_eq!(order.placed_to_terminal_ms(), Some(12.5));
        assert_eq!(order.cancel_reason.as_deref(), Some("out_of_stock"));
        order.history.pop();
        assert_eq!(order.placed_to_terminal_ms(), None);
    }
}
