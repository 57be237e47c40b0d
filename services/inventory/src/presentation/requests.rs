//! What clients send, checked before anything is decided.

use chassis::http::{Cursor, Id, Limit};
use chassis::problem::{FieldErrors, Problem, code};
use chrono::DateTime;
use contracts::{Currency, is_sku};
use schemars::JsonSchema;
use serde::Deserialize;

use super::answers::STOCK_KEY;
use crate::application::views::StockPlace;
use crate::domain::money::Money;
use crate::domain::product::Description;

/// Bytes of UTF-8.
const MAX_NAME: usize = 200;

/// Which product.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
pub(super) struct ProductPath {
    /// The product's SKU.
    sku: String,
}

impl ProductPath {
    /// A SKU that could be one.
    ///
    /// # Errors
    /// `404 not_found`: anything else names nothing.
    pub(super) fn into_sku(self) -> Result<String, Problem> {
        if is_sku(&self.sku) { Ok(self.sku) } else { Err(Problem::not_found()) }
    }
}

/// Which order.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
pub(super) struct OrderPath {
    /// The order's id.
    pub(super) order_id: Id,
}

/// What a product is to be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{
    "name": "A mug",
    "unit_price": {"amount_minor": 850, "currency": "GBP"},
    "on_hand": 120,
}]))]
pub(super) struct ProductPut {
    /// At most 200 bytes of UTF-8.
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = r"^[^\x00-\x1F\x7F-\x9F]*$"))]
    name: String,
    unit_price: Price,
    /// Pieces in the house, those that are set aside included.
    #[schemars(range(min = 0))]
    on_hand: i64,
}

/// What one piece costs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Price {
    /// In minor units of the currency.
    #[schemars(range(min = 0))]
    amount_minor: i64,
    /// ISO 4217.
    #[schemars(regex(pattern = "^[A-Z]{3}$"))]
    currency: String,
}

impl ProductPut {
    /// The description, or everything that is wrong with it.
    ///
    /// # Errors
    /// `422 validation_failed`, with a pointer per fault.
    pub(super) fn into_description(self) -> Result<Description, Problem> {
        let Self { name, unit_price: Price { amount_minor, currency }, on_hand } = self;
        let mut faults = FieldErrors::default();
        if let Some(fault) = name_fault(&name) {
            faults.add("/name", fault);
        }
        faults.check(amount_minor >= 0, "/unit_price/amount_minor", code::RANGE);
        faults.check(Currency::parse(&currency).is_ok(), "/unit_price/currency", "currency");
        faults.check(on_hand >= 0, "/on_hand", code::RANGE);
        let unit_price = Money::new(amount_minor, currency);
        faults.into_result(Description { name, unit_price, on_hand })
    }
}

/// What is wrong with a product's name, if anything is.
pub(super) fn name_fault(name: &str) -> Option<&'static str> {
    if !(1..=MAX_NAME).contains(&name.len()) {
        Some(code::LENGTH)
    } else {
        name.contains(char::is_control).then_some(code::CONTROL_CHARACTER)
    }
}

/// Goods that arrived.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"quantity": 24}]))]
pub(super) struct Arrival {
    /// Pieces.
    #[schemars(range(min = 1))]
    quantity: i64,
}

impl Arrival {
    /// Pieces that arrived, at least one.
    ///
    /// # Errors
    /// `422 validation_failed`.
    pub(super) fn into_quantity(self) -> Result<i64, Problem> {
        let mut faults = FieldErrors::default();
        faults.check(self.quantity >= 1, "/quantity", code::RANGE);
        faults.into_result(self.quantity)
    }
}

/// The query of `GET /stock`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct StockQuery {
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor>,
}

impl StockQuery {
    /// How many, and the place behind which the page begins.
    ///
    /// # Errors
    /// `400 invalid_cursor`.
    pub(super) fn into_page(self) -> Result<(Limit, Option<StockPlace>), Problem> {
        let place = |micros, key: &str| {
            let created_at = DateTime::from_timestamp_micros(micros)?;
            let sku = key.strip_prefix(STOCK_KEY)?;
            is_sku(sku).then(|| StockPlace { created_at, sku: sku.to_owned() })
        };
        let before = self.cursor.map(|cursor| cursor.time_and_key(place)).transpose()?;
        Ok((self.limit, before))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_cursors_are_taken() {
        let page =
            |cursor| StockQuery { limit: Limit::default(), cursor: Some(cursor) }.into_page();
        let created_at = DateTime::from_timestamp_micros(15).unwrap();
        let place = StockPlace { created_at, sku: "85.123A".to_owned() };
        assert_eq!(page(Cursor::behind_time(15, "stock:85.123A")).unwrap().1, Some(place));
        let far = Cursor::behind_time(i64::MAX, "stock:A");
        for bad in [
            Cursor::behind("85123A"),
            Cursor::behind_time(15, "stock:a b"),
            Cursor::behind_time(15, "A"),
            far,
        ] {
            assert_eq!(page(bad.clone()).unwrap_err().code(), "invalid_cursor", "{bad:?}");
        }
    }

    #[test]
    fn everything_that_is_wrong_with_a_product_is_named_at_once() {
        let price = Price { amount_minor: -1, currency: "gbp".into() };
        let put = ProductPut { name: "a\r\nb".into(), unit_price: price, on_hand: -1 };
        let problem = put.into_description().unwrap_err();
        let pointers: Vec<_> = problem.errors().iter().map(|fault| fault.pointer()).collect();
        let all = ["/name", "/unit_price/amount_minor", "/unit_price/currency", "/on_hand"];
        assert_eq!(pointers, all);
    }
}
