//! One row: five values, or everything that is wrong with them.

use chassis::problem::{FieldError, code};
use contracts::{Currency, is_sku};

use super::super::requests::name_fault;
use crate::domain::money::Money;
use crate::domain::product::Description;

/// The header, and the names of the columns in pointers.
pub(super) const COLUMNS: [&str; 5] = ["sku", "name", "unit_price_minor", "currency", "on_hand"];

/// Values as they stand in a row, without quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) bytes: &'a [u8],
    /// Where in `bytes` each value ends.
    pub(super) ends: &'a [usize],
}

impl<'a> Values<'a> {
    /// An empty value counts as absent.
    pub(super) fn get(self, column: usize) -> Option<&'a [u8]> {
        let start = column.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        let value = self.bytes.get(start?..*self.ends.get(column)?)?;
        (!value.is_empty()).then_some(value)
    }

    /// Whether these are the names of the columns.
    pub(super) fn are_the_header(self) -> bool {
        let named = |(column, name): (usize, &&str)| self.get(column) == Some(name.as_bytes());
        self.ends.len() == COLUMNS.len() && COLUMNS.iter().enumerate().all(named)
    }
}

/// The SKU and the description, under the same rules as those of `PUT /products/{sku}`.
///
/// # Errors
/// Every fault, with the name of its column as pointer.
pub(super) fn read(values: Values<'_>) -> Result<(String, Description), Vec<FieldError>> {
    let mut faults = Vec::new();
    if values.ends.len() > COLUMNS.len() {
        return Err(vec![FieldError::new("", code::UNKNOWN_FIELD)]);
    }
    let sku = column(&mut faults, values, 0, |text| {
        if is_sku(text) { Ok(text.to_owned()) } else { Err(code::FORMAT) }
    });
    let name =
        column(&mut faults, values, 1, |text| name_fault(text).map_or(Ok(text.to_owned()), Err));
    let price = column(&mut faults, values, 2, amount);
    let currency = column(&mut faults, values, 3, |text| {
        Currency::parse(text).map(String::from).map_err(|_| "currency")
    });
    let on_hand = column(&mut faults, values, 4, amount);
    match (sku, name, price, currency, on_hand) {
        (Some(sku), Some(name), Some(price), Some(currency), Some(on_hand)) => {
            let unit_price = Money::new(price, currency);
            Ok((sku, Description { name, unit_price, on_hand }))
        }
        _ => Err(faults),
    }
}

/// None, and a fault noted, when the value is not what `read` wants.
fn column<T>(
    faults: &mut Vec<FieldError>,
    values: Values<'_>,
    column: usize,
    read: impl FnOnce(&str) -> Result<T, &'static str>,
) -> Option<T> {
    let value = values.get(column).ok_or(code::REQUIRED);
    let text = value.and_then(|value| std::str::from_utf8(value).map_err(|_| code::FORMAT));
    let fault = match text.and_then(read) {
        Ok(value) => return Some(value),
        Err(fault) => fault,
    };
    faults.push(FieldError::new(format!("/{}", COLUMNS[column]), fault));
    None
}

/// A whole number that is not negative, in decimal digits alone.
fn amount(text: &str) -> Result<i64, &'static str> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(code::TYPE);
    }
    text.parse().ok().filter(|amount| *amount >= 0).ok_or(code::RANGE)
}
