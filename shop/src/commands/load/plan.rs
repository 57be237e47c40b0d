//! What a load is going to do: which products there must be, and which orders.

use std::collections::{BTreeMap, HashMap};

use contracts::Money;
use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

use crate::commands::client::NewLine;

/// The most lines of an order.
pub(super) const MOST_LINES: usize = 100;
/// The most pieces of a line.
pub(super) const MOST_PIECES: u64 = 1_000;

/// Everything that a load needs to know before it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// In the order of their first mention.
    pub(super) products: Vec<Product>,
    /// In the order in which they are placed.
    pub(super) orders: Vec<Order>,
    /// How the rows of a file became orders; all zero without a file.
    pub(super) tally: Tally,
}

/// A product that there must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Product {
    /// Which.
    pub(super) sku: String,
    /// For people.
    pub(super) name: String,
    /// Of one piece.
    pub(super) unit_price: Money,
}

/// An order to be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    /// What it is called in reports: the invoice, with `/2` where it is its second order.
    pub(super) name: String,
    /// Who.
    pub(super) customer: Customer,
    /// What, each SKU once, at most [`MOST_LINES`].
    pub(super) lines: Vec<NewLine>,
}

/// A customer, the same in every load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Customer {
    /// Computed from the name.
    pub(crate) id: Uuid,
    /// At a domain that is nobody's.
    pub(crate) email: String,
}

impl Customer {
    /// The customer of that name, such as `customer-17850`.
    #[must_use]
    pub(crate) fn named(name: &str) -> Self {
        let hash = Sha256::digest(format!("tidings customer {name}"));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        let id = Builder::from_custom_bytes(bytes).into_uuid();
        Self { id, email: format!("{name}@example.com") }
    }
}

/// How the rows of a file became orders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Rows below the heading.
    pub(super) rows: u64,
    /// Rows that no order holds, by reason.
    pub(super) skipped: BTreeMap<Skipped, u64>,
    /// Rows whose product stood on the invoice before: their pieces were added.
    pub(super) merged: u64,
    /// Invoices that hold goods.
    pub(super) invoices: u64,
    /// Of these, those that needed more than one order: more than 100 products, or more than 1000
    /// pieces of one.
    pub(super) split: u64,
}

/// Why a row is in no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Skipped {
    /// Fields are missing, or a number is none.
    BadRow,
    /// The invoice number starts with `C`.
    Cancellation,
    /// The stock code does not start with five digits: postage, fees, manual entries.
    NotGoods,
    /// Nothing or less: a correction of the stock.
    NoQuantity,
    /// Less than a penny.
    NoPrice,
    /// More pieces than a hundred orders can hold.
    TooMany,
}

impl Skipped {
    /// The reason's name for machines.
    #[must_use]
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BadRow => "bad_row",
            Self::Cancellation => "cancellation",
            Self::NotGoods => "not_goods",
            Self::NoQuantity => "no_quantity",
            Self::NoPrice => "no_price",
            Self::TooMany => "too_many_pieces",
        }
    }

    /// The reason in words.
    #[must_use]
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::BadRow => "bad row",
            Self::Cancellation => "cancellation",
            Self::NotGoods => "not goods (code without five digits)",
            Self::NoQuantity => "quantity 0 or less",
            Self::NoPrice => "price under a penny",
            Self::TooMany => "more than 100,000 pieces",
        }
    }
}

impl Plan {
    /// Only the first `limit` orders, and the products that they need.
    #[must_use]
    pub(super) fn limited(mut self, limit: Option<usize>) -> Self {
        if let Some(limit) = limit {
            self.orders.truncate(limit);
        }
        let needed = self.pieces();
        self.products.retain(|product| needed.contains_key(&product.sku));
        self
    }

    /// How many pieces of each product all orders take.
    #[must_use]
    pub(super) fn pieces(&self) -> HashMap<String, i64> {
        let mut pieces = HashMap::new();
        for line in self.orders.iter().flat_map(|order| &order.lines) {
            *pieces.entry(line.sku.clone()).or_default() += i64::from(line.quantity);
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_is_the_same_in_every_load() {
        let one = Customer::named("customer-17850");
        assert_eq!(one, Customer::named("customer-17850"));
        assert_eq!(one.email, "customer-17850@example.com");
        assert_eq!(one.id.get_version_num(), 8);
        assert_ne!(one.id, Customer::named("customer-17851").id);
    }
}
