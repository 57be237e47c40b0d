//! What clients send, checked before anything is decided.

use chassis::http::{Cursor, Limit};
use chassis::problem::{FieldErrors, Problem, code};
use chrono::{DateTime, TimeDelta};
use contracts::{Currency, is_sku};
use serde::Deserialize;
use std::collections::HashSet;
use uuid::Uuid;

use crate::application::place_order::PlaceOrder;
use crate::application::views::{OrderFilter, OrderPlace, ProductPlace};
use crate::domain::money::Money;
use crate::domain::order::Status;

const MAX_LINES: usize = 100;
const MAX_QUANTITY: i64 = 1_000;
/// RFC 5321, 4.5.3.1.3: a path of 256 octets, less its brackets.
const MAX_EMAIL: usize = 254;
const MAX_TOKEN: usize = 64;

/// The body of `POST /orders`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    customer_id: Uuid,
    customer_email: String,
    lines: Vec<NewLine>,
    payment_method: String,
    expected_total: Option<NewMoney>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewLine {
    sku: String,
    quantity: i64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewMoney {
    amount_minor: i64,
    currency: String,
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
            customer_id: self.customer_id,
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
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrdersQuery {
    customer_id: Option<Uuid>,
    status: Option<StatusName>,
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
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
            Some(OrderPlace { at, id: id.parse().ok()? })
        };
        let before = self.cursor.map(|cursor| cursor.time_and_key(place)).transpose()?;
        Ok((self.limit, OrderFilter { customer_id: self.customer_id, status, before }))
    }
}

/// The query of `GET /products`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
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
        let place = |micros, sku: &str| {
            let listed_at = DateTime::from_timestamp_micros(micros)?;
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
