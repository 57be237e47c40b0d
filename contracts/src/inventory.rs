//! What the inventory service promises.

use envelope::{Event, Subject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Money;
use crate::order::Line;

/// A product can be ordered from now on.
///
/// The first event of its product. Order keeps its catalogue from it, so that the server and not
/// the client sets prices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProductListed {
    /// Stock keeping unit: the product's id.
    pub sku: String,
    /// The name that customers see.
    pub name: String,
    /// Price of one piece.
    pub unit_price: Money,
    /// Pieces in the warehouse, reserved ones included, when this was written.
    pub on_hand: i64,
}

impl Event for ProductListed {
    const TYPE: &'static str = "inventory.product_listed.v1";
    const MINOR: u32 = 0;

    fn subject(&self) -> Subject {
        product(&self.sku)
    }
}

/// A product has another price. Orders placed before keep theirs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PriceChanged {
    /// Stock keeping unit: the product's id.
    pub sku: String,
    /// The new price of one piece.
    pub unit_price: Money,
}

impl Event for PriceChanged {
    const TYPE: &'static str = "inventory.price_changed.v1";
    const MINOR: u32 = 0;

    fn subject(&self) -> Subject {
        product(&self.sku)
    }
}

/// A product's name or its counted stock was corrected by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProductChanged {
    /// Stock keeping unit: the product's id.
    pub sku: String,
    /// The name that customers see.
    pub name: String,
    /// Pieces in the warehouse, reserved ones included, after the change.
    pub on_hand: i64,
}

impl Event for ProductChanged {
    const TYPE: &'static str = "inventory.product_changed.v1";
    const MINOR: u32 = 0;

    fn subject(&self) -> Subject {
        product(&self.sku)
    }
}

/// Goods arrived in the warehouse.
///
/// `on_hand` is the state after it: a reader sets it and adds nothing, so a second delivery counts
/// nothing twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockReplenished {
    /// Stock keeping unit: the product's id.
    pub sku: String,
    /// Pieces that arrived.
    pub quantity: i64,
    /// Pieces in the warehouse, reserved ones included, after the arrival.
    pub on_hand: i64,
}

impl Event for StockReplenished {
    const TYPE: &'static str = "inventory.stock_replenished.v1";
    const MINOR: u32 = 0;

    fn subject(&self) -> Subject {
        product(&self.sku)
    }
}

/// All lines of an order are set aside: it can be charged.
///
/// It carries what payment needs for the charge, taken over from the order unchanged. A second
/// delivery charges nothing: the order id is the payment's key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockReserved {
    /// The order whose goods are set aside.
    pub order_id: Uuid,
    /// What to charge.
    pub amount: Money,
    /// The gateway's token for how the customer pays; never a card number.
    pub payment_method: String,
}

impl Event for StockReserved {
    const TYPE: &'static str = "inventory.stock_reserved.v1";
    const MINOR: u32 = 0;

    fn subject(&self) -> Subject {
        reservation(self.order_id)
    }
}

/// An order cannot be served from stock; nothing of it is set aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockRejected {
    /// The order.
    pub order_id: Uuid,
    /// The lines that could not be served, at least one.
    pub shortages: Vec<Shortage>,
}

impl Event for StockRejected {
    const TYPE: &'static str = "inventory.stock_rejected.v1";
    const MINOR: u32 = 0;

    fn subject(&self) -> Subject {
        reservation(self.order_id)
    }
}

/// A line that could not be served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shortage {
    /// Stock keeping unit: the product's id.
    pub sku: String,
    /// Pieces asked for.
    pub requested: u32,
    /// Pieces that were free; 0 also for a product that is not known.
    pub available: i64,
}

/// The goods set aside for an order are free again, because it was cancelled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockReleased {
    /// The cancelled order.
    pub order_id: Uuid,
    /// What is free again, each SKU once.
    pub lines: Vec<Line>,
}

impl Event for StockReleased {
    const TYPE: &'static str = "inventory.stock_released.v1";
    const MINOR: u32 = 0;

    fn subject(&self) -> Subject {
        reservation(self.order_id)
    }
}

/// The goods of a confirmed order left the warehouse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockShipped {
    /// The confirmed order.
    pub order_id: Uuid,
    /// What left, each SKU once.
    pub lines: Vec<Line>,
}

impl Event for StockShipped {
    const TYPE: &'static str = "inventory.stock_shipped.v1";
    const MINOR: u32 = 0;

    fn subject(&self) -> Subject {
        reservation(self.order_id)
    }
}

fn product(sku: &str) -> Subject {
    Subject::new("product", sku)
}

fn reservation(order_id: Uuid) -> Subject {
    Subject::new("reservation", order_id)
}
