//! What clients are told.

use chassis::http::{Cursor, Limit};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::application::views::{ReservationView, StockView};
use crate::domain::product::Product;

/// An amount, as it stands in every body.
#[derive(Debug, Serialize)]
pub(super) struct MoneyBody {
    amount_minor: i64,
    currency: String,
}

/// A product.
#[derive(Debug, Serialize)]
pub(super) struct ProductBody {
    sku: String,
    name: String,
    unit_price: MoneyBody,
    on_hand: i64,
    reserved: i64,
    available: i64,
    version: u32,
}

/// The stock of a product.
#[derive(Debug, Serialize)]
pub(super) struct StockBody {
    sku: String,
    on_hand: i64,
    reserved: i64,
    available: i64,
}

/// A page of stock, newest products first.
#[derive(Debug, Serialize)]
pub(super) struct StockPage {
    stock: Vec<StockBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<Cursor>,
}

/// A reservation.
#[derive(Debug, Serialize)]
pub(super) struct ReservationBody {
    order_id: Uuid,
    status: String,
    lines: Vec<LineBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<MoneyBody>,
    version: u32,
    created_at: String,
    updated_at: String,
}

#[derive(Debug, Serialize)]
struct LineBody {
    sku: String,
    quantity: i64,
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
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
        let cursor =
            |last: &StockView| Cursor::behind_time(last.created_at.timestamp_micros(), &last.sku);
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
            created_at: time(view.created_at),
            updated_at: time(view.updated_at),
        }
    }
}
