//! What the order service promises.

use chrono::{DateTime, Utc};
use envelope::{Event, Subject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Money;

/// A number of pieces of one product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// Stock keeping unit: the product's id.
    pub sku: String,
    /// Pieces.
    pub quantity: u32,
}

/// A customer placed an order, priced by the server from its catalogue.
///
/// Inventory answers it with a reservation of all lines or a rejection of all. The lines hold each
/// SKU once. A second delivery asks for nothing new: the order id is the reservation's key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderPlaced {
    /// The order.
    pub order_id: Uuid,
    /// The customer who placed it.
    pub customer_id: Uuid,
    /// Where mail about this order goes. Personal data: it stays out of logs, spans and headers.
    pub customer_email: String,
    /// What was ordered, each SKU once.
    pub lines: Vec<Line>,
    /// What the customer pays for all lines.
    pub total: Money,
    /// The gateway's token for how the customer pays; never a card number.
    pub payment_method: String,
    /// When the order was accepted, UTC.
    pub placed_at: DateTime<Utc>,
}

impl Event for OrderPlaced {
    const TYPE: &'static str = "order.placed.v1";
    const MINOR: u32 = 0;

    fn subject(&self) -> Subject {
        subject(self.order_id)
    }
}

/// An order is reserved and paid: its goods may leave.
///
/// It ends the order's way; a later cancellation is not possible. A second delivery ships nothing
/// again and sends no second mail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderConfirmed {
    /// The order.
    pub order_id: Uuid,
    /// Where mail about this order goes. Personal data: it stays out of logs, spans and headers.
    pub customer_email: String,
    /// What the customer paid.
    pub total: Money,
    /// When the order was confirmed, UTC.
    pub confirmed_at: DateTime<Utc>,
}

impl Event for OrderConfirmed {
    const TYPE: &'static str = "order.confirmed.v1";
    const MINOR: u32 = 0;

    fn subject(&self) -> Subject {
        subject(self.order_id)
    }
}

/// An order will not be fulfilled: give back its stock and its money.
///
/// It may overtake the reservation and the charge on their way: inventory then never reserves,
/// payment never charges, or each undoes what it has done. A second delivery undoes nothing twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCancelled {
    /// The order.
    pub order_id: Uuid,
    /// Where mail about this order goes. Personal data: it stays out of logs, spans and headers.
    pub customer_email: String,
    /// Why.
    pub reason: CancelReason,
    /// What the order would have cost; not what is refunded.
    pub total: Money,
    /// When the order was cancelled, UTC.
    pub cancelled_at: DateTime<Utc>,
}

impl Event for OrderCancelled {
    const TYPE: &'static str = "order.cancelled.v1";
    const MINOR: u32 = 0;

    fn subject(&self) -> Subject {
        subject(self.order_id)
    }
}

/// Why an order was cancelled. A further reason is a new major version of its event: old readers
/// could not read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// A line asked for more than there was.
    OutOfStock,
    /// The gateway refused the charge.
    PaymentDeclined,
    /// The customer asked for it.
    CustomerRequest,
    /// Nobody finished the order before its deadline.
    TimedOut,
}

fn subject(order_id: Uuid) -> Subject {
    Subject::new("order", order_id)
}
