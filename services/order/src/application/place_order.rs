//! Placing an order: price it from the catalogue, and accept it.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::ports::{Catalogue, Orders, Product, StoreError};
use crate::domain::money::Money;
use crate::domain::order::{Basket, Line, Order, OrderError};

/// What a customer asks for; no prices, but the total that they were shown, if they say it.
#[derive(Debug, Clone)]
pub struct PlaceOrder {
    /// The new order's id.
    pub order_id: Uuid,
    /// Who.
    pub customer_id: Uuid,
    /// Where mail goes.
    pub customer_email: String,
    /// The gateway's token.
    pub payment_method: String,
    /// SKU and quantity; no SKU twice.
    pub lines: Vec<(String, u32)>,
    /// The total that the customer agreed to.
    pub expected_total: Option<Money>,
    /// How long others have to finish it.
    pub finish_within: TimeDelta,
}

/// Why an order is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PlaceOrderError {
    /// These lines name products that are not sold here (their positions).
    #[error("unknown products")]
    UnknownSkus(Vec<usize>),
    /// These lines are priced in another currency than the first (their positions).
    #[error("prices are in more than one currency")]
    MixedCurrencies(Vec<usize>),
    /// It costs something else than the customer agreed to.
    #[error("the price has changed")]
    PriceChanged,
    /// It breaks a rule of orders.
    #[error(transparent)]
    Rule(#[from] OrderError),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Accepts an order. The caller owns the transaction: nothing is visible until it commits.
///
/// # Errors
/// [`PlaceOrderError`].
pub async fn place_order(
    store: &mut (impl Orders + Catalogue),
    command: PlaceOrder,
    now: DateTime<Utc>,
) -> Result<Order, PlaceOrderError> {
    let skus: Vec<String> = command.lines.iter().map(|(sku, _)| sku.clone()).collect();
    let products = store.products(&skus).await?;
    let (lines, currency) = price(&command.lines, &products)?;
    let basket = Basket {
        customer_id: command.customer_id,
        customer_email: command.customer_email,
        payment_method: command.payment_method,
        lines,
        currency,
    };
    let order = Order::place(command.order_id, basket, now + command.finish_within, now)?;
    if command.expected_total.is_some_and(|expected| expected != order.total()) {
        return Err(PlaceOrderError::PriceChanged);
    }
    store.save(order.clone()).await?;
    Ok(order)
}

fn price(
    wanted: &[(String, u32)],
    products: &[Product],
) -> Result<(Vec<Line>, String), PlaceOrderError> {
    let found: Vec<Option<&Product>> =
        wanted.iter().map(|(sku, _)| products.iter().find(|p| p.sku == *sku)).collect();
    let positions = |wrong: &dyn Fn(Option<&Product>) -> bool| -> Vec<usize> {
        found.iter().enumerate().filter(|(_, p)| wrong(**p)).map(|(n, _)| n).collect()
    };
    let unknown = positions(&|p| p.is_none());
    if !unknown.is_empty() {
        return Err(PlaceOrderError::UnknownSkus(unknown));
    }
    let currency = found.iter().flatten().next().map_or("", |p| p.currency.as_str());
    let mixed = positions(&|p| p.is_some_and(|p| p.currency != currency));
    if !mixed.is_empty() {
        return Err(PlaceOrderError::MixedCurrencies(mixed));
    }
    let lines = wanted
        .iter()
        .zip(found.iter().flatten())
        .map(|((sku, quantity), product)| Line {
            sku: sku.clone(),
            quantity: *quantity,
            unit_price_minor: product.unit_price_minor,
        })
        .collect();
    Ok((lines, currency.to_owned()))
}
