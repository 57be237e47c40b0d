//! What clients send, checked before anything is decided.

use chassis::http::{Cursor, Id, Limit};
use chassis::problem::{FieldErrors, Problem, code};
use chrono::{DateTime, TimeDelta};
use contracts::{Currency, is_sku};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::HashSet;
use uuid::Uuid;

use super::answers::PRODUCT_KEY;
use crate::application::place_order::PlaceOrder;
use crate::application::views::{OrderFilter, OrderPlace, ProductPlace};
use crate::domain::money::Money;
use crate::domain::order::Status;

const MAX_LINES: usize = 100;
const MAX_QUANTITY: i64 = 1_000;
/// RFC 5321, 4.5.3.1.3: a path of 256 octets, less its brackets.
const MAX_EMAIL: usize = 254;
const MAX_TOKEN: usize = 64;

/// What is ordered, by whom.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{
    "customer_id": "0192f3a0-0000-7000-8000-000000000001",
    "customer_email": "ada@example.com",
    "lines": [{"sku": "DEMO-1", "quantity": 2}],
    "payment_method": "pm_ok",
}]))]
pub struct NewOrder {
    customer_id: Id,
    /// Where mail about the order goes.
    #[schemars(email, length(min = 3, max = MAX_EMAIL))]
    customer_email: String,
    #[schemars(length(min = 1, max = MAX_LINES))]
    lines: Vec<NewLine>,
    /// A token of the payment gateway. The simulated one knows `pm_ok`, `pm_declined`,
    /// `pm_insufficient_funds`, `pm_timeout` (captures, but its reply is lost) and `pm_flaky` (fails
    /// twice, then works), and declines any other.
    #[schemars(length(min = 1, max = MAX_TOKEN), regex(pattern = r"^[^\x00-\x1F\x7F-\x9F]*$"))]
    payment_method: String,
    /// What the client expects to pay. When the prices make another total, nothing is ordered.
    expected_total: Option<NewMoney>,
}

/// A product, and how many of it. No SKU stands in two lines.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewLine {
    #[schemars(regex(pattern = "^[A-Za-z0-9._-]{1,64}$"))]
    sku: String,
    #[schemars(range(min = 1, max = MAX_QUANTITY))]
    quantity: i64,
}

/// An amount of money.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ExpectedTotal")]
struct NewMoney {
    /// In minor units of the currency.
    #[schemars(range(min = 0))]
    amount_minor: i64,
    /// ISO 4217.
    #[schemars(regex(pattern = "^[A-Z]{3}$"))]
    currency: String,
}

/// Which order.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct OrderPath {
    /// The order's id.
    pub order_id: Id,
}

/// Which product.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct ProductPath {
    /// The product's SKU.
    pub sku: String,
}

impl NewOrder {
    /// The command, with the id and the time to finish that we give the order, or everything that is
    /// wrong with it.
    ///
    /// # Errors
    /// `422 validation_failed`, with a pointer per fault.
    pub fn into_command(
        self,
        order_id: Uuid,
        finish_within: TimeDelta,
    ) -> Result<PlaceOrder, Problem> {
        let mut faults = FieldErrors::default();
        check_text(&mut faults, "/customer_email", &self.customer_email, MAX_EMAIL);
        faults.check(is_email(&self.customer_email), "/customer_email", code::FORMAT);
        check_text(&mut faults, "/payment_method", &self.payment_method, MAX_TOKEN);
        check_lines(&mut faults, &self.lines);
        if let Some(total) = &self.expected_total {
            faults.check(total.amount_minor >= 0, "/expected_total/amount_minor", code::RANGE);
            let known = Currency::parse(&total.currency).is_ok();
            faults.check(known, "/expected_total/currency", "currency");
        }
        let lines = self.lines.into_iter().map(|line| (line.sku, line.quantity as u32)).collect();
        faults.into_result(PlaceOrder {
            order_id,
            customer_id: self.customer_id.0,
            customer_email: self.customer_email,
            payment_method: self.payment_method,
            lines,
            expected_total: self.expected_total.map(|m| Money::new(m.amount_minor, m.currency)),
            finish_within,
        })
    }
}

