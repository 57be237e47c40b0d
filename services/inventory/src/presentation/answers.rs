//! What clients are told.

use chassis::http::{Cursor, Limit, Time};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::application::views::{ReservationView, StockView};
use crate::domain::product::Product;

/// Before the SKU in a cursor, so that no list takes another's.
pub(super) const STOCK_KEY: &str = "stock:";

/// An amount of money.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Money")]
pub(super) struct MoneyBody {
    /// In minor units of the currency.
    amount_minor: i64,
    /// ISO 4217.
    #[schemars(regex(pattern = "^[A-Z]{3}$"))]
    currency: String,
}

/// A product.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Product")]
pub(super) struct ProductBody {
    sku: String,
    name: String,
    unit_price: MoneyBody,
    /// Pieces in the house.
    on_hand: i64,
    /// Pieces of them that are set aside for orders.
    reserved: i64,
    /// The rest.
    available: i64,
    /// Grows by one with each change.
    version: u32,
}

/// The stock of a product.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Stock")]
pub(super) struct StockBody {
    sku: String,
    /// Pieces in the house.
    on_hand: i64,
    /// Pieces of them that are set aside for orders.
    reserved: i64,
    /// The rest.
    available: i64,
}

/// A page of stock, newest products first.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct StockPage {
    stock: Vec<StockBody>,
    /// Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Cursor", default)]
    next_cursor: Option<Cursor>,
}

/// What is set aside for an order.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Reservation")]
pub(super) struct ReservationBody {
    order_id: Uuid,
    #[schemars(extend("enum" = ["reserved", "rejected", "released", "shipped", "cancelled"]))]
    status: String,
    lines: Vec<LineBody>,
    /// What the goods cost, where it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "MoneyBody", default)]
    amount: Option<MoneyBody>,
    /// Grows by one with each change.
    version: u32,
    created_at: Time,
    updated_at: Time,
}

/// A product, and how many of it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Line")]
struct LineBody {
    sku: String,
    quantity: i64,
}

impl From<&Product> for ProductBody {
    fn from(product: &Product) -> Self {
        let price = product.unit_price();
        let currency = price.currency.clone();
        Self {
            sku: product.sku().to_owned(),
            name: product.name().to_owned(),
            unit_price: MoneyBody { amount_minor: price.amount_minor, currency },
            on_hand: product.on_hand(),
            reserved: product.reserved(),
            available: product.on_hand() - product.reserved(),
            version: product.version(),
        }
    }
}

impl From<&Product> for StockBody {
    fn from(product: &Product) -> Self {
        let (on_hand, reserved) = (product.on_hand(), product.reserved());
        Self { sku: product.sku().to_owned(), on_hand, reserved, available: on_hand - reserved }
    }
}

impl From<StockView> for StockBody {
    fn from(StockView { sku, on_hand, reserved, .. }: StockView) -> Self {
        Self { sku, on_hand, reserved, available: on_hand - reserved }
    }
}

impl StockPage {
    /// The page out of the rows found, of which there is one more if another page follows.
    pub(super) fn new(found: Vec<StockView>, limit: Limit) -> Self {
        let cursor = |last: &StockView| {
            let key = format_args!("{STOCK_KEY}{}", last.sku);
            Cursor::behind_time(last.created_at.timestamp_micros(), key)
        };
        let (page, next_cursor) = limit.cut(found, cursor);
        Self { stock: page.into_iter().map(StockBody::from).collect(), next_cursor }
    }
}

impl From<ReservationView> for ReservationBody {
    fn from(view: ReservationView) -> Self {
        let lines = view.skus.into_iter().zip(view.quantities);
        Self {
            order_id: view.order_id,
            status: view.status,
            lines: lines.map(|(sku, quantity)| LineBody { sku, quantity }).collect(),
            amount: view
                .amount_minor
                .zip(view.currency)
                .map(|(amount_minor, currency)| MoneyBody { amount_minor, currency }),
            version: view.version.unsigned_abs(),
            created_at: view.created_at.into(),
            updated_at: view.updated_at.into(),
        }
    }
}
