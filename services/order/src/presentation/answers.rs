//! What clients are told.

use chassis::http::{Cursor, Limit, Time};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::application::ports::Product;
use crate::application::views::{ChangeRow, ListedProduct, OrderView};
use crate::domain::order::Order;

/// Before the SKU in a cursor, so that no list takes another's.
pub(super) const PRODUCT_KEY: &str = "product:";

/// An amount of money.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Money")]
pub struct MoneyBody {
    /// In minor units of the currency.
    amount_minor: i64,
    /// ISO 4217.
    #[schemars(regex(pattern = "^[A-Z]{3}$"))]
    currency: String,
}

impl MoneyBody {
    fn new(amount_minor: i64, currency: &str) -> Self {
        Self { amount_minor, currency: currency.to_owned() }
    }
}

/// An order.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Order")]
pub struct OrderBody {
    order_id: Uuid,
    customer_id: Uuid,
    #[schemars(extend("enum" = ["pending", "confirmed", "cancelled"]))]
    status: String,
    /// Why it was cancelled, when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CancelReason", default)]
    cancel_reason: Option<String>,
    lines: Vec<LineBody>,
    total: MoneyBody,
    placed_at: Time,
    updated_at: Time,
    /// Grows by one with each change.
    version: u32,
    /// The trace that it was placed in.
    trace_id: Option<String>,
    history: Vec<HistoryBody>,
    /// What became of its stock and money so far.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    progress: Vec<ProgressBody>,
}

/// Why an order was cancelled.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes the texts that are stored")]
enum CancelReason {
    OutOfStock,
    PaymentDeclined,
    CustomerRequest,
    TimedOut,
}

/// Something that others did for the order.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ProgressStep")]
struct ProgressBody {
    /// The short type of the event that told of it.
    step: String,
    at: Time,
}

/// A line of an order.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Line")]
struct LineBody {
    sku: String,
    quantity: u32,
    unit_price: MoneyBody,
}

/// A status, and since when.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "StatusChange")]
struct HistoryBody {
    status: String,
    at: Time,
}

/// A change of an order's status.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Change")]
pub struct ChangeBody<'a> {
    order_id: Uuid,
    #[schemars(extend("enum" = ["pending", "confirmed", "cancelled"]))]
    status: &'a str,
    /// Why it was cancelled, when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CancelReason", default)]
    cancel_reason: Option<&'a str>,
    version: u32,
    at: Time,
}

/// A product.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Product")]
pub struct ProductBody {
    sku: String,
    name: String,
    unit_price: MoneyBody,
}

/// A page of orders, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OrdersPage {
    orders: Vec<OrderBody>,
    /// Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Cursor", default)]
    next_cursor: Option<Cursor>,
}

/// A page of products, those first that were listed last.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ProductsPage {
    products: Vec<ProductBody>,
    /// Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Cursor", default)]
    next_cursor: Option<Cursor>,
}

impl OrderBody {
    /// An order that was placed just now.
    pub fn placed(order: &Order, trace_id: Option<String>) -> Self {
        let currency = &order.basket().currency;
        let line = |line: &crate::domain::order::Line| LineBody {
            sku: line.sku.clone(),
            quantity: line.quantity,
            unit_price: MoneyBody::new(line.unit_price_minor, currency),
        };
        let placed_at = Time::from(order.placed_at());
        Self {
            order_id: order.id(),
            customer_id: order.basket().customer_id,
            status: "pending".into(),
            cancel_reason: None,
            lines: order.basket().lines.iter().map(line).collect(),
            total: MoneyBody::new(order.total().amount_minor, currency),
            updated_at: placed_at,
            version: order.version(),
            trace_id,
            history: vec![HistoryBody { status: "pending".into(), at: placed_at }],
            progress: Vec::new(),
            placed_at,
        }
    }
}

impl From<OrderView> for OrderBody {
    fn from(OrderView { order, lines, history, progress }: OrderView) -> Self {
        let currency = order.currency;
        Self {
            order_id: order.id,
            customer_id: order.customer_id,
            status: order.status,
            cancel_reason: order.cancel_reason,
            lines: lines
                .into_iter()
                .map(|line| LineBody {
                    sku: line.sku,
                    quantity: line.quantity.unsigned_abs(),
                    unit_price: MoneyBody::new(line.unit_price_minor, &currency),
                })
                .collect(),
            total: MoneyBody::new(order.total_minor, &currency),
            placed_at: order.placed_at.into(),
            updated_at: order.updated_at.into(),
            version: order.version.unsigned_abs(),
            trace_id: order.trace_id,
            progress: progress
                .into_iter()
                .map(|taken| ProgressBody { step: taken.step, at: taken.at.into() })
                .collect(),
            history: history
                .into_iter()
                .map(|entry| HistoryBody { status: entry.status, at: entry.at.into() })
                .collect(),
        }
    }
}

impl<'a> From<&'a ChangeRow> for ChangeBody<'a> {
    fn from(change: &'a ChangeRow) -> Self {
        Self {
            order_id: change.order_id,
            status: &change.status,
            cancel_reason: change.cancel_reason.as_deref(),
            version: change.version.unsigned_abs(),
            at: change.at.into(),
        }
    }
}

impl OrdersPage {
    /// The page out of the orders found, of which there is one more if another page follows.
    pub fn new(found: Vec<OrderView>, limit: Limit) -> Self {
        let cursor = |OrderView { order, .. }: &OrderView| {
            Cursor::behind_time(order.placed_at.timestamp_micros(), order.id)
        };
        let (page, next_cursor) = limit.cut(found, cursor);
        Self { orders: page.into_iter().map(OrderBody::from).collect(), next_cursor }
    }
}

impl ProductsPage {
    /// The page out of the products found, of which there is one more if another page follows.
    pub fn new(found: Vec<ListedProduct>, limit: Limit) -> Self {
        let cursor = |last: &ListedProduct| {
            let key = format_args!("{PRODUCT_KEY}{}", last.sku);
            Cursor::behind_time(last.listed_at.timestamp_micros(), key)
        };
        let (page, next_cursor) = limit.cut(found, cursor);
        Self { products: page.into_iter().map(ProductBody::from).collect(), next_cursor }
    }
}

impl From<Product> for ProductBody {
    fn from(product: Product) -> Self {
        let unit_price = MoneyBody::new(product.unit_price_minor, &product.currency);
        Self { sku: product.sku, name: product.name, unit_price }
    }
}

impl From<ListedProduct> for ProductBody {
    fn from(ListedProduct { sku, name, currency, unit_price_minor, .. }: ListedProduct) -> Self {
        Product { sku, name, currency, unit_price_minor }.into()
    }
}