fn check_lines(faults: &mut FieldErrors, lines: &[NewLine]) {
    faults.check((1..=MAX_LINES).contains(&lines.len()), "/lines", code::LENGTH);
    let mut seen = HashSet::new();
    for (n, line) in lines.iter().enumerate() {
        let sku = format!("/lines/{n}/sku");
        faults.check(is_sku(&line.sku), &sku, code::FORMAT);
        faults.check(seen.insert(&line.sku), &sku, code::DUPLICATE);
        let in_range = (1..=MAX_QUANTITY).contains(&line.quantity);
        faults.check(in_range, format!("/lines/{n}/quantity"), code::RANGE);
    }
}

/// Text that goes into a database and a mail header must not carry what either reads as its own.
fn check_text(faults: &mut FieldErrors, pointer: &str, text: &str, longest: usize) {
    faults.check(!text.contains(char::is_control), pointer, code::CONTROL_CHARACTER);
    faults.check((1..=longest).contains(&text.len()), pointer, code::LENGTH);
}

/// Whether a text can be an address: the dot-atom form of RFC 5321, which is all that people use.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let atom = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&c);
    let dotted = |part: &str, allowed: &dyn Fn(u8) -> bool| {
        part.split('.').all(|label| !label.is_empty() && label.bytes().all(allowed))
    };
    let host = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
    let hyphens = domain.split('.').all(|label| !label.starts_with('-') && !label.ends_with('-'));
    local.len() <= 64 && dotted(local, &atom) && dotted(domain, &host) && hyphens
}

/// The query of `GET /orders`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct OrdersQuery {
    /// Only this customer's.
    customer_id: Option<Id>,
    /// Only those with this status.
    #[schemars(with = "StatusName", default)]
    status: Option<StatusName>,
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum StatusName {
    Pending,
    Confirmed,
    Cancelled,
}

impl OrdersQuery {
    /// How many, and which.
    ///
    /// # Errors
    /// `400 invalid_cursor`.
    pub fn into_filter(self) -> Result<(Limit, OrderFilter), Problem> {
        let status = self.status.map(|status| match status {
            StatusName::Pending => Status::Pending,
            StatusName::Confirmed => Status::Confirmed,
            StatusName::Cancelled => Status::Cancelled,
        });
        let place = |micros, id: &str| {
            let at = DateTime::from_timestamp_micros(micros)?;
            let Id(id) = id.parse().ok()?;
            Some(OrderPlace { at, id })
        };
        let before = self.cursor.map(|cursor| cursor.time_and_key(place)).transpose()?;
        let customer_id = self.customer_id.map(|Id(id)| id);
        Ok((self.limit, OrderFilter { customer_id, status, before }))
    }
}

/// The query of `GET /products`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct ProductsQuery {
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor>,
}

impl ProductsQuery {
    /// How many, and the product before which the page begins.
    ///
    /// # Errors
    /// `400 invalid_cursor`.
    pub fn into_page(self) -> Result<(Limit, Option<ProductPlace>), Problem> {
        let place = |micros, key: &str| {
            let listed_at = DateTime::from_timestamp_micros(micros)?;
            let sku = key.strip_prefix(PRODUCT_KEY)?;
            is_sku(sku).then(|| ProductPlace { listed_at, sku: sku.to_owned() })
        };
        let before = self.cursor.map(|cursor| cursor.time_and_key(place)).transpose()?;
        Ok((self.limit, before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_could_not_be_mailed_are_refused() {
        for good in ["a@example.com", "a.b+c@x.co.uk", "o'neil@example.com", "a@localhost"] {
            assert!(is_email(good), "{good}");
        }
        let bad = [
            "",
            "a",
            "@",
            "a@",
            "@b",
            "a@b@c d",
            "a b@c.de",
            "a@b..c",
            ".a@b.c",
            "a.@b.c",
            "a@-b.c",
            "a@b.c\r\nBcc: x@y.z",
            "a@b.c, d@e.f",
            "<a@b.c>",
            "a@b,c",
            "ä@b.c",
        ];
        for bad in bad {
            assert!(!is_email(bad), "{bad}");
        }
    }
}
